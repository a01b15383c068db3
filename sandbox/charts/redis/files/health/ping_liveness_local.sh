#!/bin/bash
# Alive: Redis answers within $1 seconds, if only that it is still loading. Restarting it then would begin anew.
export REDISCLI_AUTH="$(< "$REDIS_PASSWORD_FILE")"
answer=$(timeout "$1" redis-cli -h 127.0.0.1 -p "$REDIS_PORT" ping 2>&1) || answer="no answer within $1 s: $answer"
[[ $answer == PONG || $answer == *LOADING* || $answer == *MASTERDOWN* ]] || { echo "$answer"; exit 1; }
