# shellcheck shell=bash
# How the e2e run looks at the cluster, and how a step waits and fails. Needs common.sh, processes.sh and demo-show.sh.

KEYS=mcpgateway:server_classification

redis() { redis-cli -h "$REDIS_IP" "$@"; }

# fail WHAT: ends the run with what may explain it.
fail() {
  local log
  say "not so: $1"
  {
    for log in "$WORK"/logs/*.log; do echo "-- ${log##*/}"; tail -n 6 "$log"; done
    echo "-- pods, events, the operator's log, its facts"
    kubectl get pods -A -o wide
    kubectl get events -A --sort-by=.lastTimestamp | tail -n 8
    kubectl -n "$SYSTEM" logs -l app.kubernetes.io/component=operator --tail 12
    facts
  } 2>&1 | cut -c 1-300 | indent >&2
  exit 1
}

facts() { kubectl -n "$SYSTEM" get configmap "$RELEASE-status" -o 'go-template={{range $k, $v := .data}}{{$k}}: {{$v}}{{"\n"}}{{end}}'; }

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "$what, within the time"
    sleep 0.2
  done
}

# quiet NAME COMMAND...: its output goes to a log, which fail shows.
quiet() {
  local log=$WORK/logs/$1.log
  shift
  "$@" >>"$log" 2>&1 || fail "$*"
}

helm_quiet() { quiet helm helm --namespace "$SYSTEM" "$@"; }

lease() { kubectl -n "$SYSTEM" get lease "$RELEASE" -o "jsonpath={.spec.$1}"; }
term() { lease leaseTransitions; }
# The pod that leads: an identity is POD_RANDOM.
leader() { local holder; holder=$(lease holderIdentity); printf '%s\n' "${holder%_*}"; }

# fact KEY: of the fleet.
fact() { kubectl -n "$SYSTEM" get configmap "$RELEASE-status" -o "jsonpath={.data.$1}"; }
fact_is() { [[ $(fact "$1") == "$2" ]]; }

pods() { kubectl -n "$SYSTEM" get pods -l app.kubernetes.io/component=operator --field-selector status.phase=Running -o name; }
pod_ready_count() { kubectl -n "$SYSTEM" get deployment "$RELEASE" -o 'jsonpath={.status.readyReplicas}'; }
both_ready() { [[ $(pod_ready_count) == 2 && $(pods | wc -l) == 2 ]]; }

# process_of POD: the operator's process, by its id on this machine. Its environment names the pod.
process_of() {
  local file
  for file in /proc/[0-9]*; do
    [[ $(readlink "$file/exe") == /mcpgateway-operator ]] && grep -qz "^HOSTNAME=$1$" "$file/environ" && { echo "${file#/proc/}"; return; }
  done 2>/dev/null
  return 1
}

# metric POD NAME [LABELS]: the sum of that name's lines that hold this text.
metric() {
  kubectl get --raw "/api/v1/namespaces/$SYSTEM/pods/$1:8080/proxy/metrics" |
    awk -v name="$2" -v labels="${3:-}" '{ series = $1; sub(/\{.*/, "", series) }
      series == name && index($1, labels) { sum += $2 } END { printf "%.9g\n", sum }'
}

# --- What holds at every moment ---------------------------------------------------------------------------------------

start_watching() {
  : >"$WORK/logs/watch.log"
  launch "$WORK/pids/watch" "$WORK/logs/watch.log" python3 "$DEV/lib/e2e/watch.py" "$REDIS_IP" "$WORK/seen.json"
  launch "$WORK/pids/statuses" "$WORK/logs/statuses.log" bash "$DEV/lib/e2e/statuses" "$WORK/statuses"
  wait_for 10 "Redis is looked at" test -s "$WORK/seen.json"
}

seen() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$WORK/seen.json" "$1"; }

# Statuses as they came: NAMESPACE/NAME TERM TIER. A term that falls was written by a leader that was none any more.
fallen_terms() { awk '$2 ~ /^[0-9]+$/ { if ($2 < term[$1]) print; term[$1] = $2 }' "$WORK/statuses"; }

# checks_hold: after each step, of all that was seen since the installation.
checks_hold() {
  [[ -e $WORK/seen.json ]] || return 0
  record_alive "$WORK/pids/watch" || fail "Redis is looked at all the time"
  [[ $(seen wrong) == '[]' ]] || fail "every look at Redis finds a whole publication: $(seen wrong)"
  [[ -z $(fallen_terms) ]] || fail "no status is written with a lower term: $(fallen_terms)"
}

# without: how often Redis held no publication, or no lock, since the first one.
without() { printf '%s looks without a publication, %s without a lock\n' "$(seen without)" "$(seen unlocked)"; }
no_gap() { [[ $(seen without) == 0 && $(seen unlocked) == 0 ]] || fail "Redis holds publication and lock without a gap: $(without)"; }
