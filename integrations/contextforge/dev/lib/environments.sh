# shellcheck shell=bash
# The Python environments of dev/test, dev/e2e and dev/polls-figure: outside the checkout, made once.

RELEASE=1.0.7
CACHE=${MCPGATEWAY_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mcpgateway-operator}
ENVIRONMENT=$CACHE/contextforge-$RELEASE
FASTMCP=$CACHE/fastmcp
BIN=$ENVIRONMENT/bin

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${PROGRAM:-${0##*/}}" "$*" >&2; exit 1; }

find_python() {
  local python
  for python in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    if "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      printf '%s\n' "$python"
      return
    fi
  done
  die "Python 3.11, 3.12 or 3.13 is needed (PYTHON=/path/to/it)"
}

# environment FOLDER PACKAGE...: made once; a folder without the mark is one whose making was cut short.
environment() {
  local folder=$1 python
  shift
  [[ ! -e $folder/.complete ]] || return 0
  python=$(find_python)
  say "installing into $folder: $* (once)"
  mkdir -p -- "$folder"
  "$python" -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
  touch -- "$folder/.complete"
}

release_environment() { environment "$ENVIRONMENT" "mcp-contextforge-gateway==$RELEASE" pytest ruff mypy; }
fastmcp_environment() { environment "$FASTMCP" fastmcp; }

# find_operator ROOT: sets OPERATOR to the operator's binary: the one that is named by that variable, or a debug build.
find_operator() {
  local target
  if [[ -z ${OPERATOR:-} ]]; then
    (cd -- "$1" && "${CARGO:-cargo}" build --locked --quiet)
    target=$(cd -- "$1" && "${CARGO:-cargo}" metadata --locked --no-deps --format-version 1 |
      sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
    OPERATOR=$target/debug/mcpgateway-operator
  fi
  [[ -x $OPERATOR ]] || die "no program at $OPERATOR"
}
