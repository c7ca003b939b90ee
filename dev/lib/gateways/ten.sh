# shellcheck shell=bash
# The steps of dev/ten-minutes. Needs common.sh, waiting.sh and fleet.sh.

INJECTION=${INJECTION:-patch}
# How many seconds requests are counted: two refreshes of an unclassified server.
WINDOW=$((2 * REFRESH))
CHART=${CHART:-$ROOT/charts/mcpgateway-operator}
KEYS=mcpgateway:server_classification
BEGAN=$SECONDS

clock() { printf '%d:%02d' $(((SECONDS - BEGAN) / 60)) $(((SECONDS - BEGAN) % 60)); }
note() { printf '[%5s]   %s\n' "$(clock)" "$*"; }
indent() { sed 's/^/            /'; }

# line COMMAND: prints a line of the page with its time, runs it in this shell, and prints what it prints.
line() {
  local before=$SECONDS status=0
  printf '[%5s] $ %s\n' "$(clock)" "$1"
  eval "$1" >"$WORK/output" 2>&1 || status=$?
  cut -c 1-150 "$WORK/output" | indent
  ((SECONDS - before < 2)) || note "took $((SECONDS - before)) s"
  ((status == 0)) || fail "the line above succeeds"
}

# fail WHAT: prints what may explain the failure, and ends the run.
fail() {
  say "error: this did not happen: $1"
  {
    show_cluster mcpgateway-system
    gateways logs -l "app=$STACK-mcpgateway" --tail 5
    echo "-- objects"
    diff <(printf '%s\n' "$OBJECTS") <(objects) || true
  } 2>&1 | cut -c 1-300 | indent >&2
  exit 1
}

# reach SECONDS WHAT COMMAND...: waits until the command succeeds, and prints that and when.
reach() {
  wait_for "$@"
  note "$2"
}

redis() {
  local address
  address=$(gateways get pods -l "app=$STACK-redis" -o 'jsonpath={.items[0].status.podIP}')
  REDISCLI_AUTH=$(gateways get secret "$STACK-redis-secret" -o 'jsonpath={.data.REDIS_PASSWORD}' | base64 -d) \
    redis-cli -h "$address" --raw "$@"
}

# --- What the MCP servers receive -------------------------------------------------------------------------------------

# rates SECONDS: waits that long, and prints how many requests each server received per minute. Sets POLLS.
rates() {
  local begin
  begin=$(date +%s)
  sleep "$1"
  curl -sSf "http://$SERVERS:8000/record" >"$WORK/record"
  python3 "$GATEWAYS/rates.py" "$WORK/record" "$begin" "$(date +%s)" >"$WORK/rates"
  POLLS=$(awk '$1 == "polls" { print $2 }' "$WORK/rates")
  note "requests to the MCP servers in a minute, over $1 s: $POLLS polls"
  awk 'BEGIN { printf "%-10s %8s %9s %7s\n", "SERVER", "HEALTH", "REFRESH", "CALLS" }
    NF == 4 { printf "%-10s %8s %9s %7s\n", $1, $2, $3, $4 }' "$WORK/rates" | indent
  used_are_called || fail "the client's calls are answered"
}

# used_are_called: whether the client's calls reached every server that it uses.
used_are_called() { [[ $(of_used 'if ($4 > 0) print $1') == "$(printf '%s\n' "${USED[@]}")" ]]; }

# refreshes_of_used: prints how many requests per minute were refreshes of the servers that the client uses.
refreshes_of_used() { of_used 'print $3' | awk '{ sum += $1 } END { print sum }'; }

# of_used ACTION: runs an action of awk on the rates of the servers that the client uses.
of_used() { awk -v names=" ${USED[*]} " 'index(names, " " $1 " ") { '"$1"' }' "$WORK/rates"; }

# at_most A B FACTOR: whether A <= B * FACTOR.
at_most() { awk -v a="$1" -v b="$2" -v factor="$3" 'BEGIN { exit !(a <= b * factor) }'; }

