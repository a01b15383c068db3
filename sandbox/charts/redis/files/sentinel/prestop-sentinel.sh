#!/bin/bash
# Stays to conduct the election that prestop-redis.sh asks for, until the other replicas follow the new master.
set -uo pipefail
. /opt/bitnami/scripts/start-scripts/master.sh

is_conducting() { ask_sentinel 127.0.0.1 master "$master_set" | grep -q failover_in_progress; }
redis_runs() { (exec 3<> "/dev/tcp/127.0.0.1/$redis_port") 2> /dev/null; }

[[ $wait_for_failover == true ]] || exit 0
deadline=$((SECONDS + failover_seconds))
while ((SECONDS < deadline)) && { is_conducting || { is_elected && redis_runs; }; }; do sleep 0.2; done
