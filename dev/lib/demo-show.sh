# shellcheck shell=bash
# Output of the demo, and how it reads statuses and Redis keys.

BOLD='' PLAIN=''
if [[ -t 1 && ${TERM:-dumb} != dumb && -z ${NO_COLOR:-} ]]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; fi
STEP=0

microseconds() { printf '%s\n' "${EPOCHREALTIME/./}"; }
# since MICROSECONDS: prints the seconds since then, with one decimal.
since() {
  local tenths=$((($(microseconds) - $1) / 100000))
  printf '%d.%d\n' $((tenths / 10)) $((tenths % 10))
}
STARTED=$(microseconds)

# step TEXT: prints the headline of a step.
step() {
  STEP=$((STEP + 1))
  headline "$STEP/$STEPS" "$1"
}
# headline LABEL TEXT
headline() { printf '%s==> %s [%4s s] %s%s\n' "$BOLD" "$1" "$(since "$STARTED")" "$2" "$PLAIN"; }
# note TEXT: prints a line. indent: indents lines that belong to one.
note() { printf '    %s\n' "$*"; }
indent() { sed 's/^/      /'; }

# --- Statuses -----------------------------------------------------------------------------------------------------------

# objects: prints a line for each gateway: NAMESPACE/NAME TIER RANK ENABLED URL. Absent values are "<none>".
objects() {
  kubectl get mcpgateways -A --no-headers \
    -o custom-columns=A:.metadata.namespace,B:.metadata.name,C:.status.tier,D:.status.rank,E:.spec.enabled,F:.spec.url |
    awk '{ print $1 "/" $2, $3, $4, $5, $6 }'
}

all_classified() { objects | awk '$4 == "true" && $2 == "<none>" { missing = 1 } END { exit missing || !NR }'; }
none_classified() { objects | awk '$2 != "<none>" { found = 1 } END { exit found || !NR }'; }
tiers_of_all() { objects | awk '{ print $1, $2 }'; }
tier_of() { objects | awk -v name="$1" '$1 == name { print $2 }'; }
urls_of_tier() { objects | awk -v tier="$1" '$2 == tier { print $5 }' | sort -u; }

# fleet JSONPATH: prints fields of the McpGatewayFleet.
fleet() { kubectl get mcpfleet "$FLEET" -n "$LEASE_NAMESPACE" -o "jsonpath=$1"; }

# fleet_is TYPE STATUS REASON: whether it has this condition, for its current spec.
fleet_is() {
  local generation observed status reason condition=".status.conditions[?(@.type==\"$1\")]"
  read -r generation observed status reason < <(
    fleet "{.metadata.generation} {.status.observedGeneration} {$condition.status} {$condition.reason}") || true
  [[ -n $observed && $observed == "$generation" && $status == "$2" && $reason == "$3" ]]
}

# stores_agree: whether the statuses and Redis have the same tiers.
stores_agree() {
  [[ $(urls_of_tier Hot) == "$(redis SMEMBERS "$KEYS:hot" | sort)" ]] &&
    [[ $(urls_of_tier Cold) == "$(redis SMEMBERS "$KEYS:cold" | sort)" ]]
}

# lines_of NAMESPACE/NAME...: prints their lines of `kubectl get mcpgateways`, and its header.
lines_of() {
  kubectl get mcpgateways -A | awk -v names=" $* " 'NR == 1 || index(names, " " $1 "/" $2 " ")'
}

# choose_servers: sets FALLING, the hot server with the worst rank; RISING, a cold one that was never used; and STAYING,
# the other hot ones. Skips servers that share their URL with another object, because two lines would change then.
choose_servers() {
  local table
  table=$(objects)
  FALLING=$(awk '{ urls[$5]++; line[NR] = $0 } END { for (i = 1; i <= NR; i++) {
    split(line[i], field); if (field[2] == "Hot" && urls[field[5]] == 1) print field[3], field[1] } }' <<<"$table" |
    sort -n | tail -n 1 | cut -d ' ' -f 2)
  RISING=$(awk '{ urls[$5]++; line[NR] = $0 } END { for (i = 1; i <= NR; i++) {
    split(line[i], field); if (field[2] == "Cold" && field[3] == "<none>" && urls[field[5]] == 1) {
      print field[1]; exit } } }' <<<"$table")
  mapfile -t STAYING < <(awk -v falling="$FALLING" '$2 == "Hot" && $1 != falling { print $1 }' <<<"$table")
  [[ -n $FALLING && -n $RISING ]] || fail "there is a hot server and one that was never used" "operator-$LEADER"
}

both_moved() {
  objects | awk -v rising="$RISING" -v falling="$FALLING" \
    '$1 == rising && $2 == "Hot" || $1 == falling && $2 == "Cold" { moved++ } END { exit moved != 2 }'
}

# --- Redis --------------------------------------------------------------------------------------------------------------

