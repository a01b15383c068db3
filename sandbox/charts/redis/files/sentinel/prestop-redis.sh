#!/bin/bash
# Hands mastership over before this node stops, so that writers wait for an election and not for a time-out.
set -uo pipefail
. /opt/bitnami/scripts/start-scripts/master.sh
export REDISCLI_AUTH="$(< "$REDIS_PASSWORD_FILE")"

ask_redis() { timeout 2 redis-cli -p "$REDIS_PORT" "$@" 2> /dev/null; }

[[ $(ask_redis role | head -n 1) == master ]] && is_elected || exit 0
# What is written from here on would be lost with this node.
ask_redis client pause "$(((failover_seconds + 2) * 1000))" write
# Once, as in the Bitnami chart: where the Sentinels know no replica that could take over, writers wait until this node is gone.
ask_sentinel 127.0.0.1 failover "$master_set"
[[ $wait_for_failover == true ]] || exit 0
deadline=$((SECONDS + failover_seconds))
while is_elected && ((SECONDS < deadline)); do sleep 1; done