find_fleet() {
  find_address
  log_in
  SERVERS=$(tools get pods -l app=mcp-servers -o 'jsonpath={.items[0].status.podIP}')
  REPLICAS=$(gateways get deployment "$STACK-mcpgateway" -o 'jsonpath={.spec.replicas}')
  POD_SPEC=$(pod_spec) OBJECTS=$(objects)
  # The lines run in a folder that looks like a checkout.
  mkdir "$WORK/charts"
  cp -r "$CHART" "$WORK/charts/mcpgateway-operator"
  ln -s "$DEV" "$WORK/dev"
  ln -s "${OPERATOR_ARCHIVE:-$("$DEV/image" operator)}" "$WORK/mcpgateway-operator.tar"
  cd "$WORK"
}

pod_spec() { gateways get deployment "$STACK-mcpgateway" -o json | jq -S .spec.template.spec; }

measure_before() {
  note "a fleet of $REPLICAS pods of two processes, eight MCP servers, and a client that uses ${USED[*]}"
  gateways get pods | indent
  rates "$WINDOW"
  BEFORE=$POLLS BEFORE_USED=$(refreshes_of_used)
  BEGAN=$SECONDS
}

measure_after() {
  rates $((3 * REFRESH))
  at_most "$POLLS" "$BEFORE" 0.6 || fail "there are at most 60 % of the polls of before: $POLLS of $BEFORE"
  at_most "$BEFORE_USED" "$(refreshes_of_used)" 1.25 || fail "servers in use are refreshed as often as before"
  note "$(awk -v a="$POLLS" -v b="$BEFORE" 'BEGIN { printf "%.0f %% fewer polls", 100 - 100 * a / b }')"
}

measure_back() {
  rates "$WINDOW"
  at_most "$POLLS" "$BEFORE" 1.2 || fail "there are not more polls than before: $POLLS and $BEFORE"
  at_most "$BEFORE" "$POLLS" 1.2 || fail "there are not fewer polls than before: $POLLS and $BEFORE"
}

# --- There ------------------------------------------------------------------------------------------------------------

# block PAGE SECTION NUMBER: prints a block of shell lines of a section of a page in docs.
block() {
  awk -v section="## $2" -v wanted="$3" '/^## / { here = $0 == section } !here { next }
    /^```/ { inside = !inside && $0 == "```sh"; n += inside; next } inside && n == wanted' "$ROOT/docs/$1"
}

# lines: runs the commands on standard input as line does, except those that contain a word of SKIPPED. After one that
# contains a word of AFTERWARDS it calls that function.
lines() {
  local text='' part word
  while IFS= read -r part <&3; do
    text+=$part
    # A command is complete when bash can parse it.
    if [[ $part == *\\ ]] || ! bash -n <<<"$text" 2>/dev/null; then
      text+=$'\n'
      continue
    fi
    for word in "${SKIPPED[@]}"; do [[ $text != *"$word"* ]] || text=''; done
    [[ -z $text ]] || line "$text"
    for word in "${!AFTERWARDS[@]}"; do [[ $text != *"$word"* ]] || "${AFTERWARDS[$word]}"; done
    text=''
  done 3<&0
}

# account: runs the lines of docs/registration.md that make an account and its token.
account() {
  local number
  # shellcheck disable=SC2034 # used by the lines
  PASSWORD=$(gateway_secret PLATFORM_ADMIN_PASSWORD) ACCOUNT=mcpgateway-operator@example.com
  note "the lines of docs/registration.md, \"Make an account in ContextForge\""
  for number in 1 2 3; do
    # The address and the password are set above.
    line "$(block registration.md "Make an account in ContextForge" "$number" | grep -vE '^(CF=|read -rsp|$)')"
  done
}

# adapt_values: sets the values in which this fleet differs from that of the page.
adapt_values() {
  local file=charts/mcpgateway-operator/examples/contextforge-values.yaml
  sed -i -e "s/hotInterval: 5m/hotInterval: ${REFRESH}s/" \
    -e "s/coldHealthInterval: 5m/coldHealthInterval: $((5 * HEALTH))s/" "$file"
  # Of eight servers, the two that are used.
  printf 'classification: {hotFraction: 0.25}\n' >>"$file"
  [[ $INJECTION == patch ]] ||
    sed -i "s/^  plugin:/  plugin:\n    injection: {enabled: true, label: \"app=$STACK-mcpgateway\"}/" "$file"
  note "the values, with the intervals of this fleet:"
  grep -v '^ *#' "$file" | grep . | indent
}

