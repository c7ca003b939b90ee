# shellcheck shell=bash
# Configuration files, tokens and kubeconfigs of the node's programs, all in FOLDER/node.

NODE_NAME=node

# new_token: prints 32 random bytes in hex.
new_token() { od -An -tx1 -N32 /dev/urandom | tr -d ' \n'; }

# write_node_tokens: gives the programs the users that Kubernetes' default roles are bound to. Runs before the API
# server starts, which reads its tokens once.
write_node_tokens() {
  local program token
  for program in kubelet kube-proxy kube-controller-manager kube-scheduler; do
    token=$(new_token)
    printf '%s\n' "$token" >"$FOLDER/node/$program.token"
    case $program in
      kubelet) printf '%s,system:node:%s,node,"system:nodes"\n' "$token" "$NODE_NAME" ;;
      *) printf '%s,system:%s,%s,\n' "$token" "$program" "$program" ;;
    esac
  done >>"$FOLDER/certs/tokens.csv"
}

# write_kubelet_client: makes the API server's client certificate for the kubelet, which trusts exactly this
# certificate.
write_kubelet_client() {
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30 \
    -subj '/O=system:masters/CN=kube-apiserver-kubelet-client' \
    -keyout "$FOLDER/certs/kubelet-client.key" -out "$FOLDER/certs/kubelet-client.crt" 2>>"$FOLDER/logs/sandbox.log"
}

# write_node_config API_PORT: writes the files that need the certificate of a running API server.
write_node_config() {
  local program
  # The authority is second in the file, see write_kubeconfig.
  awk '/BEGIN CERT/ { n++ } n == 2' "$FOLDER/certs/apiserver.crt" >"$FOLDER/node/authority.crt"
  for program in kubelet kube-proxy kube-controller-manager kube-scheduler; do
    kubeconfig_text "https://$API_ADDRESS:$1" "$program" "$(cat "$FOLDER/node/$program.token")" \
      >"$FOLDER/node/$program.kubeconfig"
  done
  # No upstream name server: pods find only each other.
  : >"$FOLDER/node/resolv.conf"
  mkdir -p "$FOLDER/node/cni"
  cni_text >"$FOLDER/node/cni/10-bridge.conflist"
  containerd_text >"$FOLDER/node/containerd.toml"
  kubelet_text >"$FOLDER/node/kubelet.yaml"
}

cni_text() {
  cat <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$(pod_range)"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
}

# containerd_text. restrict_oom_score_adj: on machines where root may not lower that value, no pod would start without
# it.
containerd_text() {
  cat <<TOML
version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "$CNI_PROGRAMS"
  conf_dir = "$FOLDER/node/cni"

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false
TOML
}

# kubelet_text. No eviction and no image removal when the disk of this machine is full: these tests are not about that.
kubelet_text() {
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: "$FOLDER/certs/kubelet-client.crt"}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /$(group_name)
clusterDNS: [$DNS_ADDRESS]
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
enforceNodeAllocatable: []
evictionHard: {memory.available: "1Mi", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%"}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
localStorageCapacityIsolation: false
maxPods: 60
resolvConf: "$FOLDER/node/resolv.conf"
YAML
}
