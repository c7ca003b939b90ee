# shellcheck shell=bash
# What a cluster with a node needs in addition to binaries.sh: the other programs of Kubernetes and CoreDNS, found or
# built in the same way, and the Debian packages that run containers.

# shellcheck disable=SC2034 # for dev/cluster
NODE_BINARIES=(kube-controller-manager kube-scheduler kubelet kube-proxy coredns)

# Debian's folder for the CNI programs.
CNI_PROGRAMS=/usr/lib/cni

# ensure_node_packages: installs containerd, runc, the CNI programs, and the tools that kube-proxy and these scripts
# need.
ensure_node_packages() {
  local missing=()
  command -v containerd >/dev/null || missing+=(containerd)
  command -v runc >/dev/null || missing+=(runc)
  command -v iptables >/dev/null || missing+=(iptables)
  command -v ip >/dev/null || missing+=(iproute2)
  [[ -x $CNI_PROGRAMS/bridge && -x $CNI_PROGRAMS/portmap ]] || missing+=(containernetworking-plugins)
  # Compiles pause.c, which keeps the namespaces of a pod open.
  command -v musl-gcc >/dev/null || missing+=(musl-tools)
  ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
}

# build_coredns: with the plugins that a cluster of one node needs. The official build has about forty more.
build_coredns() {
  local work=$CACHE/work/coredns-$COREDNS_VERSION
  new_module "$work"
  printf 'require github.com/coredns/coredns v%s\n' "$COREDNS_VERSION" >>"$work/go.mod"
  cat >"$work/main.go" <<'GO'
package main

import (
	"github.com/coredns/coredns/coremain"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/health"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/ready"
)

func main() { coremain.Run() }
GO
  go_build "$work" "-s -w" coredns .
}
