# A Rust toolchain: the one on PATH if it is new enough, else rustup's, else Debian's.

# Cargo.toml says which is the oldest that will do.
rust_minimum() { sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml; }

# at_least HAVE WANT: versions with dots.
at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

# rust_is_there [DIR]: cargo and rustc on PATH (or in DIR) work and are new enough.
rust_is_there() {
  local at=${1:+$1/} have
  have=$("${at}cargo" --version 2>/dev/null | cut -d' ' -f2) || return 1
  "${at}rustc" --version >/dev/null 2>&1 || return 1
  [ -n "$have" ] && at_least "$have" "$(rust_minimum)"
}

rust_toolchain() {
  local home=${CARGO_HOME:-$HOME/.cargo}/bin
  rust_is_there && return 0
  if ! rust_is_there "$home"; then
    say "no cargo $(rust_minimum) or newer on PATH"
    rust_from_rustup "$home" || rust_from_debian
  fi
  if rust_is_there "$home"; then
    # The Makefile puts .cache/bin first on PATH.
    mkdir -p .cache/bin
    local tool
    for tool in cargo rustc rustdoc rustfmt cargo-fmt cargo-clippy clippy-driver rustup; do
      if [ -e "$home/$tool" ]; then ln -sf "$home/$tool" ".cache/bin/$tool"; fi
    done
    PATH=$PWD/.cache/bin:$PATH
  else
    rm -f .cache/bin/{cargo,rustc,rustdoc,rustfmt,cargo-fmt,cargo-clippy,clippy-driver,rustup}
  fi
  hash -r
  rust_is_there || fail "cargo $(cargo --version 2>&1) is still older than $(rust_minimum)"
  say "using $(rustc --version)"
}

# rust_from_rustup BIN: fails within its deadlines where rustup's servers cannot be reached.
rust_from_rustup() {
  local script=.cache/rustup-init.sh
  if [ -x "$1/rustup" ]; then
    timeout 600 "$1/rustup" toolchain install stable --profile minimal \
      --component rustfmt,clippy >&2 && rust_is_there "$1" && return 0
  fi
  if curl --proto '=https' --tlsv1.2 -sSf --connect-timeout 10 --max-time 60 \
    https://sh.rustup.rs -o "$script"; then
    timeout 600 sh "$script" -y -q --profile minimal --component rustfmt,clippy \
      --no-modify-path >&2 && rust_is_there "$1" && return 0
  fi
  say "rustup's servers cannot be reached; trying Debian's toolchain for browsers"
  return 1
}

# Debian keeps rustc-web current for its browsers; it comes with the security updates.
rust_from_debian() {
  refresh_lists
  local candidate
  candidate=$(apt-cache policy cargo-web | sed -n 's/^ *Candidate: \([0-9.]*\).*/\1/p')
  if [ -z "$candidate" ] || ! at_least "$candidate" "$(rust_minimum)"; then
    fail "Debian's cargo-web is ${candidate:-absent} here, too old: install Rust $(rust_minimum)" \
      "or newer from https://rustup.rs, or add Debian's security updates to the apt sources"
  fi
  install_packages rustc-web cargo-web
}

# rust_component RUSTUP_NAME SUBCOMMAND DEBIAN_PACKAGE
rust_component() {
  cargo "$2" --version >/dev/null 2>&1 && return 0
  if command -v rustup >/dev/null; then
    timeout 300 rustup component add "$1" >&2 || fail "rustup component add $1"
  else
    install_packages "$3"
  fi
  cargo "$2" --version >/dev/null 2>&1 || fail "cargo $2 does not work: install rustup's $1"
}
