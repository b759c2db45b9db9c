SUMMARY = "A Floorcast box"
DESCRIPTION = "The daemon, its firmware, the encoders of its board, and a clock that is disciplined."
SECTION = "base"

# Before the class, which is for every architecture else: the encoders are the board's.
PACKAGE_ARCH = "${MACHINE_ARCH}"

inherit packagegroup

PACKAGES = "${PN} ${PN}-encoder"

RDEPENDS:${PN} = "\
    ${PN}-encoder \
    ca-certificates \
    floorcast \
    floorcast-boot \
    floorcast-firmware \
    ${@bb.utils.contains('BBFILE_COLLECTIONS', 'networking-layer', 'chrony', '', d)} \
"

# Kernel encoders come with the daemon's own plugins. x264 is commercial: whether a product may
# have it is the manufacturer's to say (LICENSE_FLAGS_ACCEPTED). dynamic-layers/ adds vendors'.
RDEPENDS:${PN}-encoder = "\
    gstreamer1.0-plugins-good-video4linux2 \
    ${@bb.utils.contains('LICENSE_FLAGS_ACCEPTED', 'commercial', 'gstreamer1.0-plugins-ugly-x264', '', d)} \
"

python () {
    if 'openembedded-layer' not in d.getVar('BBFILE_COLLECTIONS').split():
        raise bb.parse.SkipRecipe("floorcast-firmware needs meta-oe")
}
