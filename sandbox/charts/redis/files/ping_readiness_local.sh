#!/bin/bash
# Ready: Redis has loaded its data and answers within $1 seconds.
export REDISCLI_AUTH="$(< "$REDIS_PASSWORD_FILE")"
answer=$(timeout "$1" redis-cli -h 127.0.0.1 -p "$REDIS_PORT" ping 2>&1) || answer="no answer within $1 s: $answer"
[[ $answer == PONG ]] || { echo "$answer"; exit 1; }
