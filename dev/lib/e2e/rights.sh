# shellcheck shell=bash
# Steps of the e2e run: what the operator's account may do, and that a former leader can write no status.

# use_account: sets SERVER and TOKEN, and writes the server's certificate authority to a file.
use_account() {
  SERVER=$(kubectl config view -o 'jsonpath={.clusters[0].cluster.server}')
  TOKEN=$(kubectl -n "$SYSTEM" create token "$RELEASE")
  kubectl config view --raw -o 'jsonpath={.clusters[0].cluster.certificate-authority-data}' | base64 -d >"$WORK/authority.crt"
}

# expected_rights: prints the permission table in the format of rights.py. RIGHTS_NAMESPACES: beside the release's
# namespace, that of the workers, one with objects, and two others.
RIGHTS_NAMESPACES=(gateways search default kube-system)
expected_rights() {
  local namespace name names=("$RELEASE" kube-system other)
  for namespace in "$SYSTEM" "${RIGHTS_NAMESPACES[@]}"; do
    for name in "${names[@]}"; do
      printf '%s mcpgateway.io/mcpgateways%s %s %s\n' get '' "$namespace" "$name" patch /status "$namespace" "$name"
      printf 'patch events.k8s.io/events %s %s\n' "$namespace" "$name"
    done
    printf '%s mcpgateway.io/mcpgateways %s -\n' list "$namespace" watch "$namespace"
    printf 'create events.k8s.io/events %s -\n' "$namespace"
  done
  for name in get update; do
    printf '%s coordination.k8s.io/leases %s %s\n' "$name" "$SYSTEM" "$RELEASE"
  done
  printf 'get mcpgateway.io/mcpgatewayfleets %s %s\n' "$SYSTEM" "$RELEASE"
  printf 'update mcpgateway.io/mcpgatewayfleets/status %s %s\n' "$SYSTEM" "$RELEASE"
  printf 'create %s %s -\n' coordination.k8s.io/leases "$SYSTEM" mcpgateway.io/mcpgatewayfleets "$SYSTEM"
  printf '%s discovery.k8s.io/endpointslices gateways -\n' list watch
  printf 'get core/namespaces - kube-system\n'
}

try_rights() {
  local namespace arguments=() tried
  step "the operator's account tries every verb on every resource"
  use_account
  for namespace in "$SYSTEM" "${RIGHTS_NAMESPACES[@]}"; do arguments+=(--namespace "$namespace"); done
  python3 "$DEV/lib/e2e/rights.py" --server "$SERVER" --authority "$WORK/authority.crt" --token "$TOKEN" "${arguments[@]}" \
    --name "$RELEASE" --name kube-system --name other >"$WORK/allowed" 2>"$WORK/logs/rights.log" ||
    fail "every call can be tried"
  tried=$(tail -n 1 "$WORK/logs/rights.log")
  diff <(expected_rights | sort) <(sort "$WORK/allowed") >"$WORK/logs/rights-diff.log" ||
    fail "the allowed calls are exactly the table (< missing, > too many): $(cat "$WORK/logs/rights-diff.log")"
  note "$tried calls: $(wc -l <"$WORK/allowed") allowed, exactly the permission table; all others denied"
  cut -d ' ' -f 1,2 "$WORK/allowed" | sort -u | awk '{ verbs[$2] = verbs[$2] " " $1 } END { for (one in verbs) print one ":" verbs[one] }' | sort | indent
}

# stale_object: prints NAMESPACE NAME TERM of an object whose status has a lower term than the Lease.
stale_object() {
  kubectl get mcpgateways -A --no-headers -o custom-columns=A:.metadata.namespace,B:.metadata.name,C:.status.term |
    awk -v term="$(term)" '$3 ~ /^[0-9]+$/ && $3 < term { print; exit }'
}

# patch_term NAMESPACE NAME TERM: patches status.term as the operator's account. Not with kubectl, which would first
# read the status subresource, and the account may not. Prints the API server's answer, and fails if it refuses.
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
  step "the status write of a former leader"
  use_account
  read -r namespace name old < <(stale_object) || fail "some status has an earlier term"
  # The rule of the CRD allows this write. Only the Lease shows that it is stale.
  ! said=$(patch_term "$namespace" "$name" "$old") || fail "term $old is refused while the Lease says $(term): $said"
  [[ $said == *ValidatingAdmissionPolicy* && $said == *'another replica leads'* ]] || fail "the admission policy refuses it: $said"
  fold -s -w 120 <<<"$said" | indent
  said=$(patch_term "$namespace" "$name" "$(term)") || fail "the leader's own term is accepted: $said"
  note "with the leader's term $(term): $said"
  ! said=$(patch_term "$namespace" "$name" "$old") || fail "term $old is refused"
  note "with term $old again: ${said##*: }"
}