there() {
  local -A AFTERWARDS=(['helm install']=mirror_is_complete)
  local SKIPPED=()
  adapt_values
  # containerd's name for images without a registry.
  # shellcheck disable=SC2034 # used by the lines
  REGISTRY=docker.io/library
  line "dev/cluster load --name $CLUSTER mcpgateway-operator.tar"
  lines < <(block contextforge.md "Ten minutes" 2)
  account
  lines < <(block contextforge.md "Ten minutes" 3)
  lines < <(block contextforge.md "Ten minutes" 4)
  if [[ $INJECTION == policy ]]; then
    SKIPPED=(usage-patch patch.yaml)
    AFTERWARDS=([HOT_COLD]=restart)
  fi
  lines < <(block contextforge.md "Ten minutes" 5)
  reach 240 "the used servers are hot" hot_are "${USED[@]}"
  reach 180 "the fleet is ready" fleet_is Ready
  reach 60 "a refresh plan is published" has_plan
  reach 600 "the gateways obey" fleet_is Obeyed
  reach 120 "every pod reports, and no other" all_report
  lines < <(block contextforge.md "Ten minutes" 6)
}

mirror_is_complete() { reach 60 "the mirror has eight objects" mirrored 8; }
restart() { line "kubectl rollout restart deployment/$STACK-mcpgateway -n gateways"; }

mirrored() { (($(gateways get mcpgateways -o name | wc -l) == $1)); }
hot_are() {
  [[ $(gateways get mcpgateways -o json | jq -r '.items[] | select(.status.tier == "Hot") | .spec.url' |
    sed -E 's|.*/(server-[0-9])/mcp|\1|' | sort | xargs) == "$*" ]]
}
fleet_is() { kubectl -n mcpgateway-system wait mcpfleet --all "--for=condition=$1" --timeout 1s; }
all_report() {
  local summary='{.items[0].status.endpoints.summary}'
  [[ $(kubectl -n mcpgateway-system get mcpfleet -o "jsonpath=$summary") == "$REPLICAS/$REPLICAS" ]]
}
has_plan() { [[ $(redis HLEN "$KEYS:intervals") -gt 0 ]]; }

# --- Back -------------------------------------------------------------------------------------------------------------

back() {
  local -A AFTERWARDS=()
  local SKIPPED=()
  note "the way back"
  if [[ $INJECTION == policy ]]; then
    SKIPPED=('rollout undo')
    AFTERWARDS=(['helm uninstall']=restart)
  fi
  lines < <(block contextforge.md "The way back" 2)
  line "redis DEL $KEYS:term"
  # The session of the administrator may have ended.
  log_in
  line 'ask DELETE "/v1/auth/email/admin/users/$ACCOUNT" </dev/null'
  line 'ask DELETE "/v1/rbac/roles/$ROLE" </dev/null'
  reach 240 "no key of the operator is left" no_keys
  reach 180 "the cluster has the objects that it had" objects_are_as_before
  [[ $(pod_spec) == "$POD_SPEC" ]] || fail "ContextForge's pods are as before: $(diff <(echo "$POD_SPEC") <(pod_spec))"
  note "ContextForge's Deployment is as it was"
}

no_keys() { [[ -z $(redis --scan --pattern "$KEYS:*") ]]; }

# objects: prints every object of the cluster except those that come and go with pods.
objects() {
  local kinds
  kinds=$(kubectl api-resources --verbs list -o name |
    grep -vE '^(pods|events|leases|endpoints|endpointslices|replicasets|componentstatuses)(\.|$)')
  kubectl get "$(paste -sd, <<<"$kinds")" -A --no-headers \
    -o custom-columns=K:.kind,S:.metadata.namespace,N:.metadata.name | sort -u
}
objects_are_as_before() { [[ $(objects) == "$OBJECTS" ]]; }
