# shellcheck shell=bash
# One instance: etcd and kube-apiserver with their own ports, certificates and folder.
#
# FOLDER/kubeconfig      of an administrator
# FOLDER/versions        "NAME VERSION" lines
# FOLDER/pids/NAME       process records, see processes.sh
# FOLDER/watched/PID     records of the processes that keep it running (up --while-pid)
# FOLDER/data, certs, logs
# FOLDER/node            files of its node, if it has one, see node.sh

READY_SECONDS=60
SERVICE_RANGE=10.96.0.0/16

state_root() {
  if [[ -n ${MCPGATEWAY_DEV_STATE:-} ]]; then
    absolute "$MCPGATEWAY_DEV_STATE"
  else
    printf '%s/mcpgateway-operator\n' "$(home_path XDG_STATE_HOME .local/state)"
  fi
}

# use_instance NAME: selects the instance for the other functions.
use_instance() {
  NAME=$1
  FOLDER=$CLUSTERS/$NAME
  KUBECONFIG_FILE=$FOLDER/kubeconfig
}

# lock_instance: one caller at a time for each instance. The lock is beside the folder, because the folder may be
# removed.
lock_instance() {
  mkdir -p "$CLUSTERS"
  take_lock "$CLUSTERS/.$NAME.lock" "another dev/cluster is working on '$NAME'"
}

# unlock_instance: removes the lock file too if there is no instance.
unlock_instance() {
  [[ -d $FOLDER ]] || rm -f -- "$CLUSTERS/.$NAME.lock"
  drop_lock
}

servers_run() { is_ours "$FOLDER/pids/etcd" "$FOLDER" && is_ours "$FOLDER/pids/kube-apiserver" "$FOLDER"; }

# running: whether the servers and, if there is one, the node are running.
running() { servers_run && { ! has_sandbox || node_whole; }; }

ask() { "$BIN_DIR/kubectl" --kubeconfig "$KUBECONFIG_FILE" --request-timeout 5s get --raw "$1" 2>&1; }

# healthy: more than /readyz. The default namespace is created a moment later, and almost every test needs it.
healthy() { ask /readyz >/dev/null && ask /api/v1/namespaces/default >/dev/null; }

# --- Start ----------------------------------------------------------------------------------------------------------

# Without a node no controllers run. Therefore:
# - no ServiceAccount admission, because nothing creates the service accounts that it would wait for;
# - no endpoints of the kubernetes Service, because they must not have a loopback address.
use_loopback() {
  API_ADDRESS=127.0.0.1
  API_FLAGS=(--authorization-mode RBAC --disable-admission-plugins ServiceAccount --endpoint-reconciler-type none)
}

# start_instance: replaces what is left of an earlier one. With a node if NODE is set.
start_instance() {
  local attempt name api_port
  remove_instance
  umask 077
  mkdir -p "$FOLDER"/{certs,data,logs,pids,watched}
  watch_process
  # Also after an interrupt: never leave servers behind without a record.
  trap stop_servers EXIT
  write_secrets
  if [[ -n $NODE ]]; then prepare_node; else use_loopback; fi
  for name in "${BINARIES[@]}"; do
    printf '%s %s\n' "$name" "${FOUND_VERSION[$name]}"
  done >"$FOLDER/versions"
  for attempt in 1 2 3 4 5; do
    start_servers && break
    say "a port was taken by another process (attempt $attempt), will retry"
    stop_servers_only
  done
  ((attempt < 5)) || healthy || fail_start "no free ports in $attempt attempts"
  [[ -z $NODE ]] || start_node "$api_port"
  trap - EXIT
}

write_secrets() {
  TOKEN=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
  printf '%s,admin,admin,"system:masters"\n' "$TOKEN" >"$FOLDER/certs/tokens.csv"
  # An elliptic curve key, because generating it takes only milliseconds.
  openssl ecparam -name prime256v1 -genkey -noout -out "$FOLDER/certs/service-account.key"
}

# start_servers: fails only if a port is taken. Sets api_port.
start_servers() {
  local etcd_port
  etcd_port=$(free_port)
  api_port=$(free_port)
  start_etcd "$etcd_port"
  wait_listening etcd "$etcd_port" || return 1
  start_apiserver "$etcd_port" "$api_port"
  wait_listening kube-apiserver "$api_port" || return 1
  write_kubeconfig "$api_port"
  wait_healthy
}

# start_etcd PORT: without fsync, because the data is removed with the instance. The peer port is never used.
start_etcd() {
  rm -rf -- "$FOLDER/data/etcd"
  launch "$FOLDER/pids/etcd" "$FOLDER/logs/etcd.log" "$BIN_DIR/etcd" \
    --name dev --data-dir "$FOLDER/data/etcd" \
    --listen-client-urls "http://127.0.0.1:$1" --advertise-client-urls "http://127.0.0.1:$1" \
    --listen-peer-urls http://127.0.0.1:0 \
    --unsafe-no-fsync --log-level warn
}

