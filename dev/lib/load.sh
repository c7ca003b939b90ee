# shellcheck shell=bash
# Shared by dev/measure, dev/scale, dev/side-by-side, dev/soak and dev/takeover: a large fleet with its own control
# plane, Redis, workers and operator.
# Needs common.sh and processes.sh. The caller sets DEV and ROOT.
#
# WORK/NAME.log      the log of a process; WORK/pids/NAME is its record, see processes.sh
# Everything stops with the script, however it ends: the cluster by --while-pid, the rest by a trap.

REDIS_KEYS=mcpgateway:server_classification
# The address of the metrics of each operator, by the name of its record.
declare -A METRICS_OF=()

# begin_load NAME: builds what is measured and starts the stores.
begin_load() {
  need_linux
  need flock setsid awk sed find sort curl python3 redis-cli redis-server
  # The caller's operator settings must not apply here.
  unset "${!MCPGW_@}" http_proxy https_proxy all_proxy HTTP_PROXY HTTPS_PROXY ALL_PROXY
  # A thousand workers need as many listeners and connections.
  ulimit -Sn "$(ulimit -Hn)"
  NAME="$1-$$"
  WORK=$(mktemp -d)
  mkdir "$WORK"/{pids,bin}
  trap end_load EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM
  say "building (a release build takes minutes)"
  (cd "$ROOT" && cargo build --locked --quiet --release --bin mcpgateway-operator)
  # Built separately, because a common build would unify features.
  (cd "$ROOT" && cargo build --locked --quiet --release --example worker --example objects)
  local built=${CARGO_TARGET_DIR:-$ROOT/target}/release
  # Links in our folder, so that the command line of a process shows that it is ours.
  ln -s "$(readlink -f "$built/mcpgateway-operator")" "$(readlink -f "$built/examples/worker")" \
    "$(readlink -f "$built/examples/objects")" "$WORK/bin/"
  ln -s "$(command -v redis-server)" "$WORK/bin/redis-server"
  KUBECONFIG=$("$DEV/cluster" up --name "$NAME" --while-pid $$ 2>"$WORK/cluster.log") || die_log "the cluster starts" cluster
  export KUBECONFIG
  PATH=$("$DEV/cluster" binaries 2>/dev/null):$PATH
  REDIS_PORT=$(free_port)
  start redis-server --bind 127.0.0.1 --port "$REDIS_PORT" --save '' --dir "$WORK" --set-proc-title no
  await 10 "redis-server answers" redis-server redis PING
}

