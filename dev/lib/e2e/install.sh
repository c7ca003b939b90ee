# shellcheck shell=bash
# Steps of the e2e run: cluster, images, gateways and installation.

make_cluster() {
  local life=()
  step "start a cluster of one node that runs pods"
  PATH=$("$DEV/cluster" binaries --node):$("$DEV/tools" helm):$PATH
  # A cluster that is kept outlives this script.
  [[ -n ${KEEP:-} ]] || life=(--while-pid $$)
  KUBECONFIG=$("$DEV/cluster" up --node --name "$CLUSTER" "${life[@]}")
  export KUBECONFIG
  kubectl get nodes -o wide | indent
}

make_images() {
  local next worker redis
  step "build the images, without a container engine (the first time takes minutes)"
  VERSION=$(sed -nE 's/^appVersion: (.*)/\1/p' "$CHART/Chart.yaml")
  OPERATOR_ARCHIVE=$("$DEV/image" operator)
  next=$("$DEV/image" operator next)
  worker=$("$DEV/image" worker)
  redis=$("$DEV/image" redis)
  quiet load "$DEV/cluster" load --name "$CLUSTER" "$OPERATOR_ARCHIVE" "$next" "$worker" "$redis"
}

start_gateways() {
  step "start three workers behind a Service, and Redis, as pods"
  quiet kubectl kubectl create namespace gateways
  quiet kubectl kubectl -n gateways create configmap fleet --from-file="$ROOT/examples/fleet"
  quiet kubectl kubectl apply --server-side --force-conflicts -f "$DEV/lib/e2e/gateways.yaml"
  quiet kubectl kubectl -n gateways rollout status deployment/redis --timeout 120s
  quiet kubectl kubectl -n gateways rollout status deployment/workers --timeout 120s
  REDIS_IP=$(kubectl -n gateways get pods -l app=redis -o 'jsonpath={.items[0].status.podIP}')
  kubectl -n gateways get pods | indent
}

