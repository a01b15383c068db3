#!/bin/bash
# Hands mastership over before this node stops, so that writers wait for an election and not for a time-out.
set -uo pipefail
. /opt/bitnami/scripts/start-scripts/master.sh
export REDISCLI_AUTH="$(< "$REDIS_PASSWORD_FILE")"

ask_redis() { timeout 2 redis-cli -p "$REDIS_PORT" "$@" 2> /dev/null; }

[[ $wait_for_failover == true ]] || exit 0
deadline=$((SECONDS + failover_seconds))
while [[ $(ask_redis role | head -n 1) == master ]] && is_elected && ((SECONDS < deadline)); do
  ask_redis info replication | grep -q 'state=online' || exit 0 # nobody could take over
  # What is written from here on would be lost with this node.
  ask_redis client pause 3000 write
  # Sentinels take up to 15 seconds to find a replica whose pod, and so its address, is new: ask until they agree.
  case $(ask_sentinel 127.0.0.1 failover "$master_set") in
    OK | INPROG*) ;;
    *) ask_redis client unpause ;;
  esac
  sleep 0.5
done
