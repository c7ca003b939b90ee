# shellcheck shell=bash
# Shared by all scripts: messages, versions, prerequisites, locks.
# Messages go to stderr, so that stdout has only results.

PROGRAM=${0##*/}

say() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }

# die MESSAGE: prints one line and exits with 1: something failed.
die() {
  say "error: $*"
  exit 1
}

# die_usage MESSAGE: prints one line and exits with 2: the command line is wrong.
die_usage() {
  say "error: $* (see '$PROGRAM -h')"
  exit 2
}

# version_at_least FOUND WANTED: compares dotted versions.
version_at_least() {
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# package_of COMMAND: prints the Debian package of a command, for error messages.
package_of() {
  case $1 in
    flock | setsid) echo util-linux ;;
    awk) echo mawk ;;
    musl-gcc) echo musl-tools ;;
    aarch64-linux-gnu-gcc) echo gcc-aarch64-linux-gnu ;;
    qemu-aarch64-static) echo qemu-user-static ;;
    find) echo findutils ;;
    sort | timeout | od | base64 | nice | readlink) echo coreutils ;;
    *) echo "$1" ;;
  esac
}

# root_command: prints the command that gives root's rights without a password; nothing for root. Fails if there is
# none.
root_command() {
  ((EUID != 0)) || return 0
  command -v sudo >/dev/null && sudo -n true 2>/dev/null && echo "sudo -n"
}

# install_packages PACKAGE...: Debian packages. One for another architecture has that behind a colon.
install_packages() {
  local root log package
  command -v apt-get >/dev/null || die "install these packages, or their equivalents on this system: $*"
  root=$(root_command) || die "run this first: sudo apt-get install $*"
  say "installing the Debian packages $*"
  # shellcheck disable=SC2086 # $root is empty or two words
  for package in "$@"; do [[ $package != *:* ]] || $root dpkg --add-architecture "${package#*:}"; done
  log=$(mktemp)
  # RUNLEVEL=1: the packages start no service, as in single-user mode. Scripts start servers themselves.
  # shellcheck disable=SC2086
  if ! { $root apt-get update && $root env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null; then
    tail -n 15 "$log" >&2
    die "apt-get install $* failed, see $log"
  fi
  rm -f -- "$log"
}

# need COMMAND...: exits if one of them is missing.
need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null ||
      die "'$command' is missing: install the Debian package $(package_of "$command") or its equivalent"
  done
}

# need_linux: the scripts read /proc, for example to check that a process id is still the process that they started.
need_linux() {
  [[ -r /proc/self/stat ]] || die "this works on Linux only (it reads /proc)"
}

# home_path VARIABLE DEFAULT: prints the folder in an XDG variable, or DEFAULT under the home folder.
home_path() {
  local value=${!1:-}
  # The XDG specification says to ignore relative values.
  [[ $value == /* ]] && { printf '%s\n' "$value"; return; }
  [[ -n ${HOME:-} ]] || die "HOME is not set: set it, or $1"
  printf '%s/%s\n' "$HOME" "$2"
}

# absolute PATH: prints an absolute path. The servers outlive the caller's working directory.
absolute() {
  [[ $1 == /* ]] && printf '%s\n' "$1" || printf '%s/%s\n' "$PWD" "$1"
}

# take_lock FILE WHAT: locks FILE on descriptor LOCK_FD until drop_lock or the end of this process.
# The holder of the lock may remove the file. After waiting, check that the locked file is the current one.
take_lock() {
  local file=$1 what=$2
  while :; do
    exec {LOCK_FD}>>"$file"
    if ! flock --nonblock "$LOCK_FD"; then
      say "waiting: $what"
      flock "$LOCK_FD"
    fi
    [[ "/dev/fd/$LOCK_FD" -ef "$file" ]] && return
    exec {LOCK_FD}>&-
  done
}

drop_lock() { exec {LOCK_FD}>&-; }

# close_inherited: closes all descriptors except the three standard ones. A server would keep an inherited one open
# while it lives, for example the pipe of a caller's $(...) or our lock.
close_inherited() {
  local path number
  for path in "/proc/$BASHPID/fd/"*; do
    number=${path##*/}
    ((number <= 2)) || exec {number}>&-
  done
}
