# shellcheck shell=bash
# The room of a node: a process with namespaces of its own for network, mounts and processes, in which the node's programs
# and all of its pods run. What they leave behind (mounts, bridges, iptables rules, processes) ends with that process, and
# nothing of it is ever seen outside.
#
# Outside of it there are only a network device with two addresses, and control groups; see remove_room.
#
# FOLDER/pids/room       the process that holds it
# FOLDER/node/number     N: host 10.77.N.1, node 10.77.N.2, pods 10.244.N.0/24, device mcpgw-N

# In SERVICE_RANGE.
# shellcheck disable=SC2034 # for node.sh and node-config.sh
DNS_ADDRESS=10.96.0.10

has_room() { [[ -e $FOLDER/pids/room ]]; }

room_number() { cat "$FOLDER/node/number"; }
host_address() { printf '10.77.%s.1\n' "$(room_number)"; }
node_address() { printf '10.77.%s.2\n' "$(room_number)"; }
pod_range() { printf '10.244.%s.0/24\n' "$(room_number)"; }

# room_pid: process 1 of the room, by its id out here.
room_pid() {
  local holder pid=
  holder=$(record_pid "$FOLDER/pids/room") || return 1
  # The list does not end with a line feed, for which `read` fails.
  { read -r pid _ <"/proc/$holder/task/$holder/children" || true; } 2>/dev/null
  [[ -n $pid ]] && printf '%s\n' "$pid"
}

# enter_words: sets ENTER, the command that runs what follows it in the room.
enter_words() { ENTER=(nsenter --target "$(room_pid)" --mount --net --pid --); }

# in_room COMMAND...
in_room() {
  local ENTER
  enter_words
  (cd / && exec "${ENTER[@]}" "$@")
}

# launch_in_room NAME COMMAND...: like launch. The record is that of nsenter, which waits for the command.
launch_in_room() {
  local ENTER name=$1
  shift
  enter_words
  launch "$FOLDER/pids/$name" "$FOLDER/logs/$name.log" "${ENTER[@]}" "$@"
}

# --- Making it ------------------------------------------------------------------------------------------------------

make_room() {
  local tries=0
  case $FOLDER in
    /run/* | /var/lib/* | /var/log/*) die "a node hides /run, /var/lib and /var/log from its programs: set MCPGATEWAY_DEV_STATE to another place" ;;
  esac
  mkdir -p "$FOLDER"/node "$FOLDER"/data/{kubelet,containerd}
  # The folder's name is for is_ours.
  launch "$FOLDER/pids/room" "$FOLDER/logs/room.log" unshare --net --mount --pid --fork --kill-child --mount-proc \
    --propagation private -- "$(pause_program)" "$FOLDER/"
  until room_pid >/dev/null; do
    ((tries++ < 100)) || fail_start "no namespaces" "$FOLDER/logs/room.log"
    sleep 0.05
  done
  make_device
  make_mounts
  make_groups
}

# The pair of devices that joins the room with the outside, under the first number that nobody uses. To make the device is
# what claims the number.
make_device() {
  local number pid
  pid=$(room_pid)
  for ((number = 0; number < 250; number++)); do
    ! ip link add "mcpgw-$number" type veth peer name eth0 netns "$pid" 2>>"$FOLDER/logs/room.log" || break
  done
  ((number < 250)) || fail_start "no network device" "$FOLDER/logs/room.log"
  printf '%s\n' "$number" >"$FOLDER/node/number"
  ip address add "$(host_address)/30" dev "mcpgw-$number"
  ip link set "mcpgw-$number" up
  # For whoever asks a pod from here: the API server, as a proxy.
  ip route add "$(pod_range)" via "$(node_address)" dev "mcpgw-$number"
  in_room sh -euc "
    ip link set lo up
    ip address add $(node_address)/30 dev eth0
    ip link set eth0 up
    ip route add default via $(host_address)
    echo 1 >/proc/sys/net/ipv4/ip_forward
    # Traffic over the bridge between two pods goes through kube-proxy's rules, too.
    [ ! -e /proc/sys/net/bridge/bridge-nf-call-iptables ] || echo 1 >/proc/sys/net/bridge/bridge-nf-call-iptables"
}

# Fixed paths of the node's programs lead into memory, or into our folder. Settings that a kubelet makes for the whole
# machine go to files of the room.
make_mounts() {
  # shellcheck disable=SC2016 # for the other shell
  in_room sh -euc '
    mount --make-rshared /
    for path in /run /var/log; do mount -t tmpfs -o mode=755 tmpfs "$path"; done
    # Seen under another name before /var/lib is hidden.
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

# group_roots: where control groups are made: one folder for each controller (version 1), or one for all.
group_roots() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/mounts | sort -u; }

group_name() { printf 'mcpgateway-%s\n' "$NAME"; }

# The kubelet makes its groups below one of ours, so that they can be told from those of others.
make_groups() {
  local root file
  while read -r root; do
    mkdir -p "$root/$(group_name)" 2>>"$FOLDER/logs/room.log" || continue
    for file in cpuset.cpus cpuset.mems; do
      # Version 1: without these nothing may run in the group.
      [[ ! -e $root/cgroup.clone_children || ! -e $root/$file ]] || cat "$root/$file" >"$root/$(group_name)/$file"
    done
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

# --- Its end --------------------------------------------------------------------------------------------------------

# remove_room: with its process ends everything inside; then what is outside.
remove_room() {
  local pid tries=0
  has_room || return 0
  pid=$(room_pid) || pid=
  stop_all KILL "$FOLDER" "$FOLDER/pids/room"
  # The kernel takes a moment to end all processes inside.
  while [[ -n $pid && -n $(start_time "$pid") ]] && ((tries++ < 100)); do sleep 0.05; done
  # It goes with the room, but not at once. Of a room that ended earlier there is none, and its number may be another's.
  [[ -z $pid || ! -e $FOLDER/node/number ]] || ip link delete "mcpgw-$(room_number)" 2>/dev/null || true
  remove_groups
  rm -f -- "$FOLDER/pids/room"
}
