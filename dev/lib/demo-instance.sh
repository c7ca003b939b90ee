# shellcheck shell=bash
# One run of the demo: a name and a folder of its own, and that nothing of it stays behind.
#
# FOLDER/bin         links to the programs, so that a process tells by its command line which demo it belongs to
# FOLDER/pids/NAME   process records, see processes.sh; `script` is the demo itself
# FOLDER/logs        one for each process
# FOLDER/kept        exists when the demo was left running (KEEP=1)

# use_demo NAME: sets what the other functions work on.
use_demo() {
  NAME=$1
  FOLDER=$DEMOS/$NAME
  PIDS=$FOLDER/pids
  LOGS=$FOLDER/logs
}

begin_demo() {
  mkdir -p "$DEMOS"
  # mkdir without -p fails when another demo has that name.
  until use_demo "demo-$(printf '%06x' $((SRANDOM & 0xffffff)))" && mkdir "$FOLDER" 2>/dev/null; do
    [[ -w $DEMOS ]] || die "cannot write into $DEMOS"
  done
  trap clean EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  mkdir "$FOLDER"/{bin,pids,logs,redis}
  printf '%s %s\n' "$$" "$(start_time "$$")" >"$PIDS/script"
  # For the case that not even a trap can run. The folder's name at the end is for is_ours.
  launch "$PIDS/reaper" /dev/null bash "$DEV/demo" reap "$FOLDER/"
}

end_demo() {
  if [[ -z ${KEEP:-} ]]; then
    headline done "ending everything"
    return
  fi
  # Two replicas again, for who wants to kill one by hand.
  start_operator "$DEAD"
  wait_ready_operator "$DEAD"
  # From now on the cluster lives as long as our Redis does.
  "$DEV/cluster" up --name "$NAME" --while-pid "$(record_pid "$PIDS/redis-server")" >/dev/null 2>"$LOGS/cluster.log" ||
    fail "the cluster can be kept" cluster
  stop_all TERM "$FOLDER" "$PIDS/sampler"
  touch "$FOLDER/kept"
  headline done "left running as $NAME"
  show_tour
}

# clean: at the end of the script, whatever its reason.
clean() {
  local code=$?
  # Whatever fails here, the rest is still done.
  set +e
  trap '' HUP INT TERM
  trap - EXIT
  if [[ ! -e $FOLDER/kept ]]; then
    remove_demo
    ((code)) || headline end "nothing is left running, $FOLDER is removed"
  fi
  exit "$code"
}

# remove_demo: the processes in the order in which they need each other, then the folder.
remove_demo() {
  local record
  stop_all TERM "$FOLDER" "$PIDS"/operator-*
  stop_all TERM "$FOLDER" "$PIDS"/worker-* "$PIDS/sampler" "$PIDS/redis-server" "$PIDS/prometheus"
  [[ $(record_pid "$PIDS/reaper") == "$$" ]] || stop_all TERM "$FOLDER" "$PIDS/reaper"
  "$DEV/cluster" down --name "$NAME" </dev/null 2>/dev/null || say "the cluster is still there: dev/cluster down --name $NAME"
  rm -rf -- "$FOLDER"
  rmdir -- "$DEMOS" 2>/dev/null || true
}

# reap_demo FOLDER: the reaper's life.
reap_demo() {
  use_demo "$(basename "$1")"
  while record_alive "$PIDS/script"; do sleep 0.5; done
  [[ ! -d $FOLDER || -e $FOLDER/kept ]] || remove_demo
}

# stop_kept [NAME]: never one whose script still runs, that ends by itself.
stop_kept() {
  local folder stopped=''
  [[ ${1:-demo-0} =~ ^demo-[0-9a-f]+$ ]] || die_usage "bad name '$1': a demo's name is like demo-1a2b3c"
  for folder in "$DEMOS"/demo-*/; do
    [[ -d $folder ]] || continue
    use_demo "$(basename "$folder")"
    [[ ${1:-$NAME} == "$NAME" ]] || continue
    if record_alive "$PIDS/script"; then
      say "'$NAME' still runs and was not stopped: interrupt it where it was started"
    else
      remove_demo
      stopped+=" $NAME"
    fi
  done
  say "stopped:${stopped:- nothing, because no such demo was left running}"
}
