# shellcheck shell=bash
# Steps of the e2e run: upgrades the chart to another image and another CRD, and back, and upgrades from the release
# before this one, under load (docs/contract.md#x3).

# The next release: one more field in the CRD, and another image with the same program.
make_next_chart() {
  cp -r "$CHART" "$WORK/next"
  sed -i -e "s/^version: .*/version: 99.0.0/" -e "s/^appVersion: .*/appVersion: next/" "$WORK/next/Chart.yaml"
  awk '{ if (!done && match($0, /^ +gatewayId:$/)) {
      indent = substr($0, 1, RLENGTH - length("gatewayId:"))
      print indent "team:"; print indent "  description: Who runs the server"; print indent "  type: string"; done = 1 }
    print }' "$CHART/files/crds.yaml" >"$WORK/next/files/crds.yaml"
  ! cmp -s "$CHART/files/crds.yaml" "$WORK/next/files/crds.yaml" || fail "the CRD of the next release differs"
}

# crd_has_team: whether the installed schema has the new field. sets_team: a strict client, which fails on unknown
# fields.
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

# under_load COMMAND...: runs it while objects change, and checks that nothing was lost meanwhile.
under_load() {
  local looks writes uid
  looks=$(seen looks) writes=$(wc -l <"$WORK/statuses") uid=$(fleet '{.metadata.uid}')
  start_load
  "$@"
  note "$(kubectl get mcpgateways -A --no-headers | wc -l) objects are there"
  end_load
  settle
  [[ $(fleet '{.metadata.uid}') == "$uid" ]] || fail "the fleet object is the same one"
  writes=$(($(wc -l <"$WORK/statuses") - writes)) looks=$(($(seen looks) - looks))
  note "$writes status changes seen, no term fell; $looks looks at Redis, each found a whole publication"
  note "Redis and the statuses agree; $(without)"
  no_gap
}

to_next_and_back() {
  change_release "$WORK/next" next
  crd_has_team || fail "the upgrade changed the CRD"
  wait_for 20 "the new field can be set" sets_team
  note "the CRD has the new field, and an object uses it"
  change_release "$CHART" "$VERSION"
  ! crd_has_team || fail "the downgrade put the CRD back"
  note "the CRD is as before"
}

upgrade_and_back() {
  step "helm upgrade to another image and CRD, and back, under load"
  make_next_chart
  under_load to_next_and_back
}

# make_previous: builds image and chart of the release before, from its commit, into the cache. Loads the image.
make_previous() {
  local archive
  PREVIOUS=$(home_path XDG_CACHE_HOME .cache)/mcpgateway-operator/releases/$PREVIOUS_RELEASE
  if [[ ! -d $PREVIOUS ]]; then
    git -C "$ROOT" cat-file -e "$PREVIOUS_RELEASE^{commit}" 2>/dev/null ||
      die "this clone does not have the commit $PREVIOUS_RELEASE: fetch the whole history (git fetch --unshallow)"
    rm -rf -- "$PREVIOUS.new"
    mkdir -p "$PREVIOUS.new"
    git -C "$ROOT" archive "$PREVIOUS_RELEASE" | tar -x -C "$PREVIOUS.new"
    # Its program was larger than its own check of the size allows.
    sed -i 's/^MAXIMUM_BYTES=.*/MAXIMUM_BYTES=20000000/' "$PREVIOUS.new/dev/image"
    sed -i 's/^appVersion: .*/appVersion: previous/' "$PREVIOUS.new/charts/mcpgateway-operator/Chart.yaml"
    mv -T "$PREVIOUS.new" "$PREVIOUS"
  fi
  note "building the release $PREVIOUS_RELEASE (some minutes, once)"
  archive=$(CARGO_TARGET_DIR=$PREVIOUS/target "$PREVIOUS/dev/image" operator previous)
  quiet load "$DEV/cluster" load --name "$CLUSTER" "$archive"
}

to_previous_and_back() {
  change_release "$PREVIOUS/charts/mcpgateway-operator" previous
  change_release "$CHART" "$VERSION"
}

upgrade_from_previous() {
  step "helm upgrade to the release before this one, and back, under load"
  make_previous
  under_load to_previous_and_back
}
