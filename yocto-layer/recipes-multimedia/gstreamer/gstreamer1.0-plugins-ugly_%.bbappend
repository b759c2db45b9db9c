require ${@bb.utils.contains('DISTRO_FEATURES', 'floorcast', 'gstreamer1.0-plugins-ugly-floorcast.inc', '', d)}
