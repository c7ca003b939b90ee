# shellcheck shell=bash
# The sandbox of a node: a process with its own namespaces for network, mounts and processes. The node's programs and
# all its pods run in it. Mounts, bridges, iptables rules and processes in it are invisible outside, and disappear with
# that process.
#
# Outside there are only a network device with an address and a route, and control groups; see remove_sandbox.
#
# FOLDER/pids/sandbox    the process that holds the namespaces
# FOLDER/node/number     N: host 10.77.N.1, node 10.77.N.2, pods 10.244.N.0/24, device mcpgw-N

# In SERVICE_RANGE.
# shellcheck disable=SC2034 # for node.sh and node-config.sh
DNS_ADDRESS=10.96.0.10

has_sandbox() { [[ -e $FOLDER/pids/sandbox ]]; }

sandbox_number() { cat "$FOLDER/node/number"; }
host_address() { printf '10.77.%s.1\n' "$(sandbox_number)"; }
node_address() { printf '10.77.%s.2\n' "$(sandbox_number)"; }
pod_range() { printf '10.244.%s.0/24\n' "$(sandbox_number)"; }

# sandbox_pid: prints the id, outside, of process 1 of the sandbox.
sandbox_pid() {
  local holder pid=
  holder=$(record_pid "$FOLDER/pids/sandbox") || return 1
  # `read` fails because the list does not end with a line feed.
  { read -r pid _ <"/proc/$holder/task/$holder/children" || true; } 2>/dev/null
  [[ -n $pid ]] && printf '%s\n' "$pid"
}

# enter_words: sets ENTER, the prefix of a command that runs in the sandbox.
enter_words() { ENTER=(nsenter --target "$(sandbox_pid)" --mount --net --pid --); }

# in_sandbox COMMAND...
in_sandbox() {
  local ENTER
  enter_words
  (cd / && exec "${ENTER[@]}" "$@")
}

# launch_in_sandbox NAME COMMAND...: like launch. The record is of nsenter, which waits for the command.
launch_in_sandbox() {
  local ENTER name=$1
  shift
  enter_words
  launch "$FOLDER/pids/$name" "$FOLDER/logs/$name.log" "${ENTER[@]}" "$@"
}

# --- Create ---------------------------------------------------------------------------------------------------------

