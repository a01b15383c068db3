"""External stores as the program configures them, on real servers with TLS: loaded and read, and nobody else is trusted."""

import hashlib
import os
import shutil
import subprocess

import pytest
import redis

from bench.ports import free_port
from feast_eks.contract import read_contract
from feast_eks.feature_store_yaml import feature_store_yaml
from feast_eks.identities import CLUSTER_CLIENT, IDENTITIES
from feast_eks.settings import parse_settings
from feast_eks.workload import FEATURE_REPO_PATH
from tests.waiting import wait_for

SUBJECT_NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1"


def openssl(directory, *arguments):
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def certificates(store_directory):
    """An authority, a server certificate of it, and another authority that signed nothing."""
    directory = store_directory / "certificates"
    directory.mkdir()
    for name in ("authority", "stranger"):
        openssl(directory, *f"req -x509 -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.pem -days 2 -subj /CN={name}".split())
    openssl(
        directory,
        *["req", "-newkey", "rsa:2048", "-nodes", "-keyout", "server.key", "-out", "server.csr", "-subj", "/CN=localhost"],
        "-addext",
        SUBJECT_NAMES,
    )
    openssl(
        directory,
        *[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            "authority.pem",
            "-CAkey",
            "authority.key",
            "-CAcreateserial",
            "-out",
            "server.pem",
            "-days",
            "2",
            "-copy_extensions",
            "copy",
        ],
    )
    return directory


@pytest.fixture(scope="module")
def database(postgres, certificates):
    """The registry's server, which takes TLS connections now too."""
    for name in ("server.pem", "server.key"):
        copy = postgres.data / name
        shutil.copy(certificates / name, copy)
        copy.chmod(0o600)
        os.chown(copy, postgres.data.stat().st_uid, postgres.data.stat().st_gid)
    with postgres.admin() as admin:
        for setting, value in (("ssl_cert_file", "server.pem"), ("ssl_key_file", "server.key"), ("ssl", "on")):
            admin.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
        admin.execute("SELECT pg_reload_conf()")
    yield postgres
    with postgres.admin() as admin:
        admin.execute("ALTER SYSTEM RESET ssl")
        admin.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="module", params=["redis", "cluster"])
def online_store(request, store_directory, certificates, acl_secrets):
    """A Redis that speaks TLS only, alone or as a cluster, with the users that somebody makes for the program."""
    port, directory = free_port(), store_directory / f"external-{request.param}"
    directory.mkdir()
    more = f" {CLUSTER_CLIENT}" if request.param == "cluster" else ""
    rules = {i.online_store_user: i.online_store_rules + more for i in IDENTITIES if i.online_store} | {"default": "~* &* +@all"}
    users = [f"user {user} on #{hashlib.sha256(acl_secrets[user].encode()).hexdigest()} {rule}" for user, rule in rules.items()]
    (directory / "users.acl").write_text("\n".join(users) + "\n")
    options = ["--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "", "--aclfile", str(directory / "users.acl")]
    options += ["--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificates / "authority.pem")]
    options += ["--tls-cert-file", str(certificates / "server.pem"), "--tls-key-file", str(certificates / "server.key")]
    if request.param == "cluster":
        options += ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", str(free_port())]
    server = subprocess.Popen(["redis-server", *options], cwd=directory, stdout=subprocess.DEVNULL)
    admin = redis.Redis(
        host="localhost", port=port, password=acl_secrets["default"], ssl=True, ssl_ca_certs=str(certificates / "authority.pem")
    )
    wait_for(admin.ping, redis.exceptions.ConnectionError)
    if request.param == "cluster":
        admin.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        wait_for(lambda: admin.get("any"), redis.exceptions.RedisError)
    yield {"type": request.param, "hosts": [f"localhost:{port}"], "ca_certificate": "authority.pem"}
    server.terminate()
    server.wait(10)


def configure(stores, directory, online_store):
    """What the program gives pods, with the certificates where this test has them."""
    values = {
        "cluster": {"eks_name": "somewhere"},
        "runtime_image": {"repository": "registry.example.com/feature-runtime"},
        "registry": {
            "mode": "external",
            "external": {
                "host": "localhost",
                "port": stores.postgres.port,
                "database": stores.database,
                "ca_certificate": "authority.pem",
            },
        },
        "online_store": {"mode": "external", "external": online_store},
    }
    (directory / "feature_repo").mkdir(exist_ok=True)
    (directory / "feature_repo" / "feature_store.yaml").write_text("project: employee_attrition\n")
    chosen = parse_settings(values, "dev", directory, secret_keys={"registry_admin", "online_store_users"})
    text = feature_store_yaml(chosen, read_contract(stores.repo))
    for name in ("registry-ca.pem", "online-store-ca.pem"):
        text = text.replace(f"{FEATURE_REPO_PATH}/{name}", str(directory / "authority.pem"))
    assert FEATURE_REPO_PATH not in text
    (stores.repo / "feature_store.yaml").write_text(text)


def trusting(authority):
    return {"REGISTRY_HOST": "localhost", "PGSSLMODE": "verify-full", "PGSSLROOTCERT": str(authority)}


def test_features_are_applied_loaded_and_read_through_verified_connections(stores, rows, midnight, database, certificates, online_store):
    stores.put(rows({101: midnight(1), 202: midnight(1)}))
    configure(stores, certificates, online_store)
    stores.prepare_registry(**trusting(certificates / "authority.pem")).ok()
    stores.apply().ok()
    stores.materialize("--backfill").ok()
    assert stores.online(101, 202)["salary_band"] == [2, 3]


@pytest.mark.parametrize("online_store", ["redis"], indirect=True)
def test_a_registry_of_another_authority_is_refused_at_once(stores, database, certificates, online_store):
    outcome = stores.prepare_registry(**trusting(certificates / "stranger.pem"))
    assert "certificate verify failed" in outcome.error
    assert outcome.seconds < 30, "it would not become trusted by waiting"


@pytest.mark.parametrize("online_store", ["redis"], indirect=True)
def test_a_registry_under_another_name_is_refused(stores, database, certificates, online_store):
    outcome = stores.prepare_registry(
        **trusting(certificates / "authority.pem") | {"REGISTRY_HOST": "db.example.com", "PGHOSTADDR": "127.0.0.1"}
    )
    assert 'does not match host name "db.example.com"' in outcome.error
    assert outcome.seconds < 30


@pytest.mark.parametrize("online_store", ["redis"], indirect=True)
def test_an_online_store_of_another_authority_gets_no_value(applied, certificates, database, online_store):
    configure(applied, certificates, online_store)
    config = applied.repo / "feature_store.yaml"
    config.write_text(config.read_text().replace(f"ssl_ca_certs={certificates}/authority.pem", f"ssl_ca_certs={certificates}/stranger.pem"))
    assert "certificate verify failed" in applied.materialize("--backfill").error


def test_a_cluster_s_users_may_do_no_more_than_others():
    dangerous = {"@all", "@admin", "@dangerous", "flushall", "config", "cluster"}
    assert not {f"+{word}" for word in dangerous} & set(CLUSTER_CLIENT.split())
