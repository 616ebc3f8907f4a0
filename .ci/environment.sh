#!/usr/bin/env bash
# Makes .venv exactly as uv.lock says. Uses uv from PATH, else a pinned uv in the private folder .uv/.
# Arguments go to `uv sync`. Needs only python3; as root on a Debian-like machine it installs what is missing for that.
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
UV_MINIMUM=0.8

say() { printf '%s\n' "environment: $*" >&2; }
fail() { say "$*"; exit 1; }

recent_enough() { # recent_enough COMMAND: uv in PATH may be too old to read the lock file
  local have
  have=$("$1" --version 2>/dev/null | awk '{print $2}') || return 1
  [ -n "$have" ] && [ "$(printf '%s\n' "$UV_MINIMUM" "$have" | sort -V | head -n 1)" = "$UV_MINIMUM" ]
}

apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  say "installing $* with apt-get"
  DEBIAN_FRONTEND=noninteractive apt-get update -q >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}

private_uv() {
  if ! recent_enough .uv/bin/uv; then
    command -v python3 >/dev/null || apt_install python3 python3-venv ||
      fail "python3 (3.11 or newer) is needed; install it, then run make again"
    rm -rf .uv
    if ! python3 -m venv .uv >&2; then
      rm -rf .uv
      apt_install python3-venv || fail "python3 cannot make virtual environments; install python3-venv (or uv), then run make again"
      python3 -m venv .uv >&2
    fi
    say "installing uv $UV_VERSION into .uv/"
    .uv/bin/python -m pip install -q --disable-pip-version-check "uv==$UV_VERSION" >&2 || { rm -rf .uv; fail "uv could not be installed from the package index"; }
  fi
  echo .uv/bin/uv
}

# Two `make` at once must not build one folder together.
if command -v flock >/dev/null && [ -z "${MQDASH_ENVIRONMENT_LOCKED:-}" ]; then
  exec env MQDASH_ENVIRONMENT_LOCKED=1 flock pyproject.toml .ci/environment.sh "$@"
fi

if command -v uv >/dev/null && recent_enough uv; then UV=uv; else UV=$(private_uv); fi
unset VIRTUAL_ENV MQDASH_ENVIRONMENT_LOCKED
export UV_PYTHON_DOWNLOADS=never UV_PYTHON_PREFERENCE=only-system UV_PROJECT_ENVIRONMENT=.venv UV_LINK_MODE=copy
"$UV" sync --quiet --locked --group bench "$@" || fail "uv sync failed (see above); Python 3.11 or newer is needed"
touch .venv/.synced
