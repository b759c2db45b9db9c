SUMMARY = "A signed update of a Floorcast box"
DESCRIPTION = "The production image as a RAUC bundle: verity, for one machine, with a hook that \
refuses another board and an older version."
LICENSE = "Apache-2.0"

inherit bundle features_check floorcast_version
REQUIRED_DISTRO_FEATURES = "rauc"

RAUC_BUNDLE_COMPATIBLE = "floorcast-${MACHINE}"
RAUC_BUNDLE_VERSION = "${FLOORCAST_VERSION}"
RAUC_BUNDLE_FORMAT = "verity"
RAUC_BUNDLE_SLOTS = "rootfs"
RAUC_SLOT_rootfs = "floorcast-image"
RAUC_SLOT_rootfs[fstype] = "ext4"
RAUC_SLOT_rootfs[rename] = "rootfs.ext4"

FILESEXTRAPATHS:prepend := "${FLOORCAST_SOURCE}/firmware/rauc:"
SRC_URI += "file://hook"
RAUC_BUNDLE_HOOKS[file] = "hook"
RAUC_BUNDLE_HOOKS[hooks] = "install-check"

# What a site's uplink is asked to carry to each box: megabytes, compressed.
FLOORCAST_BUNDLE_MAX_MB ?= "160"
do_bundle:append() {
    bytes=$(stat -c %s ${B}/bundle.raucb)
    if [ "$bytes" -gt "${FLOORCAST_BUNDLE_MAX_MB}000000" ]; then
        bbfatal "the bundle has $bytes bytes: FLOORCAST_BUNDLE_MAX_MB is ${FLOORCAST_BUNDLE_MAX_MB}"
    fi
}

# RAUC_KEY_FILE, RAUC_CERT_FILE and RAUC_KEYRING_FILE are the manufacturer's; there is no default.
python () {
    if 'openembedded-layer' not in d.getVar('BBFILE_COLLECTIONS').split():
        raise bb.parse.SkipRecipe("the image needs meta-oe")
    if not d.getVar('RAUC_KEY_FILE'):
        raise bb.parse.SkipRecipe("RAUC_KEY_FILE, RAUC_CERT_FILE and RAUC_KEYRING_FILE are not set: "
                                  "firmware/keys/make makes a signer")
}
