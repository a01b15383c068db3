#!/bin/bash
set -euo pipefail
. /opt/bitnami/scripts/start-scripts/master.sh

master=$(find_master)
read -r master_host master_port <<< "$master"
role=replica
[[ $master_host != "$me" ]] || role=master
say "starting as $role; the master is $master_host"
# The password reaches Redis on standard input: an argument would show in every process list. Later lines win, and
# the user's configuration comes last, as in the Bitnami chart; an `aclfile` there defines the users instead.
password=$(< "$REDIS_PASSWORD_FILE")
password=${password//\\/\\\\}
password=${password//\"/\\\"}
exec redis-server - < <(
  printf 'port %s\nbind * -::*\nrequirepass "%s"\nmasterauth "%s"\n' "$REDIS_PORT" "$password" "$password"
  printf 'replica-announce-ip %s\nreplica-announce-port %s\n' "$me" "$REDIS_PORT"
  [[ $role == master ]] || printf 'replicaof %s %s\n' "$master_host" "$master_port"
  # The replica's, whatever role it starts in.
  printf 'include /opt/bitnami/redis/mounted-etc/%s\n' replica.conf redis.conf
)
