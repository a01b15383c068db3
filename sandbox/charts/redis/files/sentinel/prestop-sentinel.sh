#!/bin/bash
# Stays while this node is the master, to conduct the election that prestop-redis.sh asks for.
set -uo pipefail
. /opt/bitnami/scripts/start-scripts/master.sh

deadline=$((SECONDS + failover_seconds))
while is_elected && ((SECONDS < deadline)); do sleep 1; done
