#!/bin/bash
# Turns the environment that the Bitnami PostgreSQL chart (or its stand-in) sets into a database in PGDATA, then runs
# its arguments (run.sh). As in the Bitnami image, a directory with anything in it is taken for a database: one that was
# killed while it was made or cloned does not start until its claim and its pod are deleted.
# In the charts' exporter container the same image is asked for metrics instead.
set -euo pipefail
umask 077

# The value of a secret, from the file that NAME_FILE names or from NAME itself.
secret() {
  local file=${1}_FILE
  if [[ -n ${!file:-} ]]; then cat "${!file}"; else printf %s "${!1:-}"; fi
}

# A password file for user $1 with password $2, which may contain what the file's format uses.
password_file() {
  local password=${2//\\/\\\\}
  printf '*:*:*:%s:%s\n' "$1" "${password//:/\\:}"
}

if [[ -n ${DATA_SOURCE_URI:-} ]]; then
  # Not as the exporter would have it: it puts the password into an address, and the address into its log.
  export PGPASSFILE=/dev/shm/exporter.pgpass
  password_file "$DATA_SOURCE_USER" "$(secret DATA_SOURCE_PASS)" > "$PGPASSFILE"
  export DATA_SOURCE_NAME="postgresql://$DATA_SOURCE_USER@$DATA_SOURCE_URI"
  export PG_EXPORTER_EXTEND_QUERY_PATH=${BASH_SOURCE%/*}/exporter-queries.yaml
  exec prometheus-postgres-exporter
fi

shopt -s nullglob dotglob

: "${PGDATA:=/bitnami/postgresql/data}" "${POSTGRESQL_PORT_NUMBER:=5432}"
export PGDATA POSTGRESQL_PORT_NUMBER

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

initialize() {
  local socket admin=POSTGRES_POSTGRES_PASSWORD user=${POSTGRES_USER:-postgres}
  [[ $user == postgres ]] && admin=POSTGRES_PASSWORD
  say "making a new database in $PGDATA"
  initdb --pgdata="$PGDATA" --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync > /dev/null
  {
    printf '%s\n' 'local all         all     scram-sha-256'
    printf '%s\n' 'host  all         all all scram-sha-256'
    [[ -z ${POSTGRES_REPLICATION_USER:-} ]] || printf '%s\n' 'host  replication all all scram-sha-256'
  } > "$PGDATA/pg_hba.conf"
  socket=$(mktemp --directory)
  echo 'local all all trust' > "$socket/pg_hba.conf"
  pg_ctl --pgdata="$PGDATA" --wait --silent --log=/dev/stderr \
    -o "-c listen_addresses='' -c unix_socket_directories='$socket' -c hba_file='$socket/pg_hba.conf'" \
    -o "-c logging_collector=off -c fsync=off" start
  # Names and passwords go through the environment: arguments would show in every process list.
  ask() { psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --host="$socket" --username=postgres "$@"; }
  ADMIN_PASSWORD=$(secret "$admin") ask <<'SQL'
\getenv password ADMIN_PASSWORD
ALTER ROLE postgres PASSWORD :'password';
SQL
  if [[ $user != postgres ]]; then
    NAME=$user PASSWORD=$(secret POSTGRES_PASSWORD) ask <<'SQL'
\getenv name NAME
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN CREATEDB PASSWORD :'password';
SQL
  fi
  if [[ -n ${POSTGRES_DATABASE:-} && $POSTGRES_DATABASE != postgres ]]; then
    NAME=$user DATABASE=$POSTGRES_DATABASE ask <<'SQL'
\getenv name NAME
\getenv database DATABASE
CREATE DATABASE :"database" OWNER :"name";
\connect :"database"
ALTER SCHEMA public OWNER TO :"name";
SQL
  fi
  if [[ -n ${POSTGRES_REPLICATION_USER:-} ]]; then
    NAME=$POSTGRES_REPLICATION_USER PASSWORD=$(secret POSTGRES_REPLICATION_PASSWORD) ask <<'SQL'
\getenv name NAME
\getenv password PASSWORD
CREATE ROLE :"name" LOGIN REPLICATION PASSWORD :'password';
SQL
  fi
  pg_ctl --pgdata="$PGDATA" --wait --silent --mode=fast stop
  rm -r "$socket"
}

# Asks once a second until it succeeds; after a minute the container gives up and is started again.
insist() {
  local left=60
  until "$@"; do
    ((left-- > 0)) || { say "gave up: $1"; exit 1; }
    sleep 1
  done
}

clone_primary() {
  local from="$PRIMARY tcp_user_timeout=20000 keepalives_idle=5 keepalives_interval=5"
  say "waiting for the primary at $POSTGRES_MASTER_HOST"
  insist pg_isready --quiet --dbname="$PRIMARY"
  # Without --checkpoint=fast, as in the Bitnami image: the primary takes minutes for the checkpoint if much was written.
  say "cloning the primary at $POSTGRES_MASTER_HOST"
  insist pg_basebackup --dbname="$from" --no-password --pgdata="$PGDATA" --wal-method=stream --no-sync
}

if [[ ${POSTGRES_REPLICATION_MODE:-master} == slave ]]; then
  passwords=/tmp/primary.pgpass
  password_file "$POSTGRES_REPLICATION_USER" "$(secret POSTGRES_REPLICATION_PASSWORD)" > "$passwords"
  # A primary that starts or stops can leave a connection that nobody answers: try again rather than wait for minutes.
  export PRIMARY="host=$POSTGRES_MASTER_HOST port=$POSTGRES_MASTER_PORT_NUMBER user=$POSTGRES_REPLICATION_USER passfile=$passwords"
  PRIMARY+=" connect_timeout=5"
fi

contents=("$PGDATA"/*)
if ((${#contents[@]} > 0)); then
  say "using the database in $PGDATA"
  rm -f "$PGDATA/postmaster.pid" # of a container that was killed: its number may be another process' now
else
  if [[ ${POSTGRES_REPLICATION_MODE:-master} == slave ]]; then clone_primary; else initialize; fi
  sync --file-system "$PGDATA" # once for all of its files
fi
exec "$@"
