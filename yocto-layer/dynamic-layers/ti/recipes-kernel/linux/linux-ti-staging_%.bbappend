require ${@bb.utils.contains('DISTRO_FEATURES', 'floorcast', 'recipes-kernel/linux/linux-floorcast.inc', '', d)}
# TI's kernels take no fragment that is not on this list.
KERNEL_CONFIG_FRAGMENTS:append = "${@bb.utils.contains('DISTRO_FEATURES', 'floorcast', ' ${UNPACKDIR}/floorcast.cfg', '', d)}"
