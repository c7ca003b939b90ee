# shellcheck shell=bash
# Step of the e2e run: upgrades the chart to another image and another CRD, and back, under load
# (docs/contract.md#x3).

# The next release: a field more in the CRD, another image. Its program is the same one.
make_next_chart() {
  cp -r "$CHART" "$WORK/next"
  sed -i -e "s/^version: .*/version: 99.0.0/" -e "s/^appVersion: .*/appVersion: next/" "$WORK/next/Chart.yaml"
  awk '{ if (!done && match($0, /^ +gatewayId:$/)) {
      indent = substr($0, 1, RLENGTH - length("gatewayId:"))
      print indent "team:"; print indent "  description: Who runs the server"; print indent "  type: string"; done = 1 }
    print }' "$CHART/files/crds.yaml" >"$WORK/next/files/crds.yaml"
  ! cmp -s "$CHART/files/crds.yaml" "$WORK/next/files/crds.yaml" || fail "the next CRD is another one"
}

# The schema that is installed, and served: a field that it does not know is refused by a strict client.
crd_has_team() { [[ -n $(kubectl get crd mcpgateways.mcpgateway.io -o 'jsonpath={.spec.versions[0].schema.openAPIV3Schema.properties.spec.properties.team.type}') ]]; }
sets_team() { kubectl -n search patch mcpgateway web-index --type merge -p '{"spec":{"team":"search"}}'; }
images() { kubectl -n "$SYSTEM" get pods -l app.kubernetes.io/component=operator -o 'jsonpath={range .items[*]}{.spec.containers[0].image}{"\n"}{end}' | sort -u; }
image_is() { [[ $(images) == "mcpgateway-operator:$1" ]]; }

start_load() {
  order_workers resume
  launch "$WORK/pids/churn" "$WORK/logs/churn.log" bash "$DEV/lib/e2e/churn" "$WORK/"
}

end_load() {
  stop_all TERM "$WORK" "$WORK/pids/churn"
  rm -f -- "$WORK/pids/churn"
  kubectl -n search patch mcpgateway image-index --type merge -p '{"spec":{"enabled":true}}' >/dev/null
  kubectl -n search delete mcpgateway passing --ignore-not-found >/dev/null
}

change_release() {
  local chart=$1 image=$2 began number
  began=$(microseconds) number=$(term)
  helm_quiet upgrade "$RELEASE" "$chart" "${HELM_VALUES[@]}" --wait --timeout 180s
  wait_for 60 "all pods have the image $image" image_is "$image"
  note "done in $(since "$began") s: image $(images), term $number -> $(term)"
}

upgrade_and_back() {
  local looks writes
  step "helm upgrade to another image and CRD, and back, under load"
  make_next_chart
  looks=$(seen looks) writes=$(wc -l <"$WORK/statuses")
  start_load
  change_release "$WORK/next" next
  crd_has_team || fail "the upgrade changed the CRD"
  wait_for 20 "the new field can be set" sets_team
  note "the CRD has its new field, an object uses it"
  change_release "$CHART" "$VERSION"
  ! crd_has_team || fail "the downgrade put the CRD back"
  note "the CRD is as before; $(kubectl get mcpgateways -A --no-headers | wc -l) objects are there"
  end_load
  settle
  note "$(($(wc -l <"$WORK/statuses") - writes)) statuses came, no term fell; $(($(seen looks) - looks)) looks at Redis, each a whole publication"
  note "hot and cold agree with the statuses; $(without)"
  no_gap
}
