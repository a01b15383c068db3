#!/bin/bash
# Alive and ready: the Sentinel answers within $1 seconds.
answer=$(timeout "$1" redis-cli -h 127.0.0.1 -p "$REDIS_SENTINEL_PORT" ping 2>&1) || answer="no answer within $1 s: $answer"
[[ $answer == PONG ]] || { echo "$answer"; exit 1; }
