# shellcheck shell=bash
# The Python environments of dev/test, dev/e2e, dev/polls-figure, dev/plan-figure and dev/releases: outside the
# checkout, one for each release of ContextForge and of fastmcp, made once.
#
# RELEASE: newest (the default), oldest, or a version. PYTHON: the Python to use; without it, one is found.
# Needs HERE, the folder integrations/contextforge.

# shellcheck source=../../../../dev/versions.env
source "$HERE/../../dev/versions.env"

CONTEXTFORGE=mcp-contextforge-gateway
CACHE=${MCPGATEWAY_DEV_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/mcpgateway-operator}

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${PROGRAM:-${0##*/}}" "$*" >&2; exit 1; }

# release_named NAME: prints the version that a value of RELEASE stands for.
release_named() {
  case $1 in
    newest) printf '%s\n' "$CONTEXTFORGE_VERSION" ;;
    oldest) printf '%s\n' "$CONTEXTFORGE_MIN_VERSION" ;;
    [0-9]*.[0-9]*) printf '%s\n' "$1" ;;
    *) die "RELEASE=$1 is not newest, oldest or a version like $CONTEXTFORGE_VERSION" ;;
  esac
}

# pythons_of RELEASE: prints the versions of Python that a release admits, the one to prefer first. The oldest ones of
# ContextForge are tried with the oldest Python, because the plugin admits it too.
pythons_of() {
  case $1 in
    0.* | 1.0.[0-7] | 1.0.[0-7].*) printf '%s\n' 3.11 3.12 3.13 ;;
    *) printf '%s\n' 3.12 3.13 ;;
  esac
}

# is_python PROGRAM VERSION: whether this program runs, is that version, and can make environments.
is_python() {
  "$1" -c 'import sys, venv, ensurepip; sys.exit("%d.%d" % sys.version_info[:2] != sys.argv[1])' "$2" >/dev/null 2>&1
}

# candidates VERSION: prints the programs that may be this Python: in PATH, of pyenv (whose command in PATH refuses a
# version that is not the chosen one), of uv.
candidates() {
  local root
  type -ap -- "python$1" python3 || true
  root=${PYENV_ROOT:-$(pyenv root 2>/dev/null || printf '%s\n' "$HOME/.pyenv")}
  compgen -G "$root/versions/$1.*/bin/python$1" | sort -rV || true
  uv python find --no-python-downloads "$1" 2>/dev/null || true
}

# find_python FOR VERSION...: prints the first Python of these versions, in their order. FOR is only for the error.
find_python() {
  local what=$1 version program known
  shift
  known=$(printf ', %s' "$@")
  known=${known:2}
  for version in "$@"; do
    while IFS= read -r program; do
      if is_python "$program" "$version"; then
        printf '%s\n' "$program"
        return
      fi
    done < <(if [[ -n ${PYTHON:-} ]]; then printf '%s\n' "$PYTHON"; else candidates "$version"; fi)
  done
  [[ -z ${PYTHON:-} ]] || die "$what needs Python $known with venv and pip, and PYTHON=$PYTHON is not such a one"
  die "$what needs Python $known with venv and pip, and neither PATH nor pyenv nor uv has one." \
    "Install one ('pyenv install $1', 'uv python install $1', or the packages python$1 and python$1-venv), or name" \
    "one: PYTHON=/path/to/python$1"
}

# environment FOLDER PYTHON PACKAGE...: made once; a folder without the mark is one whose making was cut short.
environment() {
  local folder=$1 python=$2 lock
  shift 2
  [[ ! -e $folder/.complete ]] || return 0
  mkdir -p -- "$folder"
  # Another checkout may be making the same one.
  exec {lock}>"$folder.lock"
  flock "$lock"
  if [[ ! -e $folder/.complete ]]; then
    say "installing into $folder with $("$python" --version): $* (once)"
    "$python" -m venv --clear "$folder"
    "$folder/bin/pip" install --quiet --disable-pip-version-check "$@"
    touch -- "$folder/.complete"
  fi
  exec {lock}>&-
}

# release_environment: sets RELEASE to a version, and BIN to the programs of its environment.
release_environment() {
  local python
  RELEASE=$(release_named "${RELEASE:-newest}")
  BIN=$CACHE/contextforge-$RELEASE/bin
  if [[ ! -e $CACHE/contextforge-$RELEASE/.complete ]]; then
    # shellcheck disable=SC2046 # one word each
    python=$(find_python "ContextForge $RELEASE" $(pythons_of "$RELEASE"))
    environment "$CACHE/contextforge-$RELEASE" "$python" "$CONTEXTFORGE==$RELEASE" pytest ruff mypy
  fi
  say "ContextForge $RELEASE with $("$BIN/python" --version)"
}

# fastmcp_environments: sets FASTMCP and FASTMCP_OLDER to a Python with fastmcp of either generation.
fastmcp_environments() {
  local version python
  for version in "$FASTMCP_VERSION" "$FASTMCP_OLDER_VERSION"; do
    [[ ! -e $CACHE/fastmcp-$version/.complete ]] || continue
    python=$(find_python "fastmcp $version" 3.12 3.13 3.11)
    environment "$CACHE/fastmcp-$version" "$python" "fastmcp==$version"
  done
  FASTMCP=$CACHE/fastmcp-$FASTMCP_VERSION/bin/python
  # shellcheck disable=SC2034 # for the callers
  FASTMCP_OLDER=$CACHE/fastmcp-$FASTMCP_OLDER_VERSION/bin/python
}

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
