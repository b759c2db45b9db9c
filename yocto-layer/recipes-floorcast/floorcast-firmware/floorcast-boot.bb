SUMMARY = "The U-Boot script that chooses the slot of a Floorcast box"
DESCRIPTION = "boot.scr for the boot partition, and where Linux finds the same variables."
SECTION = "bootloaders"
LICENSE = "Apache-2.0"

require recipes-floorcast/floorcast/floorcast-source.inc

inherit deploy kernel-arch

DEPENDS += "u-boot-tools-native"
PROVIDES += "u-boot-default-script"

do_configure[noexec] = "1"

do_compile() {
    uboot-mkimage -A ${UBOOT_ARCH} -T script -C none -n floorcast -d ${S}/firmware/boot/boot.cmd ${B}/boot.scr
}

do_install() {
    install -D -m 0644 -t ${D}${sysconfdir} ${S}/firmware/boot/fw_env.config
}

do_deploy() {
    install -D -m 0644 -t ${DEPLOYDIR} ${B}/boot.scr
}
addtask deploy after do_compile before do_build

PACKAGE_ARCH = "${MACHINE_ARCH}"

RDEPENDS:${PN} += "libubootenv-bin"
