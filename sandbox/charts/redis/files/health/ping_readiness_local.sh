#!/bin/bash
# Ready: Redis has loaded its data and answers within $1 seconds. A replica has its master's data too, if there is a
# master to have it from: the next node may stop once this one is ready.
# Every process here is waited for: Redis is the parent of those that are not, and while it reaps them, ten a second, it
# finishes no copy of its data for a replica.
export REDISCLI_AUTH="$(< "$REDIS_PASSWORD_FILE")"
ask() { timeout "$1" redis-cli -h 127.0.0.1 -p "$REDIS_PORT" "${@:2}" 2>&1; }

answer=$(ask "$1" ping) || answer="no answer within $1 s: $answer"
[[ $answer == PONG ]] || { echo "$answer"; exit 1; }
mapfile -t role <<< "$(ask "$1" role)"
[[ ${role[0]} == slave && ${role[3]} != connected ]] || exit 0
answer=$(timeout 0.5 redis-cli -h "${role[1]}" -p "${role[2]}" ping 2>&1) || exit 0 # nobody to have it from
echo "no data of ${role[1]} yet: ${role[3]}"
exit 1
