#!/bin/bash
# Ready: Redis has loaded its data and answers within $1 seconds. A replica that still waits for its master's data is ready too.
# Every process here is waited for: Redis is the parent of those that are not, and while it reaps them, ten a second, it
# finishes no copy of its data for a replica.
export REDISCLI_AUTH="$(< "$REDIS_PASSWORD_FILE")"
answer=$(timeout "$1" redis-cli -h 127.0.0.1 -p "$REDIS_PORT" ping 2>&1) || answer="no answer within $1 s: $answer"
[[ $answer == PONG ]] || { echo "$answer"; exit 1; }
