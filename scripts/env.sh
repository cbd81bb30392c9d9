# Sourced by every script here, never run. It fixes what all of them must agree on: where the project is, where cargo
# builds (one directory and one profile, so that the engine's C is compiled once), and which sidecar Elixir starts.
# shellcheck shell=bash
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export CARGO_TARGET_DIR="$root/target"
sidecar="$CARGO_TARGET_DIR/release/libsql_port"
driver="$root/elixir_client/libsql_port"
adapter="$root/elixir_client/ecto_libsql_port"
example="$root/examples/time_zones"

# rustup's directory is on the PATH of login shells only; CI and cron have none.
if ! command -v cargo >/dev/null 2>&1 && [ -x "${CARGO_HOME:-$HOME/.cargo}/bin/cargo" ]; then
  PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH"
  export PATH
fi

# The VM takes file names and terminal output for latin1 without a UTF-8 locale, and says so on every start.
case "${LC_ALL:-${LC_CTYPE:-${LANG:-}}}" in
  *UTF-8* | *utf-8* | *UTF8* | *utf8*) ;;
  *) if [ "$(uname -s)" = Darwin ]; then export LC_ALL=en_US.UTF-8; else export LC_ALL=C.UTF-8; fi ;;
esac

say() { printf '%s\n' "$*"; }
die() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Tells the driver to start the sidecar that cargo has just built, instead of looking for one in priv.
use_built_sidecar() {
  [ -x "$sidecar" ] || die "The sidecar is not built: run make build."
  export LIBSQL_PORT_EXECUTABLE="$sidecar"
}

# The adapter and what is built on it depend on packages. They take part where those can be had: from checkouts that
# variables like ECTO_PATH name, or from the registry. To be called in the package's directory.
adapter_dependencies() {
  if [ -n "${ECTO_PATH:-}" ]; then
    # Paths need no fetching; whether they resolve shows in the compilation, whose warnings are errors.
    mix compile --warnings-as-errors
  else
    bounded mix local.hex --force --if-missing
    bounded mix local.rebar --force --if-missing
    bounded mix deps.get
  fi
}

# A registry that cannot be reached must not hold up the rest.
bounded() {
  if command -v timeout >/dev/null; then timeout 120 "$@"; else "$@"; fi
}
