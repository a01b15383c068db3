#!/bin/bash
# Turns the environment that the Bitnami PostgreSQL chart (or its stand-in) sets into a database in PGDATA, then runs
# its arguments (run.sh). A new database grows in a directory beside PGDATA and gets its name when it is complete:
# whatever kills this script, the next start finds either a whole database or none.
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
unfinished=$PGDATA.unfinished

say() { printf '%s %s\n' "$(date +%T)" "$*" >&2; }

initialize() {
  local socket=$unfinished/socket admin=POSTGRES_POSTGRES_PASSWORD user=${POSTGRES_USER:-postgres}
  [[ $user == postgres ]] && admin=POSTGRES_PASSWORD
  say "making a new database in $PGDATA"
  initdb --pgdata="$unfinished" --username=postgres --auth=trust --encoding=UTF8 --locale=C.UTF-8 --no-sync > /dev/null
  mkdir "$socket"
  pg_ctl --pgdata="$unfinished" --wait --silent --log=/dev/stderr \
    -o "-c listen_addresses='' -c unix_socket_directories='$socket' -c logging_collector=off -c fsync=off" start
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
  pg_ctl --pgdata="$unfinished" --wait --silent --mode=fast stop
  rmdir "$socket"
  {
    printf '%s\n' 'local all         all     scram-sha-256'
    printf '%s\n' 'host  all         all all scram-sha-256'
    [[ -z ${POSTGRES_REPLICATION_USER:-} ]] || printf '%s\n' 'host  replication all all scram-sha-256'
  } > "$unfinished/pg_hba.conf"
}

clone_primary() {
  local from="$PRIMARY tcp_user_timeout=20000 keepalives_idle=5 keepalives_interval=5"
  say "cloning the primary at $POSTGRES_MASTER_HOST"
  until pg_basebackup --dbname="$from" --no-password --pgdata="$unfinished" --wal-method=stream --checkpoint=fast --no-sync; do
    rm -rf "$unfinished"
    sleep 1
  done
}

if [[ ${POSTGRES_REPLICATION_MODE:-master} == slave ]]; then
  passwords=/tmp/primary.pgpass
  password_file "$POSTGRES_REPLICATION_USER" "$(secret POSTGRES_REPLICATION_PASSWORD)" > "$passwords"
  # A primary that starts or stops can leave a connection that nobody answers: try again rather than wait for minutes.
  export PRIMARY="host=$POSTGRES_MASTER_HOST port=$POSTGRES_MASTER_PORT_NUMBER user=$POSTGRES_REPLICATION_USER passfile=$passwords"
  PRIMARY+=" connect_timeout=5"
fi

if [[ -s $PGDATA/PG_VERSION ]]; then
  say "using the database in $PGDATA"
else
  contents=("$PGDATA"/*)
  if ((${#contents[@]} > 0)); then
    say "$PGDATA is neither empty nor a database: empty it, or mount another volume"
    exit 1
  fi
  rm -rf "$unfinished"
  if [[ ${POSTGRES_REPLICATION_MODE:-master} == slave ]]; then clone_primary; else initialize; fi
  sync --file-system "$unfinished" # once for all of its files
  [[ ! -d $PGDATA ]] || rmdir "$PGDATA"
  mv "$unfinished" "$PGDATA"
fi
exec "$@"