# The values of every release in this run. All others are the chart's defaults, with an interval of 60 s.
HELM_VALUES=(--set "workers.services={gateways/workers:usage}" --set redis.url=redis://redis.gateways:6379/0)

install_release() {
  local began
  step "helm install into a namespace that enforces the restricted standard; then 40 gateways"
  quiet kubectl kubectl create namespace "$SYSTEM"
  quiet kubectl kubectl label namespace "$SYSTEM" pod-security.kubernetes.io/enforce=restricted
  began=$(microseconds)
  helm_quiet install "$RELEASE" "$CHART" "${HELM_VALUES[@]}" --wait --timeout 60s
  note "helm install --wait took $(since "$began") s"
  quiet kubectl kubectl apply -f "$ROOT/examples/fleet"
  wait_for 60 "every gateway has a tier" all_classified
  (($(microseconds) - began <= 60000000)) || fail "the first tiers appear within 60 s of helm install: $(since "$began") s"
  note "all gateways have their tier $(since "$began") s after helm install began (at most 60 s)"
  start_watching
  wait_for 20 "statuses and Redis agree" stores_agree
  kubectl get mcpgateways -n search | awk 'NR <= 6' | indent
  quiet kubectl kubectl -n "$SYSTEM" wait --for=condition=Ready "mcpfleet/$RELEASE" --timeout=60s
  note "kubectl wait --for=condition=Ready mcpfleet/$RELEASE succeeds:"
  kubectl get mcpfleet -A -o wide | indent
  note "Redis: $(redis SCARD "$KEYS:hot") hot, $(redis SCARD "$KEYS:cold") cold; lock $(redis GET "$KEYS:leader")"
  note "leader: $(fleet '{.status.leader.identity}'), term $(fleet '{.status.term}'), endpoints: $(fleet '{.status.endpoints.summary}')"
  kubectl -n "$SYSTEM" describe mcpfleet "$RELEASE" >"$WORK/described"
  grep -q BecameLeader "$WORK/described" || fail "kubectl describe mcpfleet shows the Event BecameLeader"
  note "kubectl describe mcpfleet $RELEASE:"
  sed -n '/^Events:/,$p' "$WORK/described" | cut -c 1-140 | indent
}

# process_facts PID: prints the user and the privileges of a process, from the kernel.
process_facts() {
  awk '$1 == "Uid:" { print "uid " $2 } $1 == "CapEff:" { print "capabilities " $2 } $1 == "NoNewPrivs:" { print "no new privileges " $2 }
    $1 == "Seccomp:" { print "seccomp " $2 }' "/proc/$1/status" | paste -sd, | sed 's/,/, /g'
  awk '$5 == "/" { split($6, options, ","); print "root file system " options[1] }' "/proc/$1/mountinfo"
}

show_pods() {
  local pid found
  step "the pods: not root, read-only file system, no capabilities"
  kubectl -n "$SYSTEM" get pods -o wide | indent
  pid=$(process_of "$(leader)") || fail "the leader's process is found on the node"
  found=$(process_facts "$pid")
  [[ $found == "uid 65532, no new privileges 1, seccomp 2, capabilities 0000000000000000"$'\n'"root file system ro" ||
    $found == "uid 65532, capabilities 0000000000000000, no new privileges 1, seccomp 2"$'\n'"root file system ro" ]] ||
    fail "the process is confined: $found"
  indent <<<"$found"
}

refuse_unrestricted() {
  local said
  step "the namespace admits restricted pods only"
  ! said=$(kubectl -n "$SYSTEM" run root --image mcpgateway-dev/redis:1 --dry-run=server 2>&1) || fail "a pod that violates the standard is refused"
  [[ $said == *'violates PodSecurity "restricted:latest"'* ]] || fail "the message names the standard: $said"
  cut -c 1-140 <<<"$said" | indent
}

# polled: writes the stamps of a gateway that has just polled every enabled server for its tools.
polled() {
  local url id
  while read -r url id; do
    "$(image_program)" poll completed --redis-url "redis://$REDIS_IP" --type tool_discovery --url "$url" ${id:+--gateway-id "$id"} >/dev/null ||
      fail "poll completed succeeds for $url"
  done < <(kubectl get mcpgateways -A -o json | python3 -c 'import json, sys
for gateway in json.load(sys.stdin)["items"]:
    if gateway["spec"].get("enabled", True): print(gateway["spec"]["url"], gateway["spec"].get("gatewayId", ""))')
}

test_release() {
  local said
  step "helm test: the doctor, as the operator's own account, before and after a gateway polls"
  ! said=$(helm test mcpgateway-operator --namespace "$SYSTEM" --logs 2>&1) || fail "it reports that no gateway polls: $said"
  [[ $(awk '$1 == "problem" { print $2 }' <<<"$said") == NoContextForge ]] || fail "that is the only problem: $said"
  grep "^problem " <<<"$said" | cut -c 1-140 | indent
  polled
  said=$(helm test mcpgateway-operator --namespace "$SYSTEM" --logs 2>&1) || fail "it finds no problem then: $said"
  grep ^healthy <<<"$said" | indent
  # Helm does not delete the pod of a test.
  kubectl -n "$SYSTEM" delete pod mcpgateway-operator-doctor --wait=false >/dev/null
}

# --- The last step ----------------------------------------------------------------------------------------------------

show_figures() {
  local pod
  step "figures"
  note "image: $(stat -L -c %s "$(image_program)") bytes of program; archive $(stat -c %s "$OPERATOR_ARCHIVE") bytes (compressed)"
  for pod in $(pods); do
    pod=${pod#pod/}
    note "$pod: ready $(ready_after "$pod") ms after its start, memory $(memory_of "$pod")"
  done
  note "Redis was read $(seen looks) times: each time a whole publication or none"
}

# ready_after POD: prints the milliseconds from the first line of its log until it is ready.
ready_after() {
  kubectl -n "$SYSTEM" logs "$1" | python3 -c 'import sys, datetime
first = ready = None
for line in sys.stdin:
    time = datetime.datetime.fromisoformat(line.split()[0].replace("Z", "+00:00"))
    first = first or time
    if " INFO ready" in line: ready = ready or time
print(round((ready - first).total_seconds() * 1000))'
}

image_program() { printf '%s\n' "${CARGO_TARGET_DIR:-$ROOT/target}/x86_64-unknown-linux-musl/release/mcpgateway-operator"; }

memory_of() {
  local pid
  pid=$(process_of "$1") || fail "the process of $1 is found"
  awk '$1 == "VmRSS:" { printf "%.1f MiB resident", $2 / 1024 } $1 == "VmHWM:" { peak = $2 } END { printf ", at most %.1f MiB", peak / 1024 }' "/proc/$pid/status"
}
