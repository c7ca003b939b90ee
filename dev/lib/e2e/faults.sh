# shellcheck shell=bash
# Steps of the e2e run: a leader that is deleted, one that is killed on the node, and workers that come and go.

# order_workers ORDER: pause and resume, so that nothing but the fault moves tiers.
order_workers() {
  local address
  for address in $(kubectl -n gateways get pods -l app=worker --field-selector status.phase=Running -o 'jsonpath={.items[*].status.podIP}'); do
    quiet order curl -fsS --max-time 5 -X POST "http://$address:8080/control/$1"
  done
}

# settle: the traffic stands still, and a whole cycle later statuses and Redis say the same.
settle() {
  order_workers pause
  fresh_cycle
  wait_for 20 "statuses and Redis say the same" stores_agree
}

# fresh_cycle: until a cycle that began after now has published.
fresh_cycle() {
  local seen
  seen=$(redis GET "$KEYS:timestamp")
  wait_for 90 "another cycle publishes" published_after "$seen"
  seen=$(redis GET "$KEYS:timestamp")
  wait_for 90 "another cycle publishes" published_after "$seen"
}
published_after() { awk -v new="$(redis GET "$KEYS:timestamp")" -v old="$1" 'BEGIN { exit !(new > old) }'; }

lock_is_of_term() { [[ $(redis GET "$KEYS:leader") == mcpgateway-operator/*/$1 ]]; }

# new_term OLD_TERM BEGAN: waits for a leader with a higher one, and says what was seen. Sets LEADS_AFTER, microseconds.
new_term() {
  wait_for 40 "somebody leads at a higher term" term_above "$1"
  LEADS_AFTER=$(($(microseconds) - $2))
  note "$(leader) leads $(since "$2") s later, term $1 -> $(term)"
  wait_for 20 "the lock in Redis is the new leader's" lock_is_of_term "$(term)"
  note "Redis' lock is its own $(since "$2") s later: $(redis GET "$KEYS:leader")"
}
term_above() { (($(term) > $1)) && [[ -n $(leader) ]]; }

# unchanged TIERS: after whole cycles they are the same, and Redis held publication and lock all the time.
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
  # From here on a short interval, so that nobody waits long. Two of them, after which a publication expires, outlast the
  # lease of 15 s, as the default's do.
  helm_quiet upgrade "$RELEASE" "$CHART" "${HELM_VALUES[@]}" --set classification.interval=12s --wait --timeout 120s
  HELM_VALUES+=(--set classification.interval=12s)
  note "helm upgrade to an interval of 12 s is done"
  settle
  old=$(leader) number=$(term) before=$(tiers_of_all) began=$(microseconds)
  quiet kubectl kubectl -n "$SYSTEM" delete pod "$old" --wait=false
  new_term "$number" "$began"
  [[ $(leader) != "$old" ]] || fail "it is another pod"
  ((LEADS_AFTER <= 5000000)) || fail "another leads within 5 s of an orderly end: $((LEADS_AFTER / 1000)) ms"
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
  ((LEADS_AFTER <= 20000000)) || fail "somebody leads within the lease and one cycle (20 s): $((LEADS_AFTER / 1000)) ms"
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
  wait_for 20 "statuses and Redis say the same" stores_agree
  no_gap
  note "$before gateways have a tier as before; $(without)"
}

scale_to() {
  local began
  began=$(microseconds)
  quiet kubectl kubectl -n gateways scale deployment/workers --replicas "$1"
  quiet kubectl kubectl -n gateways rollout status deployment/workers --timeout 120s
  wait_for 60 "the operator hears $1 workers" fact_is endpoints "$1 of $1 answered"
  note "$1 workers: '$(fact endpoints)' $(since "$began") s after the order"
}
