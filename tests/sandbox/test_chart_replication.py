"""Redis with Sentinels and PostgreSQL with a read replica, as the program has them in production but small: what a failure costs.

The clients are Feast's own, with the program's users, in a pod of the runtime image.
"""

import json
import logging
import os
import re
import signal
import textwrap

import pytest

from feast_eks.addresses import MASTER_SET, online_store_domain, online_store_hosts
from feast_eks.identities import IDENTITIES, MATERIALIZE, SERVE, redis_acl, sha256_hex
from feast_eks.online_store import online_store_values, redis_configuration
from feast_eks.registry import registry_values
from feast_eks.settings import OnlineStoreSettings, RegistrySettings
from sandbox.image.recipes import PREFIX, RUNTIME, source_tag
from tests.sandbox.data_stores import IMAGE, Stores, redis_processes, restricted_namespace
from tests.waiting import wait_until

LOG = logging.getLogger(__name__)
"""`pytest --log-cli-level=info` shows what the failures cost."""

NAMESPACE = "chart-replication"
NODES = [f"feast-redis-node-{index}" for index in range(3)]
SMALL = {"image": IMAGE, "exporter_image": IMAGE, "storage_gib": 1, "cpu_millicores": 20, "memory_mib": 128, "spread": "preferred"}
ONLINE_STORE = OnlineStoreSettings(mode="sentinel", replicas=3, sentinel_image=IMAGE, **SMALL)
REGISTRY = RegistrySettings(mode="replication", read_replicas=1, **SMALL)

# Quotes, blanks and colons: a password is data to every script and file that it passes through.
PASSWORDS = {
    "redis": 'a"Default\\pass:word',
    "admin": "admin's $pass\"word",
    "owner": "owner's: pass\"word",
    "replication": "repl:\\'x y",
    MATERIALIZE.online_store_user: "write-me",
    SERVE.online_store_user: "read-me",
}
MOST_SECONDS_WITHOUT_A_MASTER = 15
"""2 s until it counts as down, the election, and up to 6 s where a killed process came back in the middle of it; a busy machine doubles that."""
LAST_MOMENTS_SECONDS = int(re.search(r"min-replicas-max-lag (\d+)", redis_configuration(ONLINE_STORE)).group(1))
"""Redis replicates asynchronously: what a master acknowledged before its replicas had it is lost with it, and this bounds it."""
LONGER_THAN_THE_LAST_MOMENTS = 60 * LAST_MOMENTS_SECONDS
"""Writes, of which there are at most fifty in a second."""

WRITER = """
    import json, sys, time
    from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

    def client(connection_string):
        config = RedisOnlineStoreConfig(redis_type="redis_sentinel", sentinel_master=sys.argv[1], connection_string=connection_string)
        return RedisOnlineStore()._get_client(config)

    writer, reader = client(sys.argv[2]), client(sys.argv[3])
    acknowledged, failures, errors, longest = {}, [], set(), 0
    quiet, first = float(sys.argv[4]), int(sys.argv[5])
    number, last = 0, time.monotonic()
    while not failures or time.monotonic() - failures[-1] < quiet:
        try:
            writer.hset("entity", f"field-{number}", number)
        except Exception as error:
            failures.append(time.monotonic())
            errors.add(type(error).__name__)
        else:
            longest, last = max(longest, time.monotonic() - last), time.monotonic()
            acknowledged[number] = last
            if len(acknowledged) == first:
                print("writing", flush=True)
                longest = 0
        number += 1
        time.sleep(0.02)
    kept = reader.hgetall("entity")
    lost = [each for each in acknowledged if kept.get(f"field-{each}".encode()) != str(each).encode()]
    # How long before the next failure each was acknowledged.
    lost = {each: min((failed - acknowledged[each] for failed in failures if failed > acknowledged[each]), default=None) for each in lost}
    print(json.dumps({"acknowledged": len(acknowledged), "lost": lost, "gap": longest, "errors": sorted(errors)}))
"""


