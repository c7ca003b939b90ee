# shellcheck shell=bash
# Steps of the e2e run: a leader is deleted, a leader is killed on the node, workers come and go, and the fleet is
# suspended.

# order_workers ORDER: pause or resume. While they are paused, only the fault can change tiers.
order_workers() {
  local address
  for address in $(kubectl -n gateways get pods -l app=worker --field-selector status.phase=Running -o 'jsonpath={.items[*].status.podIP}'); do
    quiet order curl -fsS --max-time 5 -X POST "http://$address:8080/control/$1"
  done
}

# settle: pauses the traffic, and waits for a whole cycle after which statuses and Redis agree.
settle() {
  order_workers pause
  fresh_cycle
  wait_for 20 "statuses and Redis agree" stores_agree
}

# fresh_cycle: waits until a cycle that began after now has published.
fresh_cycle() {
  local seen
  seen=$(redis GET "$KEYS:timestamp")
  wait_for 90 "another cycle publishes" published_after "$seen"
  seen=$(redis GET "$KEYS:timestamp")
  wait_for 90 "another cycle publishes" published_after "$seen"
}
published_after() { awk -v new="$(redis GET "$KEYS:timestamp")" -v old="$1" 'BEGIN { exit !(new > old) }'; }

lock_is_of_term() { [[ $(redis GET "$KEYS:leader") == mcpgateway-operator/*/$1 ]]; }

# new_term OLD_TERM BEGAN: waits for a leader with a higher term, and prints how long it took. Sets LEADS_AFTER, in
# microseconds.
new_term() {
  wait_for 40 "a replica leads at a higher term" term_above "$1"
  LEADS_AFTER=$(($(microseconds) - $2))
  note "$(leader) leads $(since "$2") s later, term $1 -> $(term)"
  wait_for 20 "the new leader holds the Redis lock" lock_is_of_term "$(term)"
  note "it holds the Redis lock $(since "$2") s later: $(redis GET "$KEYS:leader")"
}
term_above() { (($(term) > $1)) && [[ -n $(leader) ]]; }

# unchanged TIERS: checks that the tiers are the same after whole cycles, and that Redis always held publication and
# lock.
unchanged() {
  fresh_cycle
  [[ $(tiers_of_all) == "$1" ]] || fail "no tier changes: $(diff <(echo "$1") <(tiers_of_all))"
  wait_for 60 "two replicas are ready again" both_ready
  no_gap
  note "no tier has changed; $(without)"
}

delete_leader() {
  local old before began number
  step "delete the leader's pod"
  # From here on a short interval, to keep the run short. A publication lives for two intervals, which is longer than
  # the lease of 15 s, as with the defaults.
  helm_quiet upgrade "$RELEASE" "$CHART" "${HELM_VALUES[@]}" --set classification.interval=12s --wait --timeout 120s
  HELM_VALUES+=(--set classification.interval=12s)
  note "helm upgrade has set an interval of 12 s"
  settle
  old=$(leader) number=$(term) before=$(tiers_of_all) began=$(microseconds)
  quiet kubectl kubectl -n "$SYSTEM" delete pod "$old" --wait=false
  new_term "$number" "$began"
  [[ $(leader) != "$old" ]] || fail "another pod leads"
  ((LEADS_AFTER <= 5000000)) || fail "another replica leads within 5 s of an orderly stop: $((LEADS_AFTER / 1000)) ms"
  unchanged "$before"
}

kill_leader() {
  local old pid before began number
  step "kill the leader's process on the node (SIGKILL)"
  wait_for 60 "two replicas are ready" both_ready
  old=$(leader) number=$(term) before=$(tiers_of_all)
  pid=$(process_of "$old") || fail "the leader's process is found on the node"
  began=$(microseconds)
  kill -KILL "$pid"
  # The kubelet restarts a container within a second: the same pod may be the next leader, as another holder.
  new_term "$number" "$began"
  ((LEADS_AFTER <= 20000000)) || fail "a replica leads within the lease and one cycle (20 s): $((LEADS_AFTER / 1000)) ms"
  unchanged "$before"
  note "$(kubectl -n "$SYSTEM" get pod "$old" --no-headers | awk '{ print $1 ": " $3 ", restarts " $4 }')"
  [[ $(kubectl -n "$SYSTEM" get pod "$old" -o 'jsonpath={.status.containerStatuses[0].restartCount}') == 1 ]] || fail "the kubelet restarted it once"
}

scale_workers() {
  local before
  step "scale the workers: 3 -> 6 -> 2"
  before=$(objects | awk '$2 != "<none>"' | wc -l)
  scale_to 6
  scale_to 2
  fresh_cycle
  [[ $(objects | awk '$2 != "<none>"' | wc -l) == "$before" ]] || fail "no gateway lost its tier"
  wait_for 20 "statuses and Redis agree" stores_agree
  no_gap
  note "$before gateways have a tier, as before; $(without)"
}

scale_to() {
  local began
  began=$(microseconds)
  quiet kubectl kubectl -n gateways scale deployment/workers --replicas "$1"
  quiet kubectl kubectl -n gateways rollout status deployment/workers --timeout 120s
  wait_for 60 "$1 worker endpoints report" answered "$1"
  note "$1 workers: endpoints $(fleet '{.status.endpoints.summary}') $(since "$began") s after the order"
}

publication_gone() { [[ $(redis EXISTS "$KEYS:hot" "$KEYS:cold" "$KEYS:metadata" "$KEYS:timestamp") == 0 ]]; }

set_suspend() { quiet kubectl kubectl -n "$SYSTEM" patch mcpfleet "$RELEASE" --type merge -p "{\"spec\":{\"suspend\":$1}}"; }

# The brake survives a change of leader and a helm upgrade.
suspend_and_resume() {
  local before began number old without
  step "suspend the fleet, delete the leader, upgrade the chart, resume"
  settle
  before=$(tiers_of_all) without=$(seen without)
  began=$(microseconds)
  set_suspend true
  wait_for 10 "the publication leaves Redis" publication_gone
  (($(microseconds) - began <= 5000000)) || fail "the publication leaves Redis within 5 s: $(since "$began") s"
  note "the publication left Redis after $(since "$began") s"
  wait_for 60 "no object has a tier" none_classified
  wait_for 20 "the fleet is suspended" fleet_is Ready True Suspended
  kubectl get mcpfleet -A | indent
  old=$(leader) number=$(term) began=$(microseconds)
  quiet kubectl kubectl -n "$SYSTEM" delete pod "$old" --wait=false
  new_term "$number" "$began"
  helm_quiet upgrade "$RELEASE" "$CHART" "${HELM_VALUES[@]}" --wait --timeout 120s
  [[ $(fleet '{.spec.suspend}') == true ]] || fail "helm upgrade leaves spec.suspend alone"
  wait_for 20 "the fleet is still suspended" fleet_is Ready True Suspended
  # Longer than an interval.
  sleep 15
  publication_gone || fail "nothing is published while the fleet is suspended"
  none_classified || fail "no object has a tier while the fleet is suspended"
  note "still suspended after a change of leader and a helm upgrade"
  began=$(microseconds)
  set_suspend false
  wait_for 60 "every gateway has a tier" all_classified
  wait_for 20 "statuses and Redis agree" stores_agree
  quiet kubectl kubectl -n "$SYSTEM" wait --for=condition=Ready "mcpfleet/$RELEASE" --timeout=60s
  # Not all are as before: the new leader knows only the use that the workers still report.
  note "resumed: $(since "$began") s later every gateway has a tier; as before: $(comm -12 <(echo "$before") <(tiers_of_all) | wc -l) of $(wc -l <<<"$before")"
  # The watcher writes its counts every half second.
  sleep 1
  SUSPENDED_LOOKS=$((SUSPENDED_LOOKS + $(seen without) - without))
  no_gap
}
