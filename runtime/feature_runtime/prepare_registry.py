"""Create or alter the database roles of the registry and what each may do; running it again changes nothing.

The owner owns the tables. Materialization, serving and checking may connect and read, and nothing else. Passwords leave
this process only as SCRAM verifiers. How far the server is trusted is said in the variables of PostgreSQL's own library:
`PGSSLMODE`, `PGSSLROOTCERT`.
"""

import argparse
from typing import Any

import psycopg
from psycopg import sql

from feature_runtime.refusal import Refusal
from feature_runtime.retrying import PERMANENT, first_line, with_retries
from feature_runtime.settings import DatabaseRole, RegistrySettings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How long a registry that is away is waited for; everything else comes from the environment."""
    parser.add_argument("--wait-seconds", type=float, default=90, help="for a registry that is away (90)")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the roles; the result names them."""
    settings = RegistrySettings.from_environment()
    readers = [settings.materialize, settings.serve, settings.check]

    def connect(role: DatabaseRole, database: str) -> psycopg.Connection:
        return _connect(settings, role, database, arguments.wait_seconds)

    with connect(settings.admin, "postgres") as admin:
        created = [role.name for role in [settings.owner, *readers] if _create_or_alter(admin, role)]
        _create_database(admin, settings)
        _refuse_powerful(admin, readers)
    with connect(settings.admin, settings.database) as admin:
        _grant_as_admin(admin, settings, readers)
    with connect(settings.owner, settings.database) as owner:
        _grant_as_owner(owner, readers)
    # The last proof: each of them can log in with its password.
    for role in readers:
        connect(role, settings.database).close()
    return {
        "database": settings.database,
        "owner": settings.owner.name,
        "readers": [r.name for r in readers],
        "created": created,
    }


def _connect(settings: RegistrySettings, role: DatabaseRole, database: str, wait_seconds: float) -> psycopg.Connection:
    def connect() -> psycopg.Connection:
        return psycopg.connect(
            host=settings.host,
            port=settings.port,
            dbname=database,
            user=role.name,
            password=role.password,
            connect_timeout=5,
            application_name="feast-eks prepare-registry",
        )

    try:
        return with_retries(
            f"connecting to {settings.host}:{settings.port}/{database} as {role.name}",
            connect,
            seconds=wait_seconds,
            transient=lambda error: isinstance(error, psycopg.OperationalError) and not any(words in str(error) for words in PERMANENT),
        )
    except psycopg.OperationalError as error:
        raise Refusal(
            f"the registry at {settings.host}:{settings.port} refused the user {role.name!r}: {first_line(error)}. "
            "A database keeps the password it was first started with: does this Secret belong to its volume, or to this server?"
        ) from None


def _create_or_alter(admin: psycopg.Connection, role: DatabaseRole) -> bool:
    """Make sure that the role exists and logs in with its password; whether it was created."""
    exists = admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role.name]).fetchone()
    if not exists:
        admin.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role.name)))
    # The server's log may hold statements: it sees a verifier, never the password.
    verifier = admin.pgconn.encrypt_password(role.password.encode(), role.name.encode(), b"scram-sha-256").decode()
    admin.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(role.name), sql.Literal(verifier)))
    admin.commit()
    return not exists


def _create_database(admin: psycopg.Connection, settings: RegistrySettings) -> None:
    if admin.execute("SELECT 1 FROM pg_database WHERE datname = %s", [settings.database]).fetchone():
        return
    admin.commit()
    admin.autocommit = True
    database, owner = sql.Identifier(settings.database), sql.Identifier(settings.owner.name)
    # A managed database's administrator may only give away what it may become.
    admin.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(owner))
    admin.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, owner))
    admin.autocommit = False


def _refuse_powerful(admin: psycopg.Connection, readers: list[DatabaseRole]) -> None:
    names = [role.name for role in readers]
    rows = admin.execute(
        "SELECT rolname FROM pg_roles WHERE rolname = ANY(%s)"
        " AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls)",
        [names],
    ).fetchall()
    if rows:
        raise Refusal(
            f"the database roles {', '.join(row[0] for row in rows)} have administrator's rights, but may only read. "
            "Take them away (ALTER ROLE … NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS), or name others."
        )


def _grant_as_admin(admin: psycopg.Connection, settings: RegistrySettings, readers: list[DatabaseRole]) -> None:
    database, owner = sql.Identifier(settings.database), sql.Identifier(settings.owner.name)
    everyone = sql.SQL(", ").join(sql.Identifier(role.name) for role in readers)
    for statement in (
        "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        "GRANT CONNECT ON DATABASE {database} TO {owner}, {everyone}",
        # Older databases let everybody create tables here.
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        "GRANT CREATE, USAGE ON SCHEMA public TO {owner}",
        "GRANT USAGE ON SCHEMA public TO {everyone}",
    ):
        admin.execute(sql.SQL(statement).format(database=database, owner=owner, everyone=everyone))
    # The exporter beside PostgreSQL logs in as the owner and sees no replica otherwise. Managed databases watch themselves.
    (is_superuser,) = admin.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone() or (False,)
    if is_superuser:
        admin.execute(sql.SQL("GRANT pg_monitor TO {owner}").format(owner=owner))


def _grant_as_owner(owner: psycopg.Connection, readers: list[DatabaseRole]) -> None:
    everyone = sql.SQL(", ").join(sql.Identifier(role.name) for role in readers)
    # For the tables that Feast will make, and for those that it has made.
    owner.execute(sql.SQL("ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO {}").format(everyone))
    # What an earlier version granted goes, in one transaction: whoever reads meanwhile sees either the old rights or the new ones.
    owner.execute(sql.SQL("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {}").format(everyone))
    owner.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(everyone))
