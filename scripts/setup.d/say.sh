# How set-up speaks: one line a step on stderr, and the reason where it stops.

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
  printf 'setup: FAILED: %s\n' "$*" >&2
  exit 1
}

# as_root COMMAND…: directly as root, else through sudo.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    fail "needs root or sudo to run: $*"
  fi
}
