#!/bin/bash
set -euo pipefail
# The exporter's password file is JSON: address to password. It is read once, from a pipe, so the password is in
# no argument, no environment and no file but the Secret's own.
password=$(< /secrets/redis-password)
password=${password//\\/\\\\}
password=${password//\"/\\\"}
exec redis_exporter --redis.password-file=<(printf '{"%s": "%s"}' "$REDIS_ADDR" "$password")
