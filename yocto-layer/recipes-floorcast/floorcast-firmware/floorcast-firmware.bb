SUMMARY = "What updates, guards and identifies a Floorcast box"
DESCRIPTION = "RAUC's configuration, the health gate of a new slot, the data partition and its \
first start, and the watchdog: the files of firmware/ as they are."
SECTION = "base"
LICENSE = "Apache-2.0"

require recipes-floorcast/floorcast/floorcast-source.inc

inherit features_check systemd
REQUIRED_DISTRO_FEATURES = "rauc systemd"

# The authority that a box takes bundles of: its ca.pem, made by firmware/keys/make.
FLOORCAST_CA ?= ""
# The oldest version that a box takes: none below its own. Whoever has to be able to go back sets it
# lower, and raises it with every release that closes a hole.
FLOORCAST_FLOOR ?= "${FLOORCAST_VERSION}"

do_configure[noexec] = "1"
do_compile[noexec] = "1"
do_install[file-checksums] += "${@d.getVar('FLOORCAST_CA') + ':True' if d.getVar('FLOORCAST_CA') else ''}"

LIBEXEC = "${nonarch_libdir}/floorcast"

do_install() {
    if [ ! -e "${FLOORCAST_CA}" ]; then
        bbfatal "FLOORCAST_CA = '${FLOORCAST_CA}' is no file: firmware/keys/make DIR development makes DIR/ca.pem"
    fi
    cd ${S}/firmware
    install -D -m 0644 ${FLOORCAST_CA} ${D}${sysconfdir}/rauc/ca.pem
    sed -e 's/@MACHINE@/${MACHINE}/' -e 's/@FLOOR@/${FLOORCAST_FLOOR}/' rauc/system.conf.in \
        >${D}${sysconfdir}/rauc/system.conf
    install -D -m 0644 -t ${D}${datadir}/polkit-1/rules.d rauc/49-floorcast-restart.rules
    install -D -m 0755 -t ${D}${LIBEXEC} rauc/pre-install health/floorcast-good health/floorcast-health \
        first-boot/floorcast-data

    install -D -m 0644 -t ${D}${systemd_system_unitdir} health/floorcast-*.service first-boot/*.mount \
        first-boot/floorcast-data.service stick/run-floorcast-stick.mount
    install -D -m 0644 -t ${D}${nonarch_base_libdir}/udev/rules.d stick/61-floorcast-stick.rules \
        provisioning/60-floorcast-tpm.rules
    install -D -m 0644 -t ${D}${systemd_system_unitdir}/floorcast.service.d first-boot/floorcast.service.conf
    mv ${D}${systemd_system_unitdir}/floorcast.service.d/floorcast.service.conf \
        ${D}${systemd_system_unitdir}/floorcast.service.d/data.conf
    for unit in emergency rescue; do
        install -D -m 0644 health/emergency.service.conf ${D}${systemd_system_unitdir}/$unit.service.d/floorcast.conf
    done
    # A read-only root of OpenEmbedded has /var/lib in memory: ours is mounted onto that.
    install -d ${D}${systemd_system_unitdir}/var-lib-private.mount.d
    printf '[Unit]\nAfter=var-volatile-lib.service\n' \
        >${D}${systemd_system_unitdir}/var-lib-private.mount.d/volatile.conf
    install -D -m 0644 -t ${D}${systemd_unitdir}/system.conf.d watchdog/50-floorcast-watchdog.conf
    install -D -m 0644 -t ${D}${nonarch_libdir}/repart.d partitions/repart.d/50-data.conf

    # Where the root, which is read-only, is mounted upon.
    install -d -m 0755 ${D}/data
    install -d -m 0700 ${D}${localstatedir}/lib/private
}

SYSTEMD_SERVICE:${PN} = "\
    data.mount \
    etc-floorcast.mount \
    floorcast-data.service \
    floorcast-good.service \
    floorcast-health.service \
    var-lib-private.mount \
"

PACKAGE_ARCH = "${MACHINE_ARCH}"

FILES:${PN} += "\
    /data \
    ${LIBEXEC} \
    ${datadir}/polkit-1 \
    ${localstatedir}/lib/private \
    ${nonarch_base_libdir}/udev/rules.d \
    ${nonarch_libdir}/repart.d \
    ${systemd_system_unitdir} \
    ${systemd_unitdir}/system.conf.d \
"

# In place of meta-rauc's example; the scripts want `sort -V`, `sync FILE` and `timeout`.
RDEPENDS:${PN} += "coreutils floorcast polkit rauc rauc-service"
# What seals the box's key where there is a TPM.
RDEPENDS:${PN} += "${@bb.utils.contains('BBFILE_COLLECTIONS', 'tpm-layer', 'tpm2-tools libtss2-tcti-device', '', d)}"
RPROVIDES:${PN} += "virtual-rauc-conf"

python () {
    if 'openembedded-layer' not in d.getVar('BBFILE_COLLECTIONS').split():
        raise bb.parse.SkipRecipe("a box restarts itself through polkit: add meta-oe")
}
