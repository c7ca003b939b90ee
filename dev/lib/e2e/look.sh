# shellcheck shell=bash
# How the e2e run observes the cluster, and how a step waits and fails. Needs common.sh, processes.sh and demo-show.sh.

KEYS=mcpgateway:server_classification

redis() { redis-cli -h "$REDIS_IP" "$@"; }

# fail WHAT: ends the run, and prints what may explain the failure.
fail() {
  local log
  say "error: this did not happen: $1"
  {
    for log in "$WORK"/logs/*.log; do echo "-- ${log##*/}"; tail -n 6 "$log"; done
    echo "-- pods, Events, the operator's log, the fleet"
    show_cluster "$SYSTEM"
  } 2>&1 | cut -c 1-300 | indent >&2
  exit 1
}

# quiet NAME COMMAND...: runs a command with its output in a log, which fail prints.
quiet() {
  local log=$WORK/logs/$1.log
  shift
  "$@" >>"$log" 2>&1 || fail "$*"
}

helm_quiet() { quiet helm helm --namespace "$SYSTEM" "$@"; }

lease() { kubectl -n "$SYSTEM" get lease "$RELEASE" -o "jsonpath={.spec.$1}"; }
term() { lease leaseTransitions; }
# leader: prints the name of the pod that leads. An identity is POD_RANDOM.
leader() { local holder; holder=$(lease holderIdentity); printf '%s\n' "${holder%_*}"; }

# answered COUNT: whether the fleet has this many worker endpoints, and all of them report.
answered() { [[ $(fleet '{.status.endpoints.summary}') == "$1/$1" ]]; }

pods() { kubectl -n "$SYSTEM" get pods -l app.kubernetes.io/component=operator --field-selector status.phase=Running -o name; }
pod_ready_count() { kubectl -n "$SYSTEM" get deployment "$RELEASE" -o 'jsonpath={.status.readyReplicas}'; }
both_ready() { [[ $(pod_ready_count) == 2 && $(pods | wc -l) == 2 ]]; }

# process_of POD: prints the id of the operator's process on this machine. Its environment has the name of the pod.
process_of() {
  local file
  for file in /proc/[0-9]*; do
    [[ $(readlink "$file/exe") == /mcpgateway-operator ]] && grep -qz "^HOSTNAME=$1$" "$file/environ" && { echo "${file#/proc/}"; return; }
  done 2>/dev/null
  return 1
}

# metric POD NAME [LABELS]: prints the sum of the samples of that name whose labels contain this text.
metric() {
  kubectl get --raw "/api/v1/namespaces/$SYSTEM/pods/$1:8080/proxy/metrics" |
    awk -v name="$2" -v labels="${3:-}" '{ series = $1; sub(/\{.*/, "", series) }
      series == name && index($1, labels) { sum += $2 } END { printf "%.9g\n", sum }'
}

# --- What must hold all the time --------------------------------------------------------------------------------------

start_watching() {
  : >"$WORK/logs/watch.log"
  launch "$WORK/pids/watch" "$WORK/logs/watch.log" python3 "$DEV/lib/e2e/watch.py" "$REDIS_IP" "$WORK/seen.json"
  launch "$WORK/pids/statuses" "$WORK/logs/statuses.log" bash "$DEV/lib/e2e/statuses" "$WORK/statuses"
  wait_for 10 "Redis is watched" test -s "$WORK/seen.json"
}

seen() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$WORK/seen.json" "$1"; }

# fallen_terms: prints statuses whose term is lower than before. Only a former leader would write one.
fallen_terms() { awk '$2 ~ /^[0-9]+$/ { if ($2 < term[$1]) print; term[$1] = $2 }' "$WORK/statuses"; }

# checks_hold: checks everything that was observed since the installation. Runs after each step.
checks_hold() {
  [[ -e $WORK/seen.json ]] || return 0
  record_alive "$WORK/pids/watch" || fail "Redis is watched all the time"
  [[ $(seen wrong) == '[]' ]] || fail "every look at Redis finds a whole publication, or none: $(seen wrong)"
  [[ -z $(fallen_terms) ]] || fail "no status is written with a lower term: $(fallen_terms)"
}

# without: prints how often Redis held no publication, or no lock, since the first one.
without() { printf '%s looks without a publication, %s without a lock\n' "$(seen without)" "$(seen unlocked)"; }
# Looks without a publication while the fleet was suspended.
SUSPENDED_LOOKS=0
no_gap() {
  [[ $(seen without) == "$SUSPENDED_LOOKS" && $(seen unlocked) == 0 ]] ||
    fail "Redis holds publication and lock without a gap: $(without), $SUSPENDED_LOOKS of them suspended"
}
