# shellcheck shell=bash
# What dev/cluster and dev/prepare share: messages, versions, prerequisites, locks.
# Everything said to a person goes to stderr, so that stdout carries only results.

PROGRAM=${0##*/}

say() { printf '%s: %s\n' "$PROGRAM" "$*" >&2; }

# One readable line, exit code 1: something on this machine is not as it must be.
die() {
  say "error: $*"
  exit 1
}

# One readable line, exit code 2: the command line is wrong.
die_usage() {
  say "error: $* (see '$PROGRAM -h')"
  exit 2
}

# version_at_least FOUND WANTED: compares dotted versions.
version_at_least() {
  [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]
}

# The command that gives a Debian package's name, for error messages.
package_of() {
  case $1 in
    flock | setsid) echo util-linux ;;
    awk) echo mawk ;;
    find) echo findutils ;;
    sort | timeout | od | base64 | nice | readlink) echo coreutils ;;
    *) echo "$1" ;;
  esac
}

# need COMMAND...: ends the program when one of them is missing.
need() {
  local command
  for command in "$@"; do
    command -v "$command" >/dev/null ||
      die "'$command' is missing: install the Debian package $(package_of "$command") or its equivalent"
  done
}

# Everything here reads /proc, also the check that a process id is still the process we started.
need_linux() {
  [[ -r /proc/self/stat ]] || die "this works on Linux only (it reads /proc)"
}

# home_path VARIABLE DEFAULT: the folder that an XDG variable names, or DEFAULT under the home folder.
home_path() {
  local value=${!1:-}
  # The XDG specification says that relative values are to be ignored.
  [[ $value == /* ]] && { printf '%s\n' "$value"; return; }
  [[ -n ${HOME:-} ]] || die "HOME is not set: set it, or $1"
  printf '%s/%s\n' "$HOME" "$2"
}

# absolute PATH: the servers and the kubeconfig outlive the caller's working directory.
absolute() {
  [[ $1 == /* ]] && printf '%s\n' "$1" || printf '%s/%s\n' "$PWD" "$1"
}

# take_lock FILE WHAT: holds FILE's lock on descriptor LOCK_FD until drop_lock or the end of this process.
# The file may be removed by whoever holds the lock; so after waiting, look whether we locked the file that is there now.
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

# Closes every descriptor but the three standard ones. A server that inherited one more, such as the pipe of a
# caller's $(...) or our own lock, would keep it open as long as it lives.
close_inherited() {
  local path number
  for path in "/proc/$BASHPID/fd/"*; do
    number=${path##*/}
    ((number <= 2)) || exec {number}>&-
  done
}
