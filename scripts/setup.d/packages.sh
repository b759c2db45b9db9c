# Debian packages, by what they are needed for. Names are the same in Debian 12 and 13.

# Compiling the daemon: libclang reads the V4L2 headers (crate v4l2-sys-mit).
BUILD=(build-essential ca-certificates curl git libclang-dev
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev pkg-config)

# Plugins the daemon plays with: capture, JPEG, x264, openh264, parsers.
STREAM=(gstreamer1.0-libav gstreamer1.0-plugins-bad gstreamer1.0-plugins-base
  gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly)

BROKER=(mosquitto)

# What the tests talk to: brokers, a Modbus library that is not ours, pty pairs, test keys, a web
# server that goes on where a transfer broke off, RAUC on a bus of its own, a TPM, and systemd's
# judgement of the unit.
PEERS=(dbus gstreamer1.0-tools jq libmodbus-dev mosquitto-clients nginx-light openssl procps
  python3-venv rauc socat squashfs-tools swtpm systemd tpm2-tools)
PEER_SERVICES=(nginx.service)

# Brokers of a larger site. The tests run them as children; their services stay off.
CLUSTERS=(nats-server rabbitmq-server)
CLUSTER_SERVICES=(nats-server.service rabbitmq-server.service epmd.service epmd.socket)

# Real browsers in a network of their own, with letters for both languages of the page.
BROWSERS=(chromium firefox-esr fonts-dejavu-core fonts-noto-cjk iproute2)

# A root of Debian's packages, and a daemon for ARM64 against it.
CROSS=(arch-test gcc-aarch64-linux-gnu kmod mmdebstrap uidmap)

# The ARM64 machine of tests/vm.
ARM=(cpio qemu-system-arm xz-utils)

# The daemon's own package, its list of parts, and its test in a root without network.
DEB=(dpkg-dev iproute2 jq)

# The board of tests/vm/board: a bootloader, disks, accounts and units set up from outside.
BOARD=(e2fsprogs fdisk qemu-utils systemd u-boot-qemu u-boot-tools)

# Prints the packages for Node.js 18 or newer with npm, or nothing if they are there already.
node_packages() {
  local major=0
  if command -v node >/dev/null && command -v npm >/dev/null; then
    major=$(node --version | sed 's/^v\([0-9]*\).*/\1/')
  fi
  if [ "$major" -lt 18 ]; then echo "nodejs npm"; fi
}

# keep_off UNIT…: services of packages that are not there yet start neither with the installation
# nor at boot, until somebody runs `systemctl unmask`.
keep_off() {
  local unit
  for unit in "$@"; do
    if [ -e "/lib/systemd/system/$unit" ] || [ -L "/etc/systemd/system/$unit" ]; then continue; fi
    as_root mkdir -p /etc/systemd/system
    as_root ln -s /dev/null "/etc/systemd/system/$unit"
  done
}

# install_packages NAME…: those that are missing, in one go. An argument may hold several names.
install_packages() {
  local missing
  # shellcheck disable=SC2068 # several names in one argument are wanted apart
  missing=$(for name in $@; do
    dpkg-query -W -f '${db:Status-Abbrev}\n' "$name" 2>/dev/null | grep -q '^ii' || echo "$name"
  done)
  [ -n "$missing" ] || return 0
  # shellcheck disable=SC2086
  say "installing" $missing
  refresh_lists
  # shellcheck disable=SC2086
  as_root env DEBIAN_FRONTEND=noninteractive timeout 1800 apt-get install -qq -y --no-remove \
    --no-install-recommends -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 $missing \
    >.cache/apt.log 2>&1 || {
    tail -n 20 .cache/apt.log >&2
    # shellcheck disable=SC2086
    fail "apt-get install" $missing "(all of it in .cache/apt.log)"
  }
}

# Package lists, once a run. A third-party source that fails is not our business.
refresh_lists() {
  [ -z "${lists_are_fresh:-}" ] || return 0
  as_root timeout 300 apt-get update -qq >&2 || say "apt-get update complained; going on"
  lists_are_fresh=yes
}
