#!/bin/bash
set -euo pipefail
. /opt/bitnami/scripts/start-scripts/master.sh
umask 077

# What it learnt goes on to count; what the values say is written anew. A Sentinel rewrites this file at every election.
learnt=$([[ ! -s $sentinel_state ]] || grep -E '^sentinel (config-epoch|leader-epoch|current-epoch|known-)' "$sentinel_state" || true)
master=$(remembered_master)
[[ -n $master ]] || master=$(find_master)
password=$(< "$REDIS_PASSWORD_FILE")
password=${password//\\/\\\\}
password=${password//\"/\\\"}
{
  # Names, because a pod's address changes with the pod; they must be allowed before the first one is read.
  printf 'dir /tmp\nbind * -::*\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n'
  printf 'sentinel announce-ip %s\nsentinel announce-port %s\n' "$me" "$sentinel_port"
  printf 'sentinel myid %s\n' "$(printf %s "$HOSTNAME" | sha1sum | cut -c1-40)"
  printf 'sentinel monitor %s %s %s\n' "$master_set" "$master" "$quorum"
  printf 'sentinel auth-pass %s "%s"\n' "$master_set" "$password"
  # The chart names its first node; which one is the master, the others know.
  grep -v '^sentinel monitor ' /opt/bitnami/redis-sentinel/mounted-etc/sentinel.conf
  printf '%s\n' "$learnt"
} > "$sentinel_state.new"
mv "$sentinel_state.new" "$sentinel_state"
say "watching $master"
exec redis-sentinel "$sentinel_state"
