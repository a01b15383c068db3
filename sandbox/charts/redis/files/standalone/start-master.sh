#!/bin/bash
set -euo pipefail
# The password reaches Redis on standard input: an argument would show in every process list. Later lines win, and
# the user's configuration comes last, as in the Bitnami chart; an `aclfile` there defines the users instead.
password=$(< "$REDIS_PASSWORD_FILE")
password=${password//\\/\\\\}
password=${password//\"/\\\"}
exec redis-server - < <(
  printf 'port %s\nbind * -::*\nrequirepass "%s"\nmasterauth "%s"\n' "$REDIS_PORT" "$password" "$password"
  printf 'include /opt/bitnami/redis/mounted-etc/%s\n' redis.conf master.conf
)
