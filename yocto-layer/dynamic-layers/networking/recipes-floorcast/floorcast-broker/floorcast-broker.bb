SUMMARY = "The broker of a site, on a box"
DESCRIPTION = "mosquitto with the configuration of configs/mosquitto: TLS with certificates on both \
sides and nothing else. For a site without a machine of its own for it; no image has it by itself."
SECTION = "net"
LICENSE = "Apache-2.0"

SRC_URI = "\
    file://floorcast-broker.conf \
    file://floorcast-broker.tmpfiles \
"

require recipes-floorcast/floorcast/floorcast-source.inc

do_configure[noexec] = "1"
do_compile[noexec] = "1"

do_install() {
    install -D -m 0644 ${S}/configs/mosquitto/mosquitto.conf ${D}${nonarch_libdir}/floorcast/mosquitto.conf
    install -D -m 0644 ${UNPACKDIR}/floorcast-broker.conf \
        ${D}${systemd_system_unitdir}/mosquitto.service.d/floorcast.conf
    install -D -m 0644 ${UNPACKDIR}/floorcast-broker.tmpfiles \
        ${D}${nonarch_libdir}/tmpfiles.d/floorcast-broker.conf
    install -d ${D}${sysconfdir}/mosquitto/floorcast
}

PACKAGE_ARCH = "${MACHINE_ARCH}"

FILES:${PN} += "\
    ${nonarch_libdir}/floorcast \
    ${nonarch_libdir}/tmpfiles.d \
    ${systemd_system_unitdir} \
"

RDEPENDS:${PN} += "floorcast-firmware mosquitto"
