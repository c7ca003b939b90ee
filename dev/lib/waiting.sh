# shellcheck shell=bash
# Waiting on a cluster with pods, and what may explain a failure. The caller has fail(), which ends the run.

# wait_for SECONDS WHAT COMMAND...: waits until the command succeeds. The run fails if it does not in time.
wait_for() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "$what, within the time limit"
    sleep 0.2
  done
}

# show_cluster NAMESPACE: prints pods, Events, and the operator's log and fleet object.
show_cluster() {
  kubectl get pods -A -o wide
  kubectl get events -A --sort-by=.lastTimestamp | tail -n 8
  kubectl -n "$1" logs -l app.kubernetes.io/component=operator --tail 12
  kubectl -n "$1" describe mcpfleet
}
