require ${@bb.utils.contains('DISTRO_FEATURES', 'floorcast', 'chrony-floorcast.inc', '', d)}
