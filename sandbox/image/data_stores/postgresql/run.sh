#!/bin/bash
# Runs PostgreSQL on PGDATA as the environment of the Bitnami chart (or its stand-in) asks. The chart's own settings come
# last, so that they win.
set -euo pipefail
umask 077
directory=/opt/bitnami/postgresql
settings=$directory/conf/postgresql.conf

# A value between quotes, as a settings file wants it.
quoted() { printf "'%s'" "${1//\'/\'\'}"; }

{
  cat <<END
include '$PGDATA/postgresql.conf'
listen_addresses = '*'
port = $POSTGRESQL_PORT_NUMBER
unix_socket_directories = '/tmp'
hot_standby = on
wal_level = replica
max_wal_senders = 16
wal_keep_size = 128MB
END
  if [[ ${POSTGRES_REPLICATION_MODE:-master} == slave ]]; then
    primary="$PRIMARY application_name=${POSTGRES_CLUSTER_APP_NAME:-walreceiver}" # PRIMARY comes from entrypoint.sh
    printf 'primary_conninfo = %s\n' "$(quoted "$primary")"
  elif ((${POSTGRES_NUM_SYNCHRONOUS_REPLICAS:-0} > 0)); then
    printf 'synchronous_commit = %s\n' "${POSTGRES_SYNCHRONOUS_COMMIT_MODE:-on}"
    printf 'synchronous_standby_names = %s\n' \
      "$(quoted "$POSTGRES_NUM_SYNCHRONOUS_REPLICAS (\"$POSTGRES_CLUSTER_APP_NAME\")")"
  fi
  if [[ -d /bitnami/postgresql/conf/conf.d ]]; then
    echo "include_dir '/bitnami/postgresql/conf/conf.d'"
  fi
} > "$settings"

if [[ ${POSTGRES_REPLICATION_MODE:-master} == slave ]]; then
  touch "$PGDATA/standby.signal"
fi
touch "$directory/tmp/.initialized" # the chart's readiness probe asks for it
exec postgres -D "$PGDATA" -c "config_file=$settings"
