require ${@bb.utils.contains('DISTRO_FEATURES', 'floorcast', 'systemd-floorcast.inc', '', d)}
