# Who the master is; read by the other scripts.
. /opt/bitnami/scripts/start-scripts/names.sh

sentinel_state=/opt/bitnami/redis-sentinel/etc/sentinel.conf
me=$HOSTNAME.$domain

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

# Ask the Sentinel of host $1, which is given two seconds.
ask_sentinel() { timeout 2 redis-cli -h "$1" -p "$sentinel_port" sentinel "${@:2}" 2> /dev/null; }

# Whether this node's Sentinel names this node.
is_elected() { [[ $(ask_sentinel 127.0.0.1 get-master-addr-by-name "$master_set" | head -n 1) == "$me" ]]; }

# What each Sentinel that answers says of the master, the latest election first: `epoch host port flags`.
opinions() {
  local index
  for ((index = 0; index < node_count; index++)); do
    ask_sentinel "$nodes-$index.$domain" master "$master_set" |
      awk '{ if (NR % 2) key = $0; else value[key] = $0 }
        END { if (value["ip"] != "") print value["config-epoch"], value["ip"], value["port"], value["flags"] }'
  done | sort --numeric-sort --reverse
}

# `host port` of the master that this node's Sentinel last wrote down. Nothing if it never ran.
remembered_master() {
  [[ ! -s $sentinel_state ]] || awk '$1 == "sentinel" && $2 == "monitor" { print $4, $5; exit }' "$sentinel_state"
}

# Whether enough Sentinels for an election answered and the one that knows best holds the master for down.
# $1: their opinions. With fewer there can be no election to wait for: the nodes start one after the other.
is_being_replaced() { (($(wc -l <<< "$1") >= quorum)) && [[ $(head -n 1 <<< "$1") == *_down* ]]; }

# `host port` of the master to start with. Only the very first node may take itself for it.
find_master() {
  local said found waited deadline=$((SECONDS + master_timeout))
  for ((waited = 1; ; waited++)); do
    said=$(opinions)
    found=$(head -n 1 <<< "$said" | cut -d ' ' -f 2,3)
    [[ -n $found ]] || found=$(remembered_master)
    [[ -n $found || $HOSTNAME != "$nodes-0" ]] || found="$me $redis_port"
    if ((SECONDS >= deadline)); then
      [[ -z $found ]] || break
      say "no Sentinel named the master within $master_timeout s"
      return 1
    elif [[ -z $found ]]; then
      say "waiting for a Sentinel that names the master"
    elif [[ $wait_for_election == true ]] && is_being_replaced "$said"; then
      say "waiting for the election of a master in place of ${found% *}"
      ((waited % 11)) || ask_sentinel 127.0.0.1 failover "$master_set" >&2 || true
    else
      break
    fi
    sleep 1
  done
  echo "$found"
}
