# Peers that tests talk to and that come from PyPI, in .cache/venv, pinned.

python_peers() {
  local list=tests/peers/requirements.txt python=/usr/bin/python3 stamp
  stamp="$("$python" --version) $(sha256sum "$list" | cut -d' ' -f1)"
  if [ "$(cat .cache/venv/stamp 2>/dev/null)" = "$stamp" ] && .cache/venv/bin/python -c ''; then
    return 0
  fi
  say "installing $(grep -c '^[a-z]' "$list") Python peers into .cache/venv"
  rm -rf .cache/venv
  "$python" -m venv .cache/venv || fail "python3 -m venv .cache/venv"
  timeout 900 .cache/venv/bin/pip install --quiet --disable-pip-version-check -r "$list" >&2 \
    || fail "pip install -r $list"
  printf '%s' "$stamp" >.cache/venv/stamp
}
