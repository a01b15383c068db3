"""Redis and PostgreSQL as the stand-in charts run them: who may do what, and what survives."""

import hashlib
import time

import pytest

from feast_eks.online_store import online_store_values
from feast_eks.registry import registry_values
from feast_eks.settings import OnlineStoreSettings, RegistrySettings
from tests.sandbox.data_stores import IMAGE, Stores, restricted_namespace
from tests.waiting import wait_until

SMALL = {"image": IMAGE, "storage_gib": 1, "cpu_millicores": 20, "memory_mib": 128}

# Quotes and blanks: a password is data to every script that it passes through.
REDIS_PASSWORD = 'a"Default\\pass word'
ADMIN_PASSWORD = "admin's $pass\"word"
OWNER_PASSWORD = "owner's pass\"word"


def acl_line(user: str, password: str, rules: str) -> str:
    return f"user {user} on #{hashlib.sha256(password.encode()).hexdigest()} {rules}"


REDIS_USERS = [
    acl_line("default", REDIS_PASSWORD, "~* &* +@all"),
    acl_line("reader", "read-me", "~* -@all +@read +@connection"),
    acl_line("writer", "write-me", "~* -@all +@read +@write +@connection"),
]
REGISTRY_PASSWORDS = {"postgres-password": ADMIN_PASSWORD, "password": OWNER_PASSWORD, "replication-password": "unused"}


class Standalone(Stores):
    """One Redis and one PostgreSQL."""

    def redis(self, *command: str, user: str = "default", password: str | None = REDIS_PASSWORD) -> str:
        """What Redis answers to a client that comes through the Service."""
        login = [f"REDISCLI_AUTH={password}"] if password is not None else []
        who = ["--user", user] if password is not None else []
        return self.ask("feast-redis-master-0", "env", *login, "redis-cli", "-h", "feast-redis-master", *who, *command)

    def sql(self, statement: str, user: str = "feast", password: str = OWNER_PASSWORD, database: str = "feast") -> str:
        """What PostgreSQL answers to a client that comes through the Service."""
        client = ["psql", "-h", "feast-postgresql", "-U", user, "-d", database, "-Atqc", statement]
        return self.ask("feast-postgresql-0", "env", f"PGPASSWORD={password}", *client)


@pytest.fixture(scope="module")
def stores(cloud):
    """Both charts with the program's own values."""
    with restricted_namespace(Standalone(cloud, "chart-tests")) as cluster:
        cluster.apply(
            cluster.secret("feast-redis-auth", {"redis-password": REDIS_PASSWORD}),
            cluster.secret("feast-redis-acl", {"users.acl": "\n".join([*REDIS_USERS, ""])}),
            cluster.secret("feast-postgresql-auth", REGISTRY_PASSWORDS),
        )
        cluster.install("redis", online_store_values(OnlineStoreSettings(**SMALL)))
        cluster.install("postgresql", registry_values(RegistrySettings(**SMALL)))
        cluster.wait("statefulset/feast-redis-master", "statefulset/feast-postgresql")
        yield cluster


def test_redis_answers_nobody_without_the_password(stores):
    assert stores.redis("ping") == "PONG"
    assert "NOAUTH" in stores.redis("ping", password=None)
    assert "WRONGPASS" in stores.redis("ping", password="guess")


def test_a_reader_cannot_write_and_a_writer_cannot_administer(stores):
    assert stores.redis("set", "key", "value", user="writer", password="write-me") == "OK"
    assert stores.redis("get", "key", user="reader", password="read-me") == "value"
    assert "NOPERM" in stores.redis("set", "key", "other", user="reader", password="read-me")
    assert "NOPERM" in stores.redis("config", "get", "maxmemory", user="writer", password="write-me")
    assert "NOPERM" in stores.redis("acl", "list", user="writer", password="write-me")


def test_disabled_commands_do_not_exist_even_for_the_default_user(stores):
    assert "unknown command" in stores.redis("flushall")
    assert "unknown command" in stores.redis("eval", "return 1", "0")


def test_redis_runs_with_the_configuration_of_the_values(stores):
    assert stores.redis("config", "get", "maxmemory").split() == ["maxmemory", str(76 << 20)]
    assert stores.redis("config", "get", "maxmemory-policy").split() == ["maxmemory-policy", "noeviction"]
    assert stores.redis("config", "get", "appendonly").split() == ["appendonly", "yes"]