def connection_string(user: str) -> str:
    """What the program gives Feast."""
    options = [f"username={user}", f"password={PASSWORDS[user]}", "socket_timeout=1", "socket_connect_timeout=1"]
    return ",".join([*online_store_hosts(ONLINE_STORE, NAMESPACE), *options])


class Replicated(Stores):
    """Three Redis nodes with Sentinels, a primary and a replica of PostgreSQL, and a client."""

    def start_all(self) -> None:
        users = {each.online_store_user for each in IDENTITIES if each.online_store}
        hashes = {user: sha256_hex(PASSWORDS.get(user, user)) for user in users} | {"default": sha256_hex(PASSWORDS["redis"])}
        registry = {"postgres-password": "admin", "password": "owner", "replication-password": "replication"}
        self.apply(
            self.secret("feast-redis-auth", {"redis-password": PASSWORDS["redis"]}),
            self.secret("feast-redis-acl", {"users.acl": redis_acl(hashes)}),
            self.secret("feast-postgresql-auth", {key: PASSWORDS[name] for key, name in registry.items()}),
            client_pod(),
        )
        self.install("redis", online_store_values(ONLINE_STORE, domain=online_store_domain(NAMESPACE), monitored_from="monitoring"))
        self.install("postgresql", registry_values(REGISTRY, monitored=True))
        self.wait("statefulset/feast-postgresql-primary", "statefulset/feast-postgresql-read", "statefulset/feast-redis-node")
        self.kubectl("wait", "--for=condition=Ready", "pod/client", "--timeout=120s")

    def container(self, pod: str, container: str, script: str, *, check: bool = True) -> str:
        return self.kubectl("exec", pod, f"--container={container}", "--", "bash", "-c", script, check=check)

    def redis(self, pod: str, *command: str) -> str:
        """What Redis answers; what kubectl says where no Redis runs."""
        login = 'REDISCLI_AUTH="$(< "$REDIS_PASSWORD_FILE")"'
        return self.container(pod, "redis", f"{login} redis-cli {' '.join(command)}", check=False)

    def masters(self) -> set[str]:
        """The nodes that the Sentinels name; those that do not answer are left out."""
        ask = f"redis-cli -p 26379 sentinel get-master-addr-by-name {MASTER_SET}"
        answers = [self.container(node, "sentinel", ask, check=False) for node in NODES]
        return {answer.split(".")[0] for answer in answers if answer.startswith(NODES[0][:-1])}

    def role(self, node: str) -> list[str]:
        return self.redis(node, "role").split()

    def sql(self, service: str, statement: str, user: str = "feast", password: str = PASSWORDS["owner"]) -> str:
        client = ["env", f"PGPASSWORD={password}", "psql", "-h", service, "-U", user, "-d", "feast", "-Atqc", statement]
        return self.ask("feast-postgresql-primary-0", *client, container="postgresql")

    def metrics(self, address: str) -> list[str]:
        read = f"import urllib.request; print(urllib.request.urlopen('http://{address}', timeout=5).read().decode())"
        return self.kubectl("exec", "client", "--", "python3", "-c", read).splitlines()

    def replicas_are_streaming(self) -> bool:
        roles = [self.role(node) for node in NODES]
        return sorted(role[0] for role in roles) == ["master", "slave", "slave"] and all(
            "connected" in role for role in roles if role[0] == "slave"
        )

    def start_writing(self, *, quiet: float, first: int = 50):
        """A client that writes until it has failed once and then not again for so many seconds; it has written the first when this returns."""
        strings = [connection_string(each.online_store_user) for each in (MATERIALIZE, SERVE)]
        writer = self.start("client", "--", "python3", "-u", "-c", textwrap.dedent(WRITER), MASTER_SET, *strings, str(quiet), str(first))
        assert writer.stdout.readline() == "writing\n", "the client never came to write"
        return writer


