# shellcheck shell=bash
# Steps of the e2e run: what the operator's account may do, and what is kept from a replica that leads no more.

# use_account: sets SERVER and TOKEN, and writes the server's authority.
use_account() {
  SERVER=$(kubectl config view -o 'jsonpath={.clusters[0].cluster.server}')
  TOKEN=$(kubectl -n "$SYSTEM" create token "$RELEASE")
  kubectl config view --raw -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$WORK/authority.crt"
}

# The permission table, by the words of rights.py. Namespaces: the release's, the workers', one with objects, two others.
RIGHTS_NAMESPACES=(gateways search default kube-system)
expected_rights() {
  local namespace name names=("$RELEASE" "$RELEASE-status" kube-system other)
  for namespace in "$SYSTEM" "${RIGHTS_NAMESPACES[@]}"; do
    for name in "${names[@]}"; do
      printf '%s mcpgateway.io/mcpgateways%s %s %s\n' get '' "$namespace" "$name" patch /status "$namespace" "$name"
      printf 'patch events.k8s.io/events %s %s\n' "$namespace" "$name"
    done
    printf '%s mcpgateway.io/mcpgateways %s -\n' list "$namespace" watch "$namespace"
    printf 'create events.k8s.io/events %s -\n' "$namespace"
  done
  for name in get update patch; do
    printf '%s coordination.k8s.io/leases %s %s\n' "$name" "$SYSTEM" "$RELEASE"
    printf '%s core/configmaps %s %s\n' "$name" "$SYSTEM" "$RELEASE-status"
  done
  printf 'create %s %s -\n' coordination.k8s.io/leases "$SYSTEM" core/configmaps "$SYSTEM"
  printf '%s discovery.k8s.io/endpointslices gateways -\n' list watch
  printf 'get core/namespaces - kube-system\n'
}

try_rights() {
  local namespace arguments=() tried
  step "the operator's account tries everything that the API server serves"
  use_account
  for namespace in "$SYSTEM" "${RIGHTS_NAMESPACES[@]}"; do arguments+=(--namespace "$namespace"); done
  python3 "$DEV/lib/e2e/rights.py" --server "$SERVER" --authority "$WORK/authority.crt" --token "$TOKEN" "${arguments[@]}" \
    --name "$RELEASE" --name "$RELEASE-status" --name kube-system --name other >"$WORK/allowed" 2>"$WORK/logs/rights.log" ||
    fail "everything can be tried"
  tried=$(tail -n 1 "$WORK/logs/rights.log")
  diff <(expected_rights | sort) <(sort "$WORK/allowed") >"$WORK/logs/rights-diff.log" ||
    fail "exactly the table is allowed (< missing, > too much): $(cat "$WORK/logs/rights-diff.log")"
  note "$tried calls: $(wc -l <"$WORK/allowed") allowed, the permission table exactly; all others refused"
  cut -d ' ' -f 1,2 "$WORK/allowed" | sort -u | awk '{ verbs[$2] = verbs[$2] " " $1 } END { for (one in verbs) print one ":" verbs[one] }' | sort | indent
}

# stale_object: NAMESPACE NAME TERM of one whose status is of an earlier term than the Lease's.
stale_object() {
  kubectl get mcpgateways -A --no-headers -o custom-columns=A:.metadata.namespace,B:.metadata.name,C:.status.term |
    awk -v term="$(term)" '$3 ~ /^[0-9]+$/ && $3 < term { print; exit }'
}

# patch_term NAMESPACE NAME TERM: as the operator's account and in its way; kubectl would read the status apart, which the
# account may not. Prints what the API server says, and fails when it refuses.
patch_term() {
  local answer
  answer=$(curl -sS --max-time 10 --cacert "$WORK/authority.crt" -H "Authorization: Bearer $TOKEN" -X PATCH \
    -H 'Content-Type: application/merge-patch+json' -d "{\"status\":{\"term\":$3}}" \
    "$SERVER/apis/mcpgateway.io/v1alpha1/namespaces/$1/mcpgateways/$2/status" 2>&1)
  python3 -c 'import json, sys
answer = json.loads(sys.argv[1])
print(answer.get("message") or "status.term %s" % answer["status"]["term"])
sys.exit(answer["kind"] == "Status")' "$answer"
}

refuse_stale_leader() {
  local namespace name old said
  step "a status write with the term of an earlier leader"
  use_account
  read -r namespace name old < <(stale_object) || fail "some status is of an earlier term"
  # The rule of the CRD lets this one pass: only the Lease tells that it is stale.
  ! said=$(patch_term "$namespace" "$name" "$old") || fail "term $old is refused while the Lease says $(term): $said"
  [[ $said == *ValidatingAdmissionPolicy* && $said == *'another replica leads'* ]] || fail "the admission policy refuses it: $said"
  fold -s -w 120 <<<"$said" | indent
  said=$(patch_term "$namespace" "$name" "$(term)") || fail "the leader's own term passes: $said"
  note "with the leader's term $(term): $said"
  ! said=$(patch_term "$namespace" "$name" "$old") || fail "term $old is refused"
  note "with term $old again: ${said##*: }"
}
