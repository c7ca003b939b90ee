# shellcheck shell=bash
# Starts and deletes a real ContextForge with its MCP servers and a client, as pods. Needs common.sh, and CLUSTER.

GATEWAYS=$DEV/lib/gateways
STACK=contextforge-mcp-stack
ADMIN=admin@example.com
# The servers that the client calls.
USED=(server-2 server-5)
DATABASE=${DATABASE:-postgres} HEALTH=${HEALTH:-60} REFRESH=${REFRESH:-300} CALLS=${CALLS:-20}

gateways() { kubectl --namespace gateways "$@"; }
tools() { kubectl --namespace tools "$@"; }
quietly() { "$@" >/dev/null; }

fleet_up() {
  [[ $DATABASE == postgres || $DATABASE == sqlite ]] || die "DATABASE=$DATABASE is not postgres or sqlite"
  load_fleet_images
  quietly kubectl apply --server-side -f "$GATEWAYS/servers.yaml"
  make_namespace
  make_secrets
  sed "s/\"HEALTH\"/\"$HEALTH\"/; s/\"REFRESH\"/\"$REFRESH\"/" "$GATEWAYS/settings.yaml" |
    quietly gateways apply --server-side -f -
  quietly gateways apply --server-side -f "$GATEWAYS/redis.yaml" -f "$GATEWAYS/service.yaml"
  "start_with_$DATABASE"
  rolled_out gateways "$STACK-mcpgateway"
  rolled_out tools mcp-servers
  find_address
  log_in
  register_servers
  start_client
  printf '%s\n' "$CF"
}

fleet_down() { quietly kubectl delete namespace gateways tools --ignore-not-found; }

load_fleet_images() {
  local image images=(contextforge mcp-servers redis) archives=()
  [[ $DATABASE == sqlite ]] || images+=(postgres)
  for image in "${images[@]}"; do archives+=("$("$DEV/image" "$image")"); done
  "$DEV/cluster" load --name "$CLUSTER" "${archives[@]}"
}

make_namespace() {
  kubectl create namespace gateways --dry-run=client -o yaml | quietly kubectl apply --server-side -f -
  # SQLite is in a folder of the node, which the restricted standard does not allow.
  [[ $DATABASE == sqlite ]] ||
    quietly kubectl label namespace gateways --overwrite pod-security.kubernetes.io/enforce=restricted
}

# random_word: a password without sequences such as abc, which ContextForge refuses.
random_word() {
  openssl rand -base64 300 | tr -dc 'bdfhjlnprtvxzBDFHJLNPRTVXZ' | tr -s 'a-zA-Z' | sed -E 's/^(.{24}).*/\1aA1!/'
}

# secret NAMESPACE NAME KEY=VALUE...: creates a Secret if there is none. Values come from a file, because arguments are
# visible to other users.
secret() {
  local namespace=$1 name=$2
  shift 2
  ! quietly kubectl get secret "$name" --namespace "$namespace" 2>/dev/null || return 0
  quietly kubectl create secret generic "$name" --namespace "$namespace" --from-env-file <(printf '%s\n' "$@")
}

make_secrets() {
  secret gateways "$STACK-redis-secret" "REDIS_PASSWORD=$(openssl rand -hex 16)"
  secret gateways "$STACK-postgres-secret" POSTGRES_USER=admin "POSTGRES_PASSWORD=$(openssl rand -hex 16)" \
    POSTGRES_DB=postgresdb
  secret gateways "$STACK-gateway-secret" "JWT_SECRET_KEY=$(openssl rand -hex 32)" \
    "AUTH_ENCRYPTION_SECRET=$(openssl rand -hex 32)" "PLATFORM_ADMIN_EMAIL=$ADMIN" \
    "PLATFORM_ADMIN_PASSWORD=$(random_word)" "DEFAULT_USER_PASSWORD=$(random_word)" "BASIC_AUTH_PASSWORD=$(random_word)"
}

