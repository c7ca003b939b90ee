# shellcheck shell=bash
# The demo's processes: starting, querying and controlling them.

KEYS=mcpgateway:server_classification

# --- Waiting ----------------------------------------------------------------------------------------------------------

# wait_for SECONDS WHAT LOGS COMMAND...: waits until the command succeeds. The demo fails if it does not succeed in
# time, or if a process of the demo has ended. LOGS are the names of the logs to print then.
wait_for() {
  local seconds=$1 deadline=$((SECONDS + $1)) what=$2 logs=$3
  shift 3
  until "$@" 2>/dev/null; do
    all_alive || fail "$what" "$logs"
    ((SECONDS < deadline)) || fail "$what, within $seconds s" "$logs"
    sleep 0.1
  done
}

all_alive() {
  local record
  for record in "$PIDS"/*; do
    record_alive "$record" || { say "ended unexpectedly: ${record##*/}"; return 1; }
  done
}

# fail WHAT LOGS
fail() {
  local log
  say "error: this did not happen: $1"
  for log in $2; do
    say "the last lines of $log.log:"
    tail -n 20 "$LOGS/$log.log" >&2
  done
  exit 1
}

# --- Programs and stores ------------------------------------------------------------------------------------------------

link_programs() {
  local programs target
  programs=$("$DEV/cluster" binaries)
  target=$(cd "$ROOT" && "${CARGO:-cargo}" metadata --locked --no-deps --format-version 1 |
    sed -E 's/.*"target_directory":"([^"]*)".*/\1/')
  ln -s "$programs/kubectl" "$(type -P redis-server)" "$(type -P redis-cli)" \
    "$target/debug/mcpgateway-operator" "$target/debug/examples/worker" "$FOLDER/bin/"
  ln -s mcpgateway-operator "$FOLDER/bin/kubectl-mcpgw"
  PATH=$FOLDER/bin:$PATH
}

start_cluster() {
  KUBECONFIG=$("$DEV/cluster" up --name "$NAME" --while-pid "$$" 2>"$LOGS/cluster.log" </dev/null) ||
    fail "the control plane starts" cluster
  note "$(sed -n '$s/^cluster: //p' "$LOGS/cluster.log")"
  export KUBECONFIG
  # Otherwise kubectl caches what it discovers about this server in the home folder.
  export KUBECACHEDIR=$FOLDER/kubectl-cache
}

# start_redis: starts Redis on a free port. Tries another port if that one was taken meanwhile.
start_redis() {
  local record=$PIDS/redis-server attempt deadline=$((SECONDS + 10))
  for attempt in 1 2 3 4 5; do
    REDIS_PORT=$(free_port)
    # is_ours looks for the folder in the command line, which the usual process title hides.
    launch "$record" "$LOGS/redis-server.log" "$FOLDER/bin/redis-server" --bind 127.0.0.1 --port "$REDIS_PORT" \
      --save '' --appendonly no --dir "$FOLDER/redis" --set-proc-title no
    until listens "$(record_pid "$record")" "$REDIS_PORT"; do
      record_alive "$record" || continue 2
      ((SECONDS < deadline)) || break 2
      sleep 0.05
    done
    return
  done
  fail "redis-server listens, in $attempt attempts" redis-server
}

redis() { redis-cli -p "$REDIS_PORT" "$@"; }

apply_fleet() { kubectl apply -f "$ROOT/examples/fleet/" >"$LOGS/kubectl.log" 2>&1; }

# --- Workers ------------------------------------------------------------------------------------------------------------

# start_worker INDEX. All workers have the same seed, so they agree on which servers are popular.
start_worker() {
  launch "$PIDS/worker-$1" "$LOGS/worker-$1.log" "$FOLDER/bin/worker" \
    --fleet "$ROOT/examples/fleet" --seed 1 --worker-index "$1"
  wait_for 10 "worker $1 listens" "worker-$1" grep -q '^listening on ' "$LOGS/worker-$1.log"
}

worker_url() { sed -n '1s/^listening on //p' "$LOGS/worker-$1.log"; }

