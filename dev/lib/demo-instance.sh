# shellcheck shell=bash
# One run of the demo. It has its own name and folder, and leaves nothing behind.
#
# FOLDER/bin         links to the programs, so that the command line of a process shows which demo it belongs to
# FOLDER/pids/NAME   process records, see processes.sh; `script` is the demo itself
# FOLDER/logs        one log for each process
# FOLDER/kept        exists when the demo was left running (KEEP=1)

# use_demo NAME: selects the demo for the other functions.
use_demo() {
  NAME=$1
  FOLDER=$DEMOS/$NAME
  PIDS=$FOLDER/pids
  LOGS=$FOLDER/logs
}

begin_demo() {
  mkdir -p "$DEMOS"
  # mkdir without -p fails if another demo has that name.
  until use_demo "demo-$(printf '%06x' $((SRANDOM & 0xffffff)))" && mkdir "$FOLDER" 2>/dev/null; do
    [[ -w $DEMOS ]] || die "cannot write into $DEMOS"
  done
  trap clean EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir "$FOLDER"/{bin,pids,logs,redis}
  printf '%s %s\n' "$$" "$(start_time "$$")" >"$PIDS/script"
  # In case not even a trap can run. The last argument, the folder's name, is for is_ours.
  launch "$PIDS/reaper" /dev/null bash "$DEV/demo" reap "$FOLDER/"
}

end_demo() {
  if [[ -z ${KEEP:-} ]]; then
    headline done "stopping everything"
    return
  fi
  # Two replicas again, so that you can kill one.
  start_operator "$DEAD"
  wait_ready_operator "$DEAD"
  # From now on the cluster lives as long as Redis does.
  "$DEV/cluster" up --name "$NAME" --while-pid "$(record_pid "$PIDS/redis-server")" >/dev/null 2>"$LOGS/cluster.log" ||
    fail "the cluster keeps running" cluster
  stop_all TERM "$FOLDER" "$PIDS/sampler"
  touch "$FOLDER/kept"
  headline done "left running as $NAME"
  show_tour
}

# clean: runs when the script ends, for whatever reason.
clean() {
  local code=$?
  # If a command fails here, the others still run.
  set +e
  trap '' HUP INT TERM
  trap - EXIT
  if [[ ! -e $FOLDER/kept ]]; then
    remove_demo
    ((code)) || headline end "all processes are stopped, $FOLDER is removed"
  fi
  exit "$code"
}

# remove_demo: stops the processes, dependent ones first, then removes the folder.
remove_demo() {
  local record
  stop_all TERM "$FOLDER" "$PIDS"/operator-*
  stop_all TERM "$FOLDER" "$PIDS"/worker-* "$PIDS/sampler" "$PIDS/redis-server" "$PIDS/prometheus"
  [[ $(record_pid "$PIDS/reaper") == "$$" ]] || stop_all TERM "$FOLDER" "$PIDS/reaper"
  "$DEV/cluster" down --name "$NAME" </dev/null 2>/dev/null || say "the cluster is still running; stop it: dev/cluster down --name $NAME"
  rm -rf -- "$FOLDER"
  rmdir -- "$DEMOS" 2>/dev/null || true
}

# reap_demo FOLDER: removes the demo when its script has ended. Runs as a process of its own.
reap_demo() {
  use_demo "$(basename "$1")"
  while record_alive "$PIDS/script"; do sleep 0.5; done
  [[ ! -d $FOLDER || -e $FOLDER/kept ]] || remove_demo
}

# stop_kept [NAME]: stops kept demos, but none whose script still runs: it stops by itself.
stop_kept() {
  local folder stopped=''
  [[ ${1:-demo-0} =~ ^demo-[0-9a-f]+$ ]] || die_usage "bad name '$1': expected a name like demo-1a2b3c"
  for folder in "$DEMOS"/demo-*/; do
    [[ -d $folder ]] || continue
    use_demo "$(basename "$folder")"
    [[ ${1:-$NAME} == "$NAME" ]] || continue
    if record_alive "$PIDS/script"; then
      say "'$NAME' is still running and was not stopped: interrupt it where it was started"
    else
      remove_demo
      stopped+=" $NAME"
    fi
  done
  say "stopped:${stopped:- none, no such demo was left running}"
}
