# shellcheck shell=bash
# Steps of the e2e run: installations that must fail and show why, and an uninstall followed by an install.

# must_fail ARGUMENT...: installs a second release, which watches only its own namespace, and expects it to fail.
must_fail() {
  local began
  kubectl get namespace broken >/dev/null 2>&1 || quiet kubectl kubectl create namespace broken
  quiet kubectl kubectl label --overwrite namespace broken pod-security.kubernetes.io/enforce=restricted
  began=$(microseconds)
  ! helm --namespace broken install broken "$CHART" "${HELM_VALUES[@]}" --set crds.enabled=false --set 'watch.namespaces={broken}' \
    "$@" --wait --timeout 20s >"$WORK/logs/broken.log" 2>&1 || fail "this installation fails: $*"
  grep -q 'deadline exceeded' "$WORK/logs/broken.log" || fail "it fails because its pods do not become ready: $(cat "$WORK/logs/broken.log")"
  note "helm install --wait failed after $(since "$began") s: $(tail -n 1 "$WORK/logs/broken.log")"
}

broken_log() { kubectl -n broken logs deployment/broken-mcpgateway-operator --tail 200 2>&1; }
# With more than one pod, kubectl shows Events only on request.
broken_pods() { kubectl -n broken describe pods -l app.kubernetes.io/component=operator --show-events=true; }
end_broken() { quiet helm helm --namespace broken uninstall broken --wait; rm -f "$WORK/logs/broken.log"; }

# shows PATTERN COMMAND...: prints the first line that matches, or fails.
shows() {
  local words=$1 said
  shift
  said=$("$@")
  grep -qiE -- "$words" <<<"$said" || fail "the output of $1 contains: $words; it is: $(tail -n 30 <<<"$said")"
  # Without the timestamp.
  grep -iE -m 1 -- "$words" <<<"$said" | sed -E 's/^ *[0-9T:.-]+Z +//; s/ {2,}/ /g' | fold -s -w 150 | indent
}

break_redis() {
  step "an installation with a wrong Redis URL"
  must_fail --set redis.url=redis://nobody.gateways:6379/0
  note "in kubectl logs:"
  shows 'Redis is not usable' broken_log
  note "in kubectl describe pods:"
  shows 'Readiness probe failed' broken_pods
  end_broken
}

break_rights() {
  step "an installation without its rights"
  # With an owner id: without one the operator needs a right before anything else, and does not start.
  must_fail --set rbac.create=false --set redis.ownerId=broken
  note "in kubectl logs:"
  shows 'forbidden' broken_log
  note "in kubectl describe pods:"
  shows 'Readiness probe failed' broken_pods
  end_broken
}

no_pods() { [[ -z $(kubectl -n "$SYSTEM" get pods -l app.kubernetes.io/component=operator -o name) ]]; }

uninstall_and_install() {
  local before number began left
  step "helm uninstall keeps objects, tiers and fleet; helm install continues from them"
  settle
  before=$(tiers_of_all) number=$(term)
  helm_quiet uninstall "$RELEASE" --wait
  wait_for 60 "the pods are gone" no_pods
  [[ $(tiers_of_all) == "$before" ]] || fail "objects and tiers are kept: $(diff <(echo "$before") <(tiers_of_all))"
  [[ -n $(fleet '{.metadata.uid}') ]] || fail "the fleet object is kept"
  left=$(kubectl -n "$SYSTEM" get all,roles,rolebindings,serviceaccounts -l app.kubernetes.io/instance="$RELEASE" -o name
    kubectl get clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings -l app.kubernetes.io/instance="$RELEASE" -o name)
  [[ -z $left ]] || fail "nothing else of the release is left: $left"
  note "uninstalled: $(wc -l <<<"$before") objects keep their tiers; of the release only the CRDs are left"
  began=$(microseconds)
  helm_quiet install "$RELEASE" "$CHART" "${HELM_VALUES[@]}" --wait --timeout 60s
  wait_for 40 "a replica leads at a higher term" term_above "$number"
  fresh_cycle
  [[ $(tiers_of_all) == "$before" ]] || fail "the tiers are as before: $(diff <(echo "$before") <(tiers_of_all))"
  wait_for 20 "statuses and Redis agree" stores_agree
  note "installed again: term $number -> $(term), published with the same tiers $(since "$began") s after helm install began"
}