make_sandbox() {
  local tries=0
  case $FOLDER in
    /run/* | /var/lib/* | /var/log/*) die "the state folder must not be in /run, /var/lib or /var/log, which a node hides: set MCPGATEWAY_DEV_STATE" ;;
  esac
  mkdir -p "$FOLDER"/node "$FOLDER"/data/{kubelet,containerd}
  # The folder's name is for is_ours.
  launch "$FOLDER/pids/sandbox" "$FOLDER/logs/sandbox.log" unshare --net --mount --pid --fork --kill-child --mount-proc \
    --propagation private -- "$(pause_program)" "$FOLDER/"
  until sandbox_pid >/dev/null; do
    ((tries++ < 100)) || fail_start "cannot create namespaces" "$FOLDER/logs/sandbox.log"
    sleep 0.05
  done
  make_device
  make_mounts
  make_groups
}

# make_device: creates the pair of network devices between sandbox and outside, under the first free number. Creating
# the device claims the number.
make_device() {
  local number pid
  pid=$(sandbox_pid)
  for ((number = 0; number < 250; number++)); do
    ! ip link add "mcpgw-$number" type veth peer name eth0 netns "$pid" 2>>"$FOLDER/logs/sandbox.log" || break
  done
  ((number < 250)) || fail_start "cannot create a network device" "$FOLDER/logs/sandbox.log"
  printf '%s\n' "$number" >"$FOLDER/node/number"
  ip address add "$(host_address)/30" dev "mcpgw-$number"
  ip link set "mcpgw-$number" up
  # For requests to pods from outside: the API server is a proxy.
  ip route add "$(pod_range)" via "$(node_address)" dev "mcpgw-$number"
  in_sandbox sh -euc "
    ip link set lo up
    ip address add $(node_address)/30 dev eth0
    ip link set eth0 up
    ip route add default via $(host_address)
    echo 1 >/proc/sys/net/ipv4/ip_forward
    # Traffic between two pods over the bridge must also pass kube-proxy's rules.
    [ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables"
}

# make_mounts: redirects the fixed paths of the node's programs into memory or into our folder, and kernel settings that
# a kubelet changes into files of the sandbox.
make_mounts() {
  # shellcheck disable=SC2016 # for the other shell
  in_sandbox sh -euc '
    mount --make-rshared /
    for path in /run /var/log; do mount -t tmpfs -o mode=755 tmpfs "$path"; done
    # Mounted under another name before /var/lib is hidden.
    mkdir /run/lib
    mount -t tmpfs -o mode=755 tmpfs /run/lib
    mkdir /run/lib/kubelet /run/lib/containerd /run/lib/cni
    mount --bind "$1/data/kubelet" /run/lib/kubelet
    mount --bind "$1/data/containerd" /run/lib/containerd
    mount --rbind /run/lib /var/lib
    mkdir -p /run/node/kernel /run/lock
    cd /run/node/kernel
    for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
      kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
      file=$(echo "${setting%=*}" | tr / -)
      echo "${setting#*=}" >"$file"
      mount --bind "$file" "/proc/sys/${setting%=*}"
    done' sh "$FOLDER"
}

# --- Control groups -------------------------------------------------------------------------------------------------

# group_roots: prints the roots of control groups: one for each controller (version 1), or one for all.
group_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | sort -u; }

group_name() { printf 'mcpgateway-%s\n' "$NAME"; }

# make_groups: the kubelet creates its groups below ours, so that they can be identified.
make_groups() {
  local root file
  while read -r root; do
    mkdir -p "$root/$(group_name)" 2>>"$FOLDER/logs/sandbox.log" || continue
    for file in cpuset.cpus cpuset.mems; do
      # Version 1: without these no process can run in the group.
      [[ ! -e $root/cgroup.clone_children || ! -e $root/$file ]] || cat "$root/$file" >"$root/$(group_name)/$file"
    done
    # To the kernel all pods together are one competitor of each process outside. This makes them eight (versions 1, 2).
    [[ ! -e $root/$(group_name)/cpu.shares ]] || echo 8192 >"$root/$(group_name)/cpu.shares"
    [[ ! -e $root/$(group_name)/cpu.weight ]] || echo 800 >"$root/$(group_name)/cpu.weight"
  done < <(group_roots)
}

remove_groups() {
  local root tries=0 left=1
  while ((left && tries++ < 50)); do
    left=0
    while read -r root; do
      [[ -d $root/$(group_name) ]] || continue
      find "$root/$(group_name)" -depth -type d -exec rmdir {} + 2>/dev/null || true
      [[ ! -d $root/$(group_name) ]] || left=1
    done < <(group_roots)
    ((!left)) || sleep 0.1
  done
  ((!left)) || say "control groups '$(group_name)' are still in use"
}

# --- Remove ---------------------------------------------------------------------------------------------------------

# remove_sandbox: kills its process, and with it everything inside. Then removes what is outside.
remove_sandbox() {
  local pid tries=0
  has_sandbox || return 0
  pid=$(sandbox_pid) || pid=
  stop_all KILL "$FOLDER" "$FOLDER/pids/sandbox"
  # The kernel needs a moment to kill all processes inside.
  while [[ -n $pid && -n $(start_time "$pid") ]] && ((tries++ < 100)); do sleep 0.05; done
  # The kernel removes the device with the sandbox, but not immediately. If the sandbox ended earlier, the device is
  # gone, and another sandbox may have its number.
  [[ -z $pid || ! -e $FOLDER/node/number ]] || ip link delete "mcpgw-$(sandbox_number)" 2>/dev/null || true
  remove_groups
  rm -f -- "$FOLDER/pids/sandbox"
}
