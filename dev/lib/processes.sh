# shellcheck shell=bash
# Detached processes with a recorded identity, so that only what we started is ever signalled.
# A record is a file "PID STARTTIME": ids are reused, an id together with its start time is not.

# start_time PID: in clock ticks since boot; nothing when there is no such process or only its zombie.
start_time() {
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  # The second field is the program's name in brackets and may hold blanks and brackets: go on after the last one.
  read -r -a stat <<<"${stat##*) }"
  [[ ${stat[0]} == [ZX] ]] || printf '%s\n' "${stat[19]}"
}

# record_alive FILE: whether the recorded process still runs.
record_alive() {
  local pid start
  { read -r pid start <"$1"; } 2>/dev/null || return 1
  [[ -n $start && $(start_time "$pid") == "$start" ]]
}

record_pid() { local pid; { read -r pid _ <"$1"; } 2>/dev/null && printf '%s\n' "$pid"; }

# is_ours FILE FOLDER: alive, and one of its arguments is inside FOLDER. The 0 is needed: under a trap, a bare `return`
# gives the status that was there before the trap, so that a failing script would find nothing to stop.
is_ours() {
  local argument
  record_alive "$1" || return 1
  while IFS= read -r -d '' argument; do
    [[ $argument == *"$2/"* ]] && return 0
  done <"/proc/$(record_pid "$1")/cmdline"
  return 1
} 2>/dev/null

# launch RECORD LOG COMMAND...: starts a process that outlives us and keeps nothing of ours open. It records itself
# before it becomes COMMAND, so that there is no moment in which it runs unrecorded.
launch() {
  local record=$1 log=$2
  shift 2
  # Of an earlier attempt: we wait for the new one below.
  rm -f -- "$record"
  (
    close_inherited
    cd /
    # Taken first: inside $(...) BASHPID is another process.
    own_pid=$BASHPID
    printf '%s %s\n' "$own_pid" "$(start_time "$own_pid")" >"$record"
    # setsid keeps the process id unless the caller leads a process group, which a background job of a script does not.
    exec setsid "$@"
  ) </dev/null >>"$log" 2>&1 &
  disown
  until [[ -s $record ]]; do sleep 0.01; done
}

# stop_all SIGNAL FOLDER RECORD...: the signal to all, KILL to what is left after 1.5 s. Not longer, because the data is
# thrown away anyway, and an API server with open watches would wait a minute for its clients.
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

# listens PID PORT: whether that very process listens there. That a port answers would not be enough: when ours
# was taken by another instance in the meantime, its server would answer.
listens() {
  local inode
  for inode in $(awk -v port="$(printf ':%04X' "$2")" '$4 == "0A" && substr($2, length($2) - 4) == port { print $10 }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null); do
    [[ -n $(find "/proc/$1/fd" -lname "socket:\[$inode\]" -print -quit 2>/dev/null) ]] && return
  done
  return 1
}

# free_port: one that nobody uses now, from below the range that the kernel gives to outgoing connections.
# Bash cannot reserve it: the caller has to start again when somebody else was faster.
free_port() {
  local port used
  used=$(awk '{ print substr($2, length($2) - 3) }' /proc/net/tcp /proc/net/tcp6 2>/dev/null || true)
  while :; do
    port=$((20000 + SRANDOM % 12000))
    [[ $used == *"$(printf '%04X' "$port")"* ]] || break
  done
  printf '%s\n' "$port"
}