start_with_postgres() {
  quietly gateways apply --server-side -f "$GATEWAYS/postgres.yaml"
  rolled_out gateways "$STACK-postgres"
  quietly gateways apply --server-side -f "$GATEWAYS/migration.yaml"
  quietly gateways wait --for=condition=Complete "job/$STACK-migration" --timeout 300s
  quietly gateways apply --server-side -f "$GATEWAYS/deployment.yaml"
}

start_with_sqlite() {
  "$DEV/cluster" enter --name "$CLUSTER" -- install -d -o 10001 -g 10001 /run/contextforge
  kubectl patch --local -f "$GATEWAYS/deployment.yaml" --patch-file "$GATEWAYS/sqlite.yaml" -o yaml |
    quietly gateways apply --server-side -f -
}

# rolled_out NAMESPACE DEPLOYMENT: waits until the rollout is complete.
rolled_out() { quietly kubectl --namespace "$1" rollout status "deployment/$2" --timeout 600s; }

# find_address: sets CF, the URL of ContextForge's Service, which the node forwards to a pod.
find_address() {
  local address node
  address=$(gateways get service "$STACK-mcpgateway" -o 'jsonpath={.spec.clusterIP}')
  node=$(kubectl get node -o 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}')
  ip route replace "$address/32" via "$node"
  CF=http://$address
}

# ask METHOD PATH: a request with the body from standard input. No secret is a command-line argument.
ask() {
  curl -sS --fail-with-body --retry 5 -X "$1" "$CF$2" -H 'Content-Type: application/json' --data-binary @- \
    -K <(if [[ -n ${SESSION:-} ]]; then printf 'header = "Authorization: Bearer %s"\n' "$SESSION"; fi)
}

gateway_secret() { gateways get secret "$STACK-gateway-secret" -o "jsonpath={.data.$1}" | base64 -d; }

# log_in: sets SESSION, the token of the administrator's session.
log_in() {
  SESSION=
  SESSION=$(PASSWORD=$(gateway_secret PLATFORM_ADMIN_PASSWORD) jq -n --arg email "$ADMIN" \
    '{email: $email, password: env.PASSWORD}' | ask POST /v1/auth/email/login | jq -r .access_token)
}

register_servers() {
  local name known
  known=$(ask GET '/v1/gateways?limit=0' </dev/null | jq -r '.[].name')
  for name in server-{0..7}; do
    ! grep -qx "$name" <<<"$known" || continue
    jq -n --arg name "$name" --arg url "http://mcp-servers.tools:8000/$name/mcp" \
      '{name: $name, url: $url, transport: "STREAMABLEHTTP"}' |
      quietly ask POST /v1/gateways
  done
}

# start_client: starts a client that calls the tool greet of each used server every CALLS seconds, at different times.
start_client() {
  local begin name words=() phase=0
  begin=$(date +%s)
  words=("\"$begin\"")
  for name in "${USED[@]}"; do
    words+=("\"$name-greet=$CALLS=$phase\"")
    phase=$((phase + CALLS / 2))
  done
  tools create configmap client --from-file "$ROOT/integrations/contextforge/dev/fleet/__init__.py" \
    --from-file "$ROOT/integrations/contextforge/dev/fleet/mcp_session.py" \
    --from-file "$ROOT/integrations/contextforge/dev/fleet/regular_clients.py" --dry-run=client -o yaml |
    quietly tools apply --server-side -f -
  # A session of ContextForge ends after 20 minutes.
  secret tools client "token=$(jq -n '{name: "client", expires_in_days: 7,
    scope: {permissions: ["servers.use", "tools.read", "tools.execute"]}}' | ask POST /v1/tokens | jq -r .access_token)"
  sed "s|TOOLS|$(IFS=,; printf '%s' "${words[*]}")|" "$GATEWAYS/client.yaml" | quietly tools apply --server-side -f -
  rolled_out tools client
}