start_apiserver() {
  launch "$FOLDER/pids/kube-apiserver" "$FOLDER/logs/kube-apiserver.log" "$BIN_DIR/kube-apiserver" \
    --etcd-servers "http://127.0.0.1:$1" \
    --bind-address "$API_ADDRESS" --advertise-address "$API_ADDRESS" --secure-port "$2" \
    --cert-dir "$FOLDER/certs" \
    --token-auth-file "$FOLDER/certs/tokens.csv" \
    --service-account-issuer https://kubernetes.default.svc.cluster.local \
    --service-account-key-file "$FOLDER/certs/service-account.key" \
    --service-account-signing-key-file "$FOLDER/certs/service-account.key" \
    --service-cluster-ip-range "$SERVICE_RANGE" --profiling=false \
    "${API_FLAGS[@]}"
}

# wait_listening NAME PORT: returns 1 if the port is taken. Exits if the server does not start.
wait_listening() {
  local record=$FOLDER/pids/$1 log=$FOLDER/logs/$1.log deadline=$((SECONDS + READY_SECONDS)) pid
  pid=$(record_pid "$record")
  until listens "$pid" "$2"; do
    if ! record_alive "$record"; then
      ! grep -q 'address already in use' "$log" || { mv -f "$log" "$log.port-taken"; return 1; }
      fail_start "$1 ended immediately" "$log"
    fi
    ((SECONDS < deadline)) || fail_start "$1 does not listen after $READY_SECONDS s" "$log"
    sleep 0.05
  done
}

wait_healthy() {
  local deadline=$((SECONDS + READY_SECONDS)) log=$FOLDER/logs/kube-apiserver.log
  until healthy; do
    servers_run || fail_start "a server ended during start-up" "$log"
    ((SECONDS < deadline)) || fail_start "not ready after $READY_SECONDS s: $(ask /readyz | tail -n 1)" "$log"
    sleep 0.1
  done
}

# fail_start WHY [LOG]: exits. The logs are kept, the processes are stopped.
fail_start() {
  if [[ -n ${2:-} ]]; then
    say "the last lines of $2:"
    tail -n 15 "$2" >&2
  fi
  die "'$NAME' did not start: $1; logs are in $FOLDER/logs"
}

# write_kubeconfig PORT. The server generates a certificate for its address, with the signing authority second in the
# same file. Clients get that authority, so they verify the server.
write_kubeconfig() {
  kubeconfig_text "https://$API_ADDRESS:$1" admin "$TOKEN" >"$KUBECONFIG_FILE.new"
  mv -f "$KUBECONFIG_FILE.new" "$KUBECONFIG_FILE"
}

# kubeconfig_text URL USER TOKEN
kubeconfig_text() {
  local authority
  authority=$(awk '/BEGIN CERT/ { n++ } n == 2' "$FOLDER/certs/apiserver.crt" | base64 -w 0)
  cat <<YAML
apiVersion: v1
kind: Config
current-context: $NAME
clusters:
- name: $NAME
  cluster:
    server: $1
    certificate-authority-data: $authority
users:
- name: $2
  user:
    token: $3
contexts:
- name: $NAME
  context:
    cluster: $NAME
    user: $2
YAML
}

# --- Stop -----------------------------------------------------------------------------------------------------------

# stop_servers: first the node, which is a client of the API server. Then the API server, whose shutdown hangs without
# etcd. Then etcd, which is killed: an orderly shutdown takes seconds, and the data is discarded.
stop_servers() {
  stop_node
  stop_servers_only
}

stop_servers_only() {
  stop_all TERM "$FOLDER" "$FOLDER/pids/kube-apiserver"
  stop_all KILL "$FOLDER" "$FOLDER/pids/etcd"
}

# remove_instance: stops the processes, then removes the folder. The reaper also calls this, and must not kill itself.
remove_instance() {
  [[ -d $FOLDER ]] || return 0
  [[ $(record_pid "$FOLDER/pids/reaper") == "$$" ]] || stop_all TERM "$FOLDER" "$FOLDER/pids/reaper"
  stop_servers
  rm -rf -- "$FOLDER"
}

# --- Running only as long as other processes (up --while-pid) ---------------------------------------------------------

# watch_process: adds WHILE_PID, if set, to the processes that keep this instance running.
watch_process() {
  [[ -n $WHILE_PID ]] || return 0
  printf '%s %s\n' "$WHILE_PID" "$WHILE_START" >"$FOLDER/watched/$WHILE_PID"
  is_ours "$FOLDER/pids/reaper" "$FOLDER" && return
  # The folder's name is for is_ours.
  launch "$FOLDER/pids/reaper" /dev/null bash "$DEV/cluster" reap --name "$NAME" "$FOLDER/"
}

anyone_watched() {
  local record
  for record in "$FOLDER"/watched/*; do
    record_alive "$record" && return
  done
  return 1
}

# reap: removes the instance when the watched processes have ended. Runs as a process of its own. Checks again under the
# lock, because an `up` may have added a process.
reap() {
  while :; do
    while anyone_watched; do sleep 0.5; done
    lock_instance
    if ! anyone_watched; then
      [[ $(record_pid "$FOLDER/pids/reaper") != "$$" ]] || remove_instance
      unlock_instance
      return
    fi
    drop_lock
  done
}
