require ${@bb.utils.contains('DISTRO_FEATURES', 'floorcast', 'recipes-kernel/linux/linux-floorcast.inc', '', d)}