def client_pod() -> dict:
    restricted = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": True}
    image = f"{PREFIX}/feature-runtime:{source_tag(RUNTIME)}"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client", "namespace": NAMESPACE, "labels": {"feast-redis-client": "true"}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "command": ["sleep", "3600"],
                    "securityContext": restricted,
                    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
                }
            ],
            "volumes": [{"name": "tmp", "emptyDir": {}}],
        },
    }


@pytest.fixture(scope="module")
def stores(cloud):
    """Both charts with the program's values for production, but small and on one machine."""
    with restricted_namespace(Replicated(cloud, NAMESPACE)) as cluster:
        cluster.start_all()
        yield cluster


def test_a_set_that_is_ready_takes_writes(stores):
    """A replica is ready when it answers; without one that has its data, the master refuses writes."""
    wait_until(lambda: stores.redis(NODES[0], "set", "first", "write") == "OK", "a replica has the master's data")
    assert stores.masters() == {NODES[0]}
    assert [stores.role(node)[0] for node in NODES] == ["master", "slave", "slave"]


def test_a_row_written_to_the_primary_is_read_from_the_replica(stores):
    assert (
        stores.sql("feast-postgresql-primary", "create table streamed (i int); insert into streamed values (42); select 'done'") == "done"
    )
    wait_until(lambda: stores.sql("feast-postgresql-read", "select i from streamed") == "42", "the row reached the replica")
    state = "select usename, state from pg_stat_replication"
    assert stores.sql("feast-postgresql-primary", state, "postgres", PASSWORDS["admin"]) == "feast_replication|streaming"


def test_a_replica_of_postgresql_refuses_writes(stores):
    assert "cannot execute INSERT in a read-only transaction" in stores.sql("feast-postgresql-read", "insert into streamed values (1)")


def test_both_kinds_of_postgresql_run_with_the_settings_of_the_values(stores):
    shown = "select current_setting('wal_keep_size'), current_setting('hot_standby_feedback')"
    values = registry_values(REGISTRY)
    keep = re.search(r"wal_keep_size = (\w+)", values["primary"]["extendedConfiguration"]).group(1)
    assert stores.sql("feast-postgresql-primary", shown) == f"{keep}|off"
    assert stores.sql("feast-postgresql-read", shown).endswith("|on")


def test_a_replica_of_postgresql_goes_on_streaming_after_a_restart(stores):
    stores.replace("feast-postgresql-read-0", "statefulset/feast-postgresql-read")
    assert stores.sql("feast-postgresql-primary", "insert into streamed values (43); select 'done'") == "done"
    wait_until(lambda: stores.sql("feast-postgresql-read", "select max(i) from streamed") == "43", "the replica follows again")


def test_a_replica_of_postgresql_that_was_killed_while_it_was_cloned_is_cloned_again_without_its_claim(stores):
    """The image takes what is there for a database; the runbook deletes claim and pod."""
    pod = "feast-postgresql-read-0"
    stores.container(pod, "postgresql", 'rm "$PGDATA/global/pg_control" && kill -QUIT 1', check=False)
    log = ("logs", pod, "--container=postgresql")
    wait_until(lambda: "could not open file" in stores.kubectl(*log, check=False), "the log says what is missing")
    stores.kubectl("delete", "persistentvolumeclaim", f"data-{pod}", "--wait=false")
    stores.replace(pod, "statefulset/feast-postgresql-read")
    wait_until(lambda: stores.sql("feast-postgresql-read", "select max(i) from streamed") == "43", "the replica follows again")


