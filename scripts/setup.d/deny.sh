# cargo-deny: the one on PATH if it reads our deny.toml, else compiled once into .cache/.

# Older ones stumble over the package ids of today's cargo.
DENY_VERSION=0.20.2

cargo_deny() {
  local have
  have=$(cargo deny --version 2>/dev/null | cut -d' ' -f2) || true
  if [ -n "$have" ] && at_least "$have" 0.18; then return 0; fi
  if [ ! -x .cache/tools/bin/cargo-deny ]; then
    say "compiling cargo-deny $DENY_VERSION, once, a few minutes"
    # A check that runs for a second needs no optimised code.
    env CARGO_PROFILE_RELEASE_LTO=false CARGO_PROFILE_RELEASE_OPT_LEVEL=0 \
      CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_TARGET_DIR="$PWD/.cache/tools/target" \
      timeout 1500 cargo install "cargo-deny@$DENY_VERSION" --locked --quiet \
      --root "$PWD/.cache/tools" >&2 || fail "cargo install cargo-deny@$DENY_VERSION"
    rm -rf .cache/tools/target
  fi
  mkdir -p .cache/bin
  ln -sf ../tools/bin/cargo-deny .cache/bin/cargo-deny
}