end_load() {
  local record records=()
  for record in "$WORK"/pids/*; do [[ ! -e $record ]] || records+=("$record"); done
  ((${#records[@]} == 0)) || stop_all TERM "$WORK" "${records[@]}"
  "$DEV/cluster" down --name "$NAME" >/dev/null 2>&1 || true
  rm -rf -- "$WORK"
}

# die_log WHAT LOG: exits, and prints the end of a log.
die_log() {
  tail -n 20 "$WORK/$2.log" >&2 || true
  die "this did not happen: $1"
}

# await SECONDS WHAT LOG COMMAND...: waits until the command succeeds. Exits if it does not in time.
await() {
  local deadline=$((SECONDS + $1)) what=$2 log=$3
  shift 3
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || die_log "$what, within the time limit" "$log"
    sleep 0.1
  done
}

# start_as RECORD PROGRAM ARGUMENT...: starts a program from bin, with an empty log.
start_as() {
  : >"$WORK/$1.log"
  launch "$WORK/pids/$1" "$WORK/$1.log" "$WORK/bin/$2" "${@:3}"
}

# start PROGRAM ARGUMENT...: the same. Its record has its name.
start() { start_as "$1" "$@"; }

pid_of() { record_pid "$WORK/pids/$1"; }

# ended RECORD: whether it runs no more.
ended() { ! record_alive "$WORK/pids/$1"; }

# stop RECORD: stops it and waits. A leader releases its Lease.
stop() { stop_all TERM "$WORK" "$WORK/pids/$1"; }

redis() { redis-cli -p "$REDIS_PORT" "$@"; }

# create_fleet OBJECTS [NAMESPACE...]: installs the CRDs and the objects, in turn in these namespaces, with URLs of
# about 60 bytes. REGISTRATION, if it is set, is their spec.registration, in JSON. Writes WORK/fleet.json for the
# workers, and WORK/fleet-NAMESPACE.json.
create_fleet() {
  local namespace namespaces=("${@:2}")
  ((${#namespaces[@]})) || namespaces=(default)
  kubectl apply --server-side -f "$ROOT/crds/" >/dev/null
  kubectl wait --for=condition=Established crd/mcpgateways.mcpgateway.io crd/mcpgatewayfleets.mcpgateway.io >/dev/null
  # For a second after that, the API server answers that their storage is being initialized.
  await 30 "the McpGatewayFleets can be listed" cluster kubectl get mcpgatewayfleets --all-namespaces
  for namespace in "${namespaces[@]}"; do
    [[ $namespace == default ]] || kubectl create namespace "$namespace" >/dev/null
  done
  python3 - "$1" "$WORK" "${REGISTRATION:-}" "${namespaces[@]}" <<'PY'
import json, sys
count, folder, registration, *namespaces = sys.argv[1:]
items = []
for n in range(int(count)):
    namespace = namespaces[n % len(namespaces)]
    team = f"team-{n % 97:02d}" if namespace == "default" else namespace
    spec = {"url": f"https://server-{n:06d}.{team}.mcp.example.com:8443/v1/mcp", "gatewayId": f"{n:032x}"}
    if registration:
        spec["registration"] = json.loads(registration)
    items.append({"apiVersion": "mcpgateway.io/v1alpha1", "kind": "McpGateway",
                  "metadata": {"name": f"server-{n:06d}", "namespace": namespace}, "spec": spec})
def write(name, items):
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump({"apiVersion": "v1", "kind": "List", "items": items}, file)
write("fleet", items)
for namespace in namespaces:
    write(f"fleet-{namespace}", [item for item in items if item["metadata"]["namespace"] == namespace])
PY
  say "creating $1 objects"
  say "$("$WORK/bin/objects" create "$WORK/fleet.json")"
}

# start_workers ARGUMENT...: starts all workers in one process. Sets ENDPOINTS (separated by commas) and OVERSEER.
start_workers() { start_workers_as worker fleet "$@"; }

# start_workers_as RECORD FLEET ARGUMENT...: the same, for one of several fleets, WORK/FLEET.json.
start_workers_as() {
  start_as "$1" worker --fleet "$WORK/$2.json" --overseer 127.0.0.1:0 "${@:3}"
  await 60 "the workers listen" "$1" grep -q '^orders at ' "$WORK/$1.log"
  OVERSEER=$(sed -n 's/^orders at //p' "$WORK/$1.log")
  ENDPOINTS=$(sed -n 's/^listening on //p' "$WORK/$1.log" | paste -sd,)
}

# order ORDER: sends an order to the workers.
order() { curl -fsS -X POST "$OVERSEER/$1" >/dev/null; }

# figure NAME: prints one of the workers' counts.
figure() { curl -fsS "$OVERSEER/state" | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }

# start_operator ARGUMENT...: starts the operator with ENDPOINTS and our Redis. Sets METRICS.
start_operator() {
  start_operator_as mcpgateway-operator "$@"
  METRICS=${METRICS_OF[mcpgateway-operator]}
}

# start_operator_as RECORD ARGUMENT...: the same, one of several. Sets METRICS_OF.
start_operator_as() {
  MCPGW_WORKER_ENDPOINT=$ENDPOINTS start_as "$1" mcpgateway-operator run --redis-url "redis://127.0.0.1:$REDIS_PORT" \
    --metrics-bind-address 127.0.0.1:0 --health-probe-bind-address 0 "${@:2}"
  await 10 "the operator serves its metrics" "$1" grep -q 'serving /metrics' "$WORK/$1.log"
  METRICS_OF[$1]=$(sed -n 's/.*serving \/metrics address=//p' "$WORK/$1.log")
}

# metric NAME [LABELS]: prints the sum of the samples of that name whose labels contain this text.
metric() {
  curl -fsS "http://$METRICS/metrics" | awk -v name="mcpgateway_operator_$1" -v labels="${2:-}" '
    { series = $1; sub(/\{.*/, "", series) }
    series == name && index($1, labels) { sum += $2 }
    END { printf "%.9g\n", sum }'
}

cycles() { metric cycles_total; }
written() { metric status_writes_total '"written"'; }
all_classified() { (($(metric servers 'tier="hot"') + $(metric servers 'tier="cold"') == OBJECTS)); }
# has_written COUNT: whether the operator has written so many statuses since its start. A write that got no answer in
# time counts as failed, and may be stored.
has_written() { (($(written) + $(metric status_writes_total '"failed"') >= $1)); }
# all_written: whether it has written the statuses of all OBJECTS objects.
all_written() { all_classified && has_written "$OBJECTS"; }

# metric_of RECORD NAME [LABELS]: the same, of one of several operators.
metric_of() { METRICS=${METRICS_OF[$1]} metric "${@:2}"; }

# written_by RECORD: prints how many statuses this one has written.
written_by() { metric_of "$1" status_writes_total '"written"'; }

# memory_kb FIELD [RECORD]: prints VmRSS or VmHWM of the operator.
memory_kb() { awk -v field="$1:" '$1 == field { print $2 }' "/proc/$(pid_of "${2:-mcpgateway-operator}")/status"; }

# cpu RECORD: prints the seconds of CPU that a program has used. Its name has no blanks.
cpu() { awk -v ticks="$(getconf CLK_TCK)" '{ printf "%.2f\n", ($14 + $15) / ticks }' "/proc/$(pid_of "$1")/stat"; }

# now, and minus NOW BEFORE: seconds.
now() { printf '%s\n' "$EPOCHREALTIME"; }
minus() { awk -v now="$1" -v before="$2" 'BEGIN { printf "%.2f", now - before }'; }

# line NAME FORMAT VALUE...: prints a line of the table.
# shellcheck disable=SC2059
line() { printf "%-16s $2\n" "$1" "${@:3}"; }

# mib KB: the same in MiB.
mib() { awk -v kb="$1" 'BEGIN { printf "%.1f", kb / 1024 }'; }

hot() { redis SMEMBERS "$REDIS_KEYS:hot" | sort; }

# median NUMBER..., and worst NUMBER...
median() { printf '%s\n' "$@" | sort -g | awk '{ line[NR] = $1 } END { print line[int((NR + 1) / 2)] }'; }
worst() { printf '%s\n' "$@" | sort -g | tail -n 1; }

# must WHAT COMMAND...: a check. Sets FAILED if it fails.
must() {
  if "${@:2}"; then
    say "ok: $1"
  else
    say "FAILED: $1"
    FAILED=1
  fi
}