@pytest.mark.parametrize(
    ("pod", "secrets"), [("feast-redis-master-0", [REDIS_PASSWORD]), ("feast-postgresql-0", [ADMIN_PASSWORD, OWNER_PASSWORD])]
)
def test_no_password_is_in_the_arguments_the_environment_or_the_log_of_a_server(stores, pod, secrets):
    seen = stores.inside(pod, "cat /proc/[0-9]*/cmdline /proc/1/environ | tr '\\0' '\\n'") + stores.kubectl("logs", pod)
    assert "redis-server" in seen or "postgres" in seen, "nothing was seen at all"
    for password in secrets:
        assert password not in seen


def test_the_owner_owns_the_database_and_the_schema_and_is_no_superuser(stores):
    assert stores.sql("select current_user, rolcreatedb, rolsuper from pg_roles where rolname = current_user") == "feast|t|f"
    assert stores.sql("create table mine (i int); drop table mine; select 'done'") == "done"
    owners = "select datdba::regrole from pg_database where datname = 'feast'; select nspowner::regrole from pg_namespace where nspname = 'public'"
    assert stores.sql(owners, user="postgres", password=ADMIN_PASSWORD).split() == ["feast", "feast"]
    assert stores.sql("select rolsuper from pg_roles where rolname = current_user", "postgres", ADMIN_PASSWORD, "postgres") == "t"


def test_postgresql_takes_no_connection_without_the_right_password(stores):
    assert "password authentication failed" in stores.sql("select 1", password="guess")
    on_the_socket = stores.inside("feast-postgresql-0", "psql -w -h /tmp -U postgres -c 'select 1'", check=False)
    assert "no password supplied" in on_the_socket, "who gets into the pod is not the superuser yet"
    assert stores.sql("select encoding = 6, datcollate from pg_database where datname = 'feast'") == "t|C.UTF-8"


@pytest.mark.parametrize("pod", ["feast-redis-master-0", "feast-postgresql-0"])
def test_the_processes_are_nobody_in_particular(stores, pod):
    assert stores.inside(pod, "id -u") == "1001"
    assert "Read-only file system" in stores.inside(pod, "touch /file", check=False)
    assert stores.inside(pod, "grep CapEff /proc/1/status").split() == ["CapEff:", "0" * 16]
    assert stores.inside(pod, "grep NoNewPrivs /proc/1/status").split() == ["NoNewPrivs:", "1"]
    assert stores.inside(pod, "ls /var/run/secrets/kubernetes.io 2>&1 || true").endswith("No such file or directory")


def test_redis_keeps_its_data_when_its_pod_is_deleted_and_when_it_is_killed(stores):
    assert stores.redis("set", "kept", "yes") == "OK"
    stopped = stores.replace("feast-redis-master-0", "statefulset/feast-redis-master")
    assert stopped < 15, "the stop has to be a graceful one, not a kill after the grace period"
    assert stores.redis("get", "kept") == "yes"
    assert stores.redis("set", "kept", "still") == "OK"
    time.sleep(1.5)  # appendfsync everysec
    stores.replace("feast-redis-master-0", "statefulset/feast-redis-master", "--force", "--grace-period=0")
    assert stores.redis("get", "kept") == "still"


def test_postgresql_keeps_its_data_and_stops_at_once_even_with_a_client_connected(stores):
    assert stores.sql("create table if not exists kept (i int); insert into kept values (42); select 'done'") == "done"
    stores.inside("feast-postgresql-0", "PGPASSWORD=$(cat /opt/bitnami/postgresql/secrets/password) "
                  "psql -h 127.0.0.1 -U feast -d feast -c 'select pg_sleep(600)' > /dev/null 2>&1 & sleep 1")  # fmt: skip
    stopped = stores.replace("feast-postgresql-0", "statefulset/feast-postgresql")
    assert stopped < 15, "a client that stays connected must not hold up the stop"
    assert stores.sql("select i from kept") == "42"
    stores.replace("feast-postgresql-0", "statefulset/feast-postgresql", "--force", "--grace-period=0")
    assert stores.sql("select i from kept") == "42"


def test_what_a_killed_start_left_is_taken_for_a_database_until_its_claim_is_deleted(stores):
    """As Bitnami's image does. Last: it takes the database away."""
    pod = "feast-postgresql-0"
    stores.inside(pod, 'touch "$PGDATA/left" && rm "$PGDATA/PG_VERSION" && kill -QUIT 1', check=False)
    wait_until(lambda: "is not a valid data directory" in stores.kubectl("logs", pod, check=False), "the log says what is there")
    stores.kubectl("delete", "persistentvolumeclaim", f"data-{pod}", "--wait=false")
    stores.replace(pod, "statefulset/feast-postgresql")
    assert stores.sql("select 'whole'") == "whole"
    assert "No such file or directory" in stores.inside(pod, 'ls "$PGDATA/left"', check=False)
