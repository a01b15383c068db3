#!/bin/bash
# Runs PostgreSQL on PGDATA as the environment of the Bitnami chart (or its stand-in) asks.
set -euo pipefail
umask 077
state=/opt/bitnami/postgresql/tmp
settings=(
  -c "listen_addresses=*"
  -c "port=$POSTGRESQL_PORT_NUMBER"
  -c unix_socket_directories=/tmp
  -c hot_standby=on
  -c wal_level=replica
  -c max_wal_senders=16
)
if [[ -d /bitnami/postgresql/conf/conf.d ]]; then
  settings+=(-c include_dir=/bitnami/postgresql/conf/conf.d)
fi
if [[ ${POSTGRES_REPLICATION_MODE:-master} == slave ]]; then
  password=${POSTGRES_REPLICATION_PASSWORD:-}
  [[ -z ${POSTGRES_REPLICATION_PASSWORD_FILE:-} ]] || password=$(< "$POSTGRES_REPLICATION_PASSWORD_FILE")
  printf '%s:%s:*:%s:%s\n' "$POSTGRES_MASTER_HOST" "$POSTGRES_MASTER_PORT_NUMBER" "$POSTGRES_REPLICATION_USER" \
    "$password" > /tmp/primary.pgpass
  touch "$PGDATA/standby.signal"
  primary="host=$POSTGRES_MASTER_HOST port=$POSTGRES_MASTER_PORT_NUMBER user=$POSTGRES_REPLICATION_USER"
  primary+=" passfile=/tmp/primary.pgpass application_name=${POSTGRES_CLUSTER_APP_NAME:-walreceiver}"
  settings+=(-c "primary_conninfo=$primary")
fi
touch "$state/.initialized" # the chart's readiness probe asks for it
exec postgres -D "$PGDATA" "${settings[@]}"
