SUMMARY = "A Floorcast box for a factory's floor"
DESCRIPTION = "Read-only, with no password, no login and no console: it is set up over MQTT alone."

require floorcast-image.inc

# Nobody presses a key here: no console, serial or not, asks for a name.
floorcast_no_console() {
    for unit in getty@ serial-getty@ console-getty container-getty@ debug-shell; do
        ln -sf /dev/null ${IMAGE_ROOTFS}${sysconfdir}/systemd/system/$unit.service
    done
    find ${IMAGE_ROOTFS}${sysconfdir}/systemd/system -name '*getty@*.service' -path '*.wants/*' -delete
}

# A password that is empty, or known to somebody, would be every box's.
floorcast_no_login() {
    open=$(sed -n '/^[^:]*:[!*]/!s/:.*//p' ${IMAGE_ROOTFS}${sysconfdir}/shadow)
    if [ -n "$open" ]; then
        bbfatal "accounts with a password that works, or with none at all:" $open
    fi
    sed -i '/^root:/s#:[^:]*$#:${base_sbindir}/nologin#' ${IMAGE_ROOTFS}${sysconfdir}/passwd
}

# It is set up over MQTT alone, so a box that knocks at no door, or does not know whom to believe
# there, could never be set up.
floorcast_can_be_set_up() {
    config=${IMAGE_ROOTFS}${sysconfdir}/floorcast/floorcast.toml
    if ! grep -q -e '^ *\[control\.door\]' -e '^ *\[\[control\.broker\]\]' $config; then
        bbfatal "the first configuration has neither [control.door] nor [[control.broker]]: FLOORCAST_CONFIG" \
            "names one that has, FLOORCAST_SITE_CA the authority of its site (README.md of yocto-layer)"
    fi
    for file in $(sed -n 's/^ *ca_file *= *"\(\/[^"]*\)".*/\1/p' $config); do
        if [ ! -e ${IMAGE_ROOTFS}$file ]; then
            bbfatal "the first configuration trusts $file, which the image has not: FLOORCAST_SITE_CA brings" \
                "${sysconfdir}/floorcast/ca.pem"
        fi
    done
}

# Last: OpenEmbedded itself closes an empty root password in one of these steps.
ROOTFS_POSTPROCESS_COMMAND:append = " floorcast_can_be_set_up floorcast_no_console floorcast_no_login"

FLOORCAST_REFUSED = "allow-empty-password allow-root-login empty-root-password post-install-logging \
    serial-autologin-root ssh-server-dropbear ssh-server-openssh tools-debug"

python () {
    refused = set(d.getVar('FLOORCAST_REFUSED').split()) & set(d.getVar('IMAGE_FEATURES').split())
    if refused:
        raise bb.parse.SkipRecipe("not in a product: %s; take them out of EXTRA_IMAGE_FEATURES, or build "
                                  "floorcast-image-dev" % ' '.join(sorted(refused)))
}
