# shellcheck shell=bash
# Detached processes with recorded identities, so that scripts signal only what they started.
# A record is a file "PID STARTTIME". Ids are reused, but not together with the start time.

# start_time PID: prints it in clock ticks since boot; nothing if there is no such process, or only a zombie.
start_time() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  # The second field is the program's name in brackets, which may contain spaces and brackets. Continue after the last
  # one.
  read -r -a stat <<<"${stat##*) }"
  [[ ${stat[0]} == [ZX] ]] || printf '%s\n' "${stat[19]}"
}

# record_alive FILE: whether the recorded process is running.
record_alive() {
  local pid start
  { read -r pid start <"$1"; } 2>/dev/null || return 1
  [[ -n $start && $(start_time "$pid") == "$start" ]]
}

record_pid() { local pid; { read -r pid _ <"$1"; } 2>/dev/null && printf '%s\n' "$pid"; }

# is_ours FILE FOLDER: whether it is running, and one of its arguments is inside FOLDER. `return 0`, because in a trap a
# bare `return` gives the status from before the trap, and a failing script would find nothing to stop.
is_ours() {
  local argument
  record_alive "$1" || return 1
  while IFS= read -r -d '' argument; do
    [[ $argument == *"$2/"* ]] && return 0
  done <"/proc/$(record_pid "$1")/cmdline"
  return 1
} 2>/dev/null

# launch RECORD LOG COMMAND...: starts a process that outlives the script and inherits no open file. It writes its
# record before it becomes COMMAND, so it never runs unrecorded.
launch() {
  local record=$1 log=$2
  shift 2
  # From an earlier attempt. The loop below waits for the new one.
  rm -f -- "$record"
  (
    close_inherited
    cd /
    # Read first: inside $(...) BASHPID is another process.
    own_pid=$BASHPID
    printf '%s %s\n' "$own_pid" "$(start_time "$own_pid")" >"$record"
    # setsid keeps the process id unless the caller leads a process group. A background job of a script does not.
    exec setsid "$@"
  ) </dev/null >>"$log" 2>&1 &
  disown
  until [[ -s $record ]]; do sleep 0.01; done
}

# stop_all SIGNAL FOLDER RECORD...: sends the signal, and KILL to what still runs after 1.5 s. No longer, because the
# data is discarded anyway, and an API server with open watches would wait a minute for its clients.
stop_all() {
  local signal=$1 folder=$2 record tries=0 left=()
  shift 2
  signal_all "$signal" "$folder" "$@"
  while ((tries++ < 30)); do
    left=()
    for record in "$@"; do ! is_ours "$record" "$folder" || left+=("$record"); done
    ((${#left[@]})) || return 0
    sleep 0.05
  done
  signal_all KILL "$folder" "${left[@]}"
  sleep 0.2
}

signal_all() {
  local signal=$1 folder=$2 record
  shift 2
  for record in "$@"; do
    ! is_ours "$record" "$folder" || kill -s "$signal" "$(record_pid "$record")" 2>/dev/null || true
  done
}

# listens PID PORT: whether this process listens there. An answer from the port is not enough, because another instance
# may have taken it.
listens() {
  local inode
  for inode in $(awk -v port="$(printf ':%04X' "$2")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10 }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
    [[ -n $(find "/proc/$1/fd" -lname "socket:\[$inode\]" -print -quit 2>/dev/null) ]] && return
  done
  return 1
}

# free_port: prints an unused port below the range of outgoing connections. Bash cannot reserve it, so the caller must
# try again if another process takes it.
free_port() {
  local port used
  used=$(awk '{ print substr($2, length($2) - 3) }' /proc/net/tcp /proc/net/tcp6 2>/dev/null || true)
  while :; do
    port=$((20000 + SRANDOM % 12000))
    [[ $used == *"$(printf '%04X' "$port")"* ]] || break
  done
  printf '%s\n' "$port"
}
