SUMMARY = "The demo line of Floorcast"
DESCRIPTION = "The daemon with a line of its own: it draws the pictures, and its PLC and sensors \
are part of the program. For a bench or a fair; a box on a line does without."
SECTION = "multimedia"
CVE_PRODUCT = "floorcast"

require floorcast.inc

PACKAGECONFIG ??= "sim"

# Beside the daemon, not in place of it.
do_install() {
    install -D -m 0755 ${B}/target/${CARGO_TARGET_SUBDIR}/floorcast ${D}${bindir}/floorcast-demo
    install -D -m 0644 ${S}/configs/demo.toml ${D}${datadir}/floorcast/demo.toml
}

RDEPENDS:${PN} += "floorcast"