# order_worker INDEX ORDER
order_worker() {
  local url
  url=$(worker_url "$1")
  http POST "${url%/mcpgateway/usage}/control/$2" >/dev/null || fail "worker $1 accepts the order $2" "worker-$1"
}

order_workers() { local name; for name in 0 1 2; do order_worker "$name" "$1"; done; }

# http METHOD URL: prints the body. Fails unless the status is 200. Does not need curl.
http() {
  local rest=${2#http://} line
  local address=${rest%%/*}
  {
    printf '%s /%s HTTP/1.0\r\nHost: %s\r\nContent-Length: 0\r\n\r\n' "$1" "${rest#*/}" "$address" >&3
    IFS= read -r line <&3
    sed '1,/^\r$/d' <&3
  } 3<>"/dev/tcp/${address%:*}/${address##*:}" || return
  [[ $line == HTTP/1.?' 200 '* ]]
}

# --- Operators ----------------------------------------------------------------------------------------------------------

# start_operator NAME [FLAG...]. NO_COLOR because it logs to a file.
start_operator() {
  local name replica=$1 endpoints=()
  shift
  for name in 0 1 2; do endpoints+=(--worker-endpoint "$(worker_url "$name")"); done
  launch "$PIDS/operator-$replica" "$LOGS/operator-$replica.log" \
    env NO_COLOR=1 "$FOLDER/bin/mcpgateway-operator" run \
    --classification-interval "$INTERVAL" --status-usage-interval 10s \
    --redis-url "redis://127.0.0.1:$REDIS_PORT" "${endpoints[@]}" \
    --leader-elect-resource-namespace "$LEASE_NAMESPACE" --leader-elect-lease-duration "${LEASE_TIMES[0]}" \
    --leader-elect-renew-deadline "${LEASE_TIMES[1]}" --leader-elect-retry-period "${LEASE_TIMES[2]}" \
    --metrics-bind-address 127.0.0.1:0 --health-probe-bind-address 127.0.0.1:0 "$@"
}

# served_at NAME PATH: prints the URL of that path, from the log of the replica.
served_at() {
  local address
  address=$(sed -nE "s,.* serving .*$2.*address=([0-9.:]+).*,\1,p" "$LOGS/operator-$1.log" | tail -n 1)
  [[ -n $address ]] && printf 'http://%s%s\n' "$address" "$2"
}

is_ready() { http GET "$(served_at "$1" /readyz)" >/dev/null; }
wait_ready_operator() { wait_for 30 "replica $1 of the operator is ready" "operator-$1" is_ready "$1"; }

# find_leader: sets LEADER to the replica whose metrics say that it leads.
find_leader() {
  local name
  for name in a b; do
    [[ -e $PIDS/operator-$name ]] || continue
    http GET "$(served_at "$name" /metrics)" | grep -q '^mcpgateway_operator_leader 1$' && LEADER=$name && return
  done
  return 1
}

leader_is_not() { find_leader && [[ $LEADER != "$1" ]]; }

kill_operator() {
  is_ours "$PIDS/operator-$1" "$FOLDER" || fail "replica $1 is running" "operator-$1"
  kill -s KILL "$(record_pid "$PIDS/operator-$1")"
  DEAD=$1
  rm -f -- "$PIDS/operator-$1"
}

operator_status() { mcpgateway-operator status -n "$LEASE_NAMESPACE"; }

# wait_cycles COUNT: waits for this many publications.
wait_cycles() {
  local count=$1 last
  while ((count--)); do
    last=$(redis GET "$KEYS:timestamp")
    wait_for 10 "the leader publishes again" "operator-$LEADER" published_after "$last"
  done
}

published_after() { local now; now=$(redis GET "$KEYS:timestamp") && [[ -n $now && $now != "$1" ]]; }

term_above() { [[ $(redis GET "$KEYS:leader") =~ ^mcpgateway-operator/.*/([0-9]+)$ ]] && ((BASH_REMATCH[1] > $1)); }
