"""Database roles: each can log in, and do what its row of the table says, and nothing else."""

import psycopg
import pytest


def connect(stores, role, secret):
    return psycopg.connect(host="127.0.0.1", port=stores.postgres.port, user=role, password=secret, dbname=stores.database, autocommit=True)


def test_it_makes_what_is_missing_and_can_be_run_again(stores, secrets):
    first = stores.prepare_registry().ok()
    assert first["database"] == stores.database
    second = stores.prepare_registry().ok()
    assert second["created"] == []
    connect(stores, "feast_check", secrets["CHECK"]).close()


def test_a_changed_password_takes_effect(stores, secrets):
    stores.prepare_registry().ok()
    stores.prepare_registry(CHECK_PASSWORD="pAnotherSecret0123456789").ok()
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        connect(stores, "feast_check", secrets["CHECK"])
    connect(stores, "feast_check", "pAnotherSecret0123456789").close()
    stores.prepare_registry().ok()


def test_the_owner_sees_what_the_exporter_asks_for_and_readers_do_not(stores, secrets):
    stores.prepare_registry().ok()
    with stores.postgres.admin() as admin:
        rows = dict(
            admin.execute("SELECT rolname, pg_has_role(oid, 'pg_monitor', 'USAGE') FROM pg_roles WHERE rolname LIKE 'feast%'").fetchall()
        )
    assert rows.pop("feast"), "pg_stat_replication has no states for whoever is not in pg_monitor"
    assert rows
    assert not any(rows.values()), rows


def test_passwords_reach_the_server_only_as_verifiers(stores, secrets):
    with stores.postgres.admin() as admin:
        admin.execute("ALTER SYSTEM SET log_statement = 'all'")
        admin.execute("SELECT pg_reload_conf()")
    stores.prepare_registry().ok()
    with stores.postgres.admin() as admin:
        admin.execute("ALTER SYSTEM RESET log_statement")
        admin.execute("SELECT pg_reload_conf()")
    log = (stores.postgres.data / "log").read_text()
    assert "ALTER ROLE" in log, "the log must hold the statements, or this test proves nothing"
    assert not [name for name, secret in secrets.items() if secret in log]


def test_a_wrong_administrator_password_is_refused_at_once_with_the_remedy(stores):
    outcome = stores.prepare_registry(REGISTRY_ADMIN_PASSWORD="pWrongSecret0123456789abcdef")
    assert "refused the user 'postgres'" in outcome.error
    assert "volume" in outcome.error
    assert outcome.seconds < 30


def test_a_missing_variable_is_named(stores):
    assert "REGISTRY_HOST" in stores.prepare_registry(REGISTRY_HOST="").error


def test_a_role_with_administrators_rights_is_refused(stores):
    stores.prepare_registry().ok()
    with stores.postgres.admin() as admin:
        admin.execute("ALTER ROLE feast_serve CREATEDB")
    try:
        assert "feast_serve have administrator's rights" in stores.prepare_registry().error
    finally:
        with stores.postgres.admin() as admin:
            admin.execute("ALTER ROLE feast_serve NOCREATEDB")


@pytest.mark.parametrize(
    ("role", "secret", "forbidden"),
    [
        ("feast_serve", "SERVE", "UPDATE feature_views SET last_updated_timestamp = 0"),
        ("feast_serve", "SERVE", "INSERT INTO feast_metadata VALUES ('p', 'k', 'v', 0)"),
        ("feast_serve", "SERVE", "CREATE TABLE mine (a int)"),
        ("feast_check", "CHECK", "DELETE FROM entities"),
        ("feast_materialize", "MATERIALIZE", "CREATE TABLE mine (a int)"),
        ("feast_materialize", "MATERIALIZE", "DROP TABLE feature_views"),
        ("feast_materialize", "MATERIALIZE", "DELETE FROM feature_views"),
        ("feast_materialize", "MATERIALIZE", "UPDATE feature_views SET last_updated_timestamp = 0"),
        ("feast_materialize", "MATERIALIZE", "UPDATE entities SET last_updated_timestamp = 0"),
        ("feast_materialize", "MATERIALIZE", "INSERT INTO feature_views VALUES ('v', 'p', 0, '', '', '')"),
    ],
)
def test_a_role_may_not(applied, secrets, role, secret, forbidden):
    with (
        connect(applied, role, secrets[secret]) as connection,
        pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.UndefinedColumn)) as caught,
    ):
        connection.execute(forbidden)
    assert isinstance(caught.value, psycopg.errors.InsufficientPrivilege), caught.value


def test_everybody_may_read(applied, secrets):
    for role, secret in (("feast_serve", "SERVE"), ("feast_check", "CHECK"), ("feast_materialize", "MATERIALIZE")):
        with connect(applied, role, secrets[secret]) as connection:
            assert connection.execute("SELECT count(*) FROM feature_views").fetchone() == (1,)


def test_what_an_earlier_version_granted_is_taken_away(applied):
    with applied.postgres.admin(applied.database) as admin:
        admin.execute("GRANT UPDATE ON feature_views, feast_metadata TO feast_materialize")
    applied.prepare_registry().ok()
    granted = "SELECT DISTINCT privilege_type FROM information_schema.role_table_grants WHERE grantee = 'feast_materialize'"
    assert applied.registry_rows(granted) == [("SELECT",)]


def test_a_reader_may_not_even_make_a_temporary_table(stores, secrets):
    stores.prepare_registry().ok()
    with connect(stores, "feast_check", secrets["CHECK"]) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute("CREATE TEMPORARY TABLE mine (a int)")


def test_another_user_of_the_server_may_not_even_connect(applied):
    applied.prepare_registry().ok()
    with applied.postgres.admin() as admin:
        admin.execute("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    try:
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            connect(applied, "stranger", "x")
    finally:
        with applied.postgres.admin() as admin:
            admin.execute("DROP ROLE stranger")