def test_the_exporters_measure_what_the_alerts_ask_for(stores):
    redis = [stores.metrics(f"{node}.feast-redis-headless:9121/metrics") for node in NODES]
    assert all("redis_up 1" in lines for lines in redis)
    assert sum('role="master"' in line for lines in redis for line in lines if line.startswith("redis_instance_info")) == 1
    assert any(line.startswith("redis_memory_max_bytes ") and float(line.split()[1]) > 0 for line in redis[0])
    sentinel = stores.metrics(f"{NODES[1]}.feast-redis-headless:9121/scrape?target=redis://localhost:26379")
    assert any(
        line.startswith(f'redis_sentinel_master_ckquorum_status{{master_name="{MASTER_SET}"') and line.endswith(" 1") for line in sentinel
    )
    for service, is_replica in (("feast-postgresql-primary", 0), ("feast-postgresql-read", 1)):
        lines = stores.metrics(f"{service}-metrics:9187/metrics")
        assert "pg_up 1" in lines
        assert any(line.startswith("pg_replication_is_replica") and line.endswith(f" {is_replica}") for line in lines)
        assert any(line.startswith("pg_replication_lag_seconds") for line in lines)


def test_a_command_that_is_disabled_exists_on_no_node(stores):
    for node in NODES:
        assert "unknown command" in stores.redis(node, "eval", "'return 1'", "0"), f"{node} still has it"


@pytest.mark.parametrize("pod", [NODES[0], "feast-postgresql-primary-0", "feast-postgresql-read-0"])
def test_no_password_is_in_the_arguments_the_environment_or_the_log_of_any_container(stores, pod):
    names = stores.kubectl("get", "pod", pod, "--output=jsonpath={.spec.containers[*].name}").split()
    for name in names:
        seen = stores.container(pod, name, "cat /proc/[0-9]*/cmdline /proc/1/environ | tr '\\0' '\\n'")
        assert re.search("redis-server|redis-sentinel|redis_exporter|postgres", seen), "nothing was seen at all"
        seen += stores.kubectl("logs", pod, f"--container={name}")
        for password in PASSWORDS.values():
            assert password not in seen, f"container {name}"


def test_redis_buries_its_dead(stores):
    """Redis is process 1 of its container: what a probe leaves behind is its to reap, and delays every copy to a replica."""
    dead = "n=0; for f in /proc/[0-9]*/stat; do read -r _ _ state _ < $f; [[ $state == Z ]] && n=$((n+1)); done; echo $n"
    assert int(stores.container(NODES[0], "redis", dead)) < 5


def test_a_killed_master_is_replaced_and_only_what_it_took_in_its_last_moments_can_be_lost(stores):
    writer = stores.start_writing(quiet=4, first=LONGER_THAN_THE_LAST_MOMENTS)
    (master,) = stores.masters()
    pod = stores.uid(master)
    killed = 0

    def is_replaced() -> bool:
        nonlocal killed
        for process in redis_processes(pod):  # once more where the kubelet was faster than the Sentinels, as a dead machine stays dead
            os.kill(process, signal.SIGKILL)
            killed += 1
        return stores.masters() not in ({master}, set())

    wait_until(is_replaced, "another master took over", seconds=MOST_SECONDS_WITHOUT_A_MASTER)
    said = json.loads(writer.communicate(timeout=60)[0].splitlines()[-1])
    LOG.info("killed %d processes; %s", killed, said)
    assert killed, "no process was found to kill"
    assert said["errors"], "the client noticed nothing: something else was killed"
    assert all(moments is not None and moments < LAST_MOMENTS_SECONDS for moments in said["lost"].values()), said
    assert said["gap"] < MOST_SECONDS_WITHOUT_A_MASTER
    wait_until(lambda: stores.role(master)[0] == "slave", "the old master came back as a replica")
    stores.wait("statefulset/feast-redis-node")
    wait_until(stores.replicas_are_streaming, "the replicas follow the new master")


def test_a_master_that_is_stopped_hands_over_first(stores):
    (master,) = stores.masters()
    writer = stores.start_writing(quiet=4)
    stores.replace(master, "statefulset/feast-redis-node")
    said = json.loads(writer.communicate(timeout=60)[0].splitlines()[-1])
    LOG.info("%s", said)
    assert said["lost"] == {}
    assert said["gap"] < MOST_SECONDS_WITHOUT_A_MASTER
    assert stores.masters() != {master}
    wait_until(stores.replicas_are_streaming, "the replicas follow the new master")
