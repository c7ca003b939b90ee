# shellcheck shell=bash
# The node of an instance (up --node), which makes a control plane a cluster that runs pods. Needs instance.sh and the
# other node-*.sh.
#
# containerd, kubelet and kube-proxy run in a sandbox (node-sandbox.sh). So do the controller manager and the scheduler,
# so that `down` has to kill only one process. etcd and the API server run outside, where tests reach them.

NODE_PROGRAMS=(containerd kube-controller-manager kube-scheduler kubelet kube-proxy)
NODE_READY_SECONDS=180

check_node_possible() {
  ((EUID == 0)) || die "a node needs root"
  ensure_node_packages
  need ip nsenter unshare mount musl-gcc python3 iptables
}

# node_whole: whether all programs run. If one has ended, `up` restarts the node.
node_whole() {
  local program
  for program in sandbox "${NODE_PROGRAMS[@]}"; do
    is_ours "$FOLDER/pids/$program" "$FOLDER" || return 1
  done
}

# node_apiserver_flags: additional flags of the API server. The node reaches it at the address of the sandbox's device.
node_apiserver_flags() {
  # shellcheck disable=SC2034 # for instance.sh
  API_ADDRESS=$(host_address)
  # shellcheck disable=SC2034,SC2054 # for instance.sh; a list with a comma is one flag's value
  API_FLAGS=(
    --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction
    --kubelet-client-certificate "$FOLDER/certs/kubelet-client.crt" --kubelet-client-key "$FOLDER/certs/kubelet-client.key"
    --kubelet-preferred-address-types InternalIP
  )
}

# prepare_node: runs before the API server starts.
prepare_node() {
  make_sandbox
  write_node_tokens
  write_kubelet_client
  node_apiserver_flags
}

# start_node API_PORT: runs when the API server is healthy.
start_node() {
  # Ours is strict. Containers that these programs start run as other users than root.
  umask 022
  write_node_config "$1"
  launch_in_sandbox containerd containerd --config "$FOLDER/node/containerd.toml"
  start_managers
  wait_for "containerd answers" containerd in_sandbox ctr version
  load_node_images
  launch_in_sandbox kubelet "$BIN_DIR/kubelet" --config "$FOLDER/node/kubelet.yaml" \
    --kubeconfig "$FOLDER/node/kubelet.kubeconfig" --hostname-override "$NODE_NAME" --node-ip "$(node_address)"
  # The three zeros: do not change connection tracking, which the machine may not allow.
  launch_in_sandbox kube-proxy "$BIN_DIR/kube-proxy" --kubeconfig "$FOLDER/node/kube-proxy.kubeconfig" --proxy-mode iptables \
    --hostname-override "$NODE_NAME" --cluster-cidr "$(pod_range)" --conntrack-max-per-core 0 \
    --conntrack-tcp-timeout-established 0 --conntrack-tcp-timeout-close-wait 0
  umask 077
  apply_dns
  wait_for "the node is ready" kubelet node_condition_ready
  wait_for "the cluster DNS is available" kubelet dns_ready
}

start_managers() {
  launch_in_sandbox kube-controller-manager "$BIN_DIR/kube-controller-manager" --leader-elect=false --bind-address 127.0.0.1 \
    --kubeconfig "$FOLDER/node/kube-controller-manager.kubeconfig" --use-service-account-credentials \
    --service-account-private-key-file "$FOLDER/certs/service-account.key" --root-ca-file "$FOLDER/node/authority.crt"
  launch_in_sandbox kube-scheduler "$BIN_DIR/kube-scheduler" --leader-elect=false --bind-address 127.0.0.1 \
    --kubeconfig "$FOLDER/node/kube-scheduler.kubeconfig"
}

node_kubectl() { "$BIN_DIR/kubectl" --kubeconfig "$KUBECONFIG_FILE" --request-timeout 5s "$@"; }

apply_dns() {
  sed -e "s|IMAGE|$COREDNS_IMAGE:$COREDNS_VERSION|; s|ADDRESS|$DNS_ADDRESS|" "$DEV/lib/node-dns.yaml" |
    node_kubectl apply --server-side -f - >>"$FOLDER/logs/kubectl.log" 2>&1 ||
    fail_start "cannot install CoreDNS" "$FOLDER/logs/kubectl.log"
}

node_condition_ready() { [[ $(condition_of node "$NODE_NAME" Ready) == True ]]; }
dns_ready() { [[ $(condition_of deployment coredns Available --namespace kube-system) == True ]]; }

# condition_of KIND NAME TYPE ARGUMENT...: prints the status of a condition.
condition_of() { node_kubectl get "$1" "$2" "${@:4}" -o "jsonpath={.status.conditions[?(@.type==\"$3\")].status}"; }

# wait_for WHAT LOG COMMAND...: waits until the command succeeds. The start fails if it does not in time, or if a
# program has ended.
wait_for() {
  local what=$1 log=$2 deadline=$((SECONDS + NODE_READY_SECONDS)) record
  shift 2
  until "$@" >/dev/null 2>&1; do
    for record in "$FOLDER"/pids/*; do
      record_alive "$record" || fail_start "${record##*/} ended" "$FOLDER/logs/${record##*/}.log"
    done
    ((SECONDS < deadline)) || fail_start "this did not happen within $NODE_READY_SECONDS s: $what" "$FOLDER/logs/$log.log"
    sleep 0.3
  done
}

# stop_node: removes the sandbox with everything in it, and the records of its programs.
stop_node() {
  has_sandbox || return 0
  remove_sandbox
  (cd "$FOLDER/pids" && rm -f -- "${NODE_PROGRAMS[@]}")
}
