"""The engine that sorts and joins tables too large for memory: DuckDB, with nothing of its own to reach out with.

Rows go in and come out as Arrow. It opens no file and no address by itself, installs nothing, and beyond its memory it
spills into a directory that goes when the process ends.
"""

import tempfile

import duckdb

THREADS = 2


def connect(*, memory_mib: int) -> duckdb.DuckDBPyConnection:
    """An empty database in memory, in UTC, that uses at most about `memory_mib` MiB; more than that it spills.

    The memory is the engine's own: what Arrow holds on the way in and out comes on top. Give it batches
    (`register("name", record_batch_reader)`), not whole tables. Order counts only where a query says ORDER BY.
    """
    directory = tempfile.TemporaryDirectory(prefix="feature-runtime-", ignore_cleanup_errors=True)
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": f"{memory_mib}MiB",
            "threads": THREADS,
            "temp_directory": directory.name,
            "preserve_insertion_order": False,
            # It cannot know how many rows will come in, and takes them for few: of a join the right side is what is held.
            "disabled_optimizers": "join_order,build_side_probe_side",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            # Python variables are no tables: a name in a query means what was registered.
            "python_enable_replacements": False,
        },
    )
    # These two only work on an open database, and the last one makes all of them final.
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    _directories.append(directory)
    return connection


_directories: list[tempfile.TemporaryDirectory[str]] = []
"""Held until the process ends: a database writes into its directory as long as it lives."""
