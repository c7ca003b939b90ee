# shellcheck shell=bash
# What the demo prints, and how it reads the statuses and keys that it prints.

BOLD='' PLAIN=''
if [[ -t 1 && ${TERM:-dumb} != dumb && -z ${NO_COLOR:-} ]]; then BOLD=$'\e[1m' PLAIN=$'\e[0m'; fi
STEP=0

microseconds() { printf '%s\n' "${EPOCHREALTIME/./}"; }
# since MICROSECONDS: the seconds since then, with one decimal.
since() {
  local tenths=$((($(microseconds) - $1) / 100000))
  printf '%d.%d\n' $((tenths / 10)) $((tenths % 10))
}
STARTED=$(microseconds)

# step TEXT: the one line that announces a step.
step() {
  STEP=$((STEP + 1))
  headline "$STEP/$STEPS" "$1"
}
# headline LABEL TEXT
headline() { printf '%s==> %s [%4s s] %s%s\n' "$BOLD" "$1" "$(since "$STARTED")" "$2" "$PLAIN"; }
# note TEXT, and indent for lines that belong to one.
note() { printf '    %s\n' "$*"; }
indent() { sed 's/^/      /'; }

# --- Statuses -----------------------------------------------------------------------------------------------------------

# objects: a line for each gateway, NAMESPACE/NAME TIER RANK ENABLED URL, "<none>" for what is absent.
objects() {
  kubectl get mcpgateways -A --no-headers \
    -o custom-columns=A:.metadata.namespace,B:.metadata.name,C:.status.tier,D:.status.rank,E:.spec.enabled,F:.spec.url |
    awk '{ print $1 "/" $2, $3, $4, $5, $6 }'
}

all_classified() { objects | awk '$4 == "true" && $2 == "<none>" { missing = 1 } END { exit missing || !NR }'; }
tiers_of_all() { objects | awk '{ print $1, $2 }'; }
tier_of() { objects | awk -v name="$1" '$1 == name { print $2 }'; }
urls_of_tier() { objects | awk -v tier="$1" '$2 == tier { print $5 }' | sort -u; }

# stores_agree: whether the statuses say the same as Redis.
stores_agree() {
  [[ $(urls_of_tier Hot) == "$(redis SMEMBERS "$KEYS:hot" | sort)" ]] &&
    [[ $(urls_of_tier Cold) == "$(redis SMEMBERS "$KEYS:cold" | sort)" ]]
}

# lines_of NAMESPACE/NAME...: their lines of the table that people see, and its head.
lines_of() {
  kubectl get mcpgateways -A | awk -v names=" $* " 'NR == 1 || index(names, " " $1 "/" $2 " ")'
}

# choose_servers: the hot server with the worst rank will fall, a cold one that was never used will rise, and the other
# hot ones stay. Not those that share their URL with another object, because two lines would change then.
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
  [[ -n $FALLING && -n $RISING ]] || fail "one hot and one never used server to choose" "operator-$LEADER"
}

both_moved() {
  objects | awk -v rising="$RISING" -v falling="$FALLING" \
    '$1 == rising && $2 == "Hot" || $1 == falling && $2 == "Cold" { moved++ } END { exit moved != 2 }'
}

# --- Redis --------------------------------------------------------------------------------------------------------------

# show_keys: name, type, what is in it, and when it expires.
show_keys() {
  local key type value
  printf '    %-42s %-7s %-11s %s\n' KEY TYPE EXPIRES VALUE
  for key in hot cold metadata timestamp leader term; do
    type=$(redis TYPE "$KEYS:$key")
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

# sample_lock: from now on, every 20 ms, a line LOCK MILLISECONDS-LEFT MEMBERS of one instant.
sample_lock() {
  launch "$PIDS/sampler" "$LOGS/samples.log" "$FOLDER/bin/redis-cli" -p "$REDIS_PORT" -i 0.02 -r -1 EVAL \
    "return (redis.call('GET', KEYS[1]) or '(free)') .. ' ' .. redis.call('PTTL', KEYS[1]) .. ' '
      .. (redis.call('SCARD', KEYS[2]) + redis.call('SCARD', KEYS[3]))" \
    3 "$KEYS:leader" "$KEYS:hot" "$KEYS:cold"
  wait_for 5 "the lock in Redis can be read" samples test -s "$LOGS/samples.log"
}

# judge_samples: says what was seen, and fails when the lock was free at any sample. The sets may expire when a machine is
# very slow: that is safe, gateways then poll at full rate, and so it is only said.
judge_samples() {
  note "the lock in Redis, looked at every 20 ms meanwhile:"
  awk '$1 != last { print $1; last = $1 }' "$LOGS/samples.log" | indent
  awk 'NR == 1 { left = $2; members = $3 }
    { free += $1 == "(free)"; if ($2 < left) left = $2; if ($3 < members) members = $3 }
    END {
      printf "free in %d of %d samples, never less than %.1f s before it would expire\n", free, NR, left / 1000
      printf "the sets in Redis: %s\n", members ? "never less than " members " servers" : "expired until the new leader published"
      exit free > 0
    }' "$LOGS/samples.log" >"$LOGS/judged" || fail "the lock in Redis is never free" "operator-a operator-b"
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
    mcpgateway-operator status -n $LEASE_NAMESPACE
    kubectl get lease,configmap -n $LEASE_NAMESPACE -o yaml

    redis-cli -p $REDIS_PORT SMEMBERS $KEYS:hot
    redis-cli -p $REDIS_PORT GET $KEYS:metadata
    redis-cli -p $REDIS_PORT MONITOR

    curl -s $(served_at "$LEADER" /metrics)   # replica $LEADER, which leads
    curl -s $(served_at "$LEADER" /readyz)
    curl -s $(served_at "$DEAD" /metrics)   # replica $DEAD, started again
    tail -f $(printf %q "$LOGS")/operator-$LEADER.log

  To change the use (workers 0, 1, 2 report at $(worker_url 0), $(worker_url 1), $(worker_url 2)):

    curl -s ${url%/mcpgateway/usage}/control/state
    curl -sX POST '${url%/mcpgateway/usage}/control/pin?name=$FALLING'
    curl -sX POST '${url%/mcpgateway/usage}/control/stop?name=$RISING'
    curl -sX POST ${url%/mcpgateway/usage}/control/resume   # the simulated traffic goes on, also: pause, reset

  To kill a replica:   kill -9 $(record_pid "$PIDS/operator-$LEADER")   # the leader
  To stop it all:      dev/demo stop $NAME
TEXT
}
