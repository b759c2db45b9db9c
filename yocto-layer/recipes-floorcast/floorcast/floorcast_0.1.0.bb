SUMMARY = "Puts a production line on air"
DESCRIPTION = "Captures the cameras of a production line, reads its telemetry, and streams both, \
joined to the frame, into a page that viewers open in a browser."
SECTION = "multimedia"
CVE_PRODUCT = "floorcast"

require floorcast.inc

inherit features_check systemd useradd
REQUIRED_DISTRO_FEATURES = "systemd"

PACKAGECONFIG ??= ""

SYSTEMD_SERVICE:${PN} = "floorcast.service"

# As configs/floorcast.sysusers, while the image is made: its root is read-only.
USERADD_PACKAGES = "${PN}"
GROUPADD_PARAM:${PN} = "--system tss"
USERADD_PARAM:${PN} = "--system --user-group --groups tss --no-create-home --home-dir / --shell /sbin/nologin floorcast"

do_install:append() {
    install -D -m 0644 ${S}/configs/floorcast.service ${D}${systemd_system_unitdir}/floorcast.service
    # The first configuration; from the first start on a box has its own, on its data partition.
    install -D -m 0644 ${S}/configs/box.toml ${D}${sysconfdir}/floorcast/floorcast.toml
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
