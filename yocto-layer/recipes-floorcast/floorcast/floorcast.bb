SUMMARY = "Puts a production line on air"
DESCRIPTION = "Captures the cameras of a production line, reads its telemetry, and streams both, \
joined to the frame, into a page that viewers open in a browser."
SECTION = "multimedia"
CVE_PRODUCT = "floorcast"

require floorcast.inc

inherit features_check systemd useradd
REQUIRED_DISTRO_FEATURES = "systemd"

PACKAGECONFIG ??= ""

# The first configuration, and whom the box believes at its door or broker: the site's ca.pem.
FLOORCAST_CONFIG ?= "${S}/configs/box.toml"
FLOORCAST_SITE_CA ?= ""
do_install[file-checksums] += "${FLOORCAST_CONFIG}:True"
do_install[file-checksums] += "${@d.getVar('FLOORCAST_SITE_CA') + ':True' if d.getVar('FLOORCAST_SITE_CA') else ''}"

SYSTEMD_SERVICE:${PN} = "floorcast.service"

# As configs/floorcast.sysusers, while the image is made: its root is read-only.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system tss"
USERADD_PARAM:${PN} = "--system --user-group --groups tss --no-create-home --home-dir / --shell /sbin/nologin floorcast"

do_install:append() {
    install -D -m 0644 ${S}/configs/floorcast.service ${D}${systemd_system_unitdir}/floorcast.service
    # Who may use the nodes of vendors' encoders.
    install -D -m 0644 ${S}/scripts/deb.d/floorcast.rules ${D}${nonarch_base_libdir}/udev/rules.d/60-floorcast.rules
    # From its first start on a box has its own, on its data partition.
    install -D -m 0644 ${FLOORCAST_CONFIG} ${D}${sysconfdir}/floorcast/floorcast.toml
    if [ -n "${FLOORCAST_SITE_CA}" ]; then
        install -m 0644 ${FLOORCAST_SITE_CA} ${D}${sysconfdir}/floorcast/ca.pem
    fi
}

CONFFILES:${PN} = "${sysconfdir}/floorcast/floorcast.toml"

# Capture, conversion, parser. Encoders differ by board: packagegroup-floorcast has them.
RDEPENDS:${PN} += "\
    gstreamer1.0-plugins-base-app \
    gstreamer1.0-plugins-base-videoconvertscale \
    gstreamer1.0-plugins-good-jpeg \
    gstreamer1.0-plugins-good-video4linux2 \
    gstreamer1.0-plugins-good-videocrop \
    gstreamer1.0-plugins-bad-videoparsersbad \
"
