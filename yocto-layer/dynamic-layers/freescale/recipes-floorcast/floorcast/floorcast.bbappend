FILESEXTRAPATHS:prepend := "${THISDIR}/${PN}:"

# The nodes behind vpuenc_h264, for the daemon's unit and its user; NXP's kernel alone has them.
SRC_URI:append:imx-nxp-bsp = " file://hantro.conf file://61-floorcast-hantro.rules"

do_install:append:imx-nxp-bsp() {
    install -D -m 0644 ${UNPACKDIR}/hantro.conf ${D}${systemd_system_unitdir}/floorcast.service.d/hantro.conf
    install -m 0644 ${UNPACKDIR}/61-floorcast-hantro.rules ${D}${nonarch_base_libdir}/udev/rules.d/
}

FILES:${PN}:append:imx-nxp-bsp = " ${systemd_system_unitdir}/floorcast.service.d"