# show_keys: prints name, type, expiry and content of each key.
show_keys() {
  local key type value
  printf '    %-42s %-7s %-11s %s\n' KEY TYPE EXPIRES VALUE
  for key in hot cold metadata timestamp leader term; do
    type=$(redis TYPE "$KEYS:$key")
    if [[ $type == none ]]; then
      printf '    %-42s %s\n' "$KEYS:$key" '(does not exist)'
      continue
    fi
    case $key in
      hot | cold) value="$(redis SCARD "$KEYS:$key") members" ;;
      metadata) value='(below)' ;;
      *) value=$(redis GET "$KEYS:$key") ;;
    esac
    printf '    %-42s %-7s %-11s %s\n' "$KEYS:$key" "$type" "$(expiry_of "$KEYS:$key")" "$value"
  done
}

expiry_of() {
  local left
  left=$(redis PTTL "$1")
  if ((left < 0)); then echo never; else printf 'in %d.%d s\n' $((left / 1000)) $((left % 1000 / 100)); fi
}

# publication_gone: whether Redis has no publication.
publication_gone() { [[ $(redis EXISTS "$KEYS:hot" "$KEYS:cold" "$KEYS:metadata" "$KEYS:timestamp") == 0 ]]; }

# sample_lock: starts to log a line LOCK MILLISECONDS-LEFT MEMBERS every 20 ms, each read in one command.
sample_lock() {
  launch "$PIDS/sampler" "$LOGS/samples.log" "$FOLDER/bin/redis-cli" -p "$REDIS_PORT" -i 0.02 -r -1 EVAL \
    "return (redis.call('GET', KEYS[1]) or '(free)') .. ' ' .. redis.call('PTTL', KEYS[1]) .. ' '
      .. (redis.call('SCARD', KEYS[2]) + redis.call('SCARD', KEYS[3]))" \
    3 "$KEYS:leader" "$KEYS:hot" "$KEYS:cold"
  wait_for 5 "the Redis lock can be read" samples test -s "$LOGS/samples.log"
}

# judge_samples: prints what the samples show, and fails if the lock was free in any of them. On a very slow machine the
# sets may expire. That is safe, because gateways then poll at the full rate, so it is only printed.
judge_samples() {
  note "the Redis lock, sampled every 20 ms meanwhile:"
  awk '$1 != last { print $1; last = $1 }' "$LOGS/samples.log" | indent
  awk 'NR == 1 { left = $2; members = $3 }
    { free += $1 == "(free)"; if ($2 < left) left = $2; if ($3 < members) members = $3 }
    END {
      printf "free in %d of %d samples; at least %.1f s left before it would expire\n", free, NR, left / 1000
      printf "the sets in Redis: %s\n", members ? "at least " members " servers in every sample" : "expired until the new leader published"
      exit free > 0
    }' "$LOGS/samples.log" >"$LOGS/judged" || fail "the Redis lock is never free" "operator-a operator-b"
  sed '1s/^/      /; 2s/^/    /' "$LOGS/judged"
}

# --- The end of KEEP=1 ----------------------------------------------------------------------------------------------------

show_tour() {
  local url
  url=$(worker_url 0)
  cat <<TEXT

  To look around:

    export KUBECONFIG=$(printf %q "$KUBECONFIG")
    export PATH=$(printf %q "$FOLDER/bin"):\$PATH

    kubectl get mcpgw -A -o wide
    kubectl get mcpgw -A --field-selector status.tier=Hot
    kubectl explain mcpgateway.spec.url
    kubectl describe mcpgw -n ${RISING/\// }
    kubectl mcpgw status -n $LEASE_NAMESPACE
    kubectl mcpgw explain payments/exchange-rates --redis-url redis://127.0.0.1:$REDIS_PORT
    kubectl get mcpfleet -A -o wide
    kubectl describe mcpfleet -n $LEASE_NAMESPACE $FLEET
    kubectl explain mcpfleet.status
    kubectl get lease -n $LEASE_NAMESPACE -o yaml

  The condition Obeyed is False, and doctor reports NoContextForge: the workers are simulated, and no gateway polls.

  The emergency brake (false releases it):

    kubectl patch mcpfleet $FLEET -n $LEASE_NAMESPACE --type merge -p '{"spec":{"suspend":true}}'

  What the gateways see, and the operator's metrics and logs:

    redis-cli -p $REDIS_PORT SMEMBERS $KEYS:hot
    redis-cli -p $REDIS_PORT GET $KEYS:metadata
    redis-cli -p $REDIS_PORT MONITOR

    curl -s $(served_at "$LEADER" /metrics)   # replica $LEADER, which leads
    curl -s $(served_at "$LEADER" /readyz)
    curl -s $(served_at "$DEAD" /metrics)   # replica $DEAD, started again
    tail -f $(printf %q "$LOGS")/operator-$LEADER.log

  To change the usage (workers 0, 1, 2 report at $(worker_url 0), $(worker_url 1), $(worker_url 2)):

    curl -s ${url%/mcpgateway/usage}/control/state
    curl -sX POST '${url%/mcpgateway/usage}/control/pin?name=$FALLING'
    curl -sX POST '${url%/mcpgateway/usage}/control/stop?name=$RISING'
    curl -sX POST ${url%/mcpgateway/usage}/control/resume   # resume the simulated traffic; also: pause, reset

  To kill a replica:   kill -9 $(record_pid "$PIDS/operator-$LEADER")   # the leader
  To stop everything:  dev/demo stop $NAME
TEXT
}
