"""A process that has imported Feast, as a pod does and once for all, and forks itself into verbs.

The test run itself is no good ancestor: by then it has threads, event loops, other packages and hundreds of megabytes.
Each line on stdin asks for one verb, the answer is its process id. The verb is handed over to whoever asks, as its child.
"""

import importlib
import json
import logging
import os
import sys
import traceback

PRELOADED = (
    "feast.infra.compute_engines.local.compute",
    "feast.infra.offline_stores.dask",
    "feast.infra.online_stores.redis",
    "feast.infra.registry.sql",
    "feast.repo_operations",
    "feature_runtime.apply",
    "feature_runtime.check",
    "feature_runtime.lock",
    "feature_runtime.materialize",
    "feature_runtime.prepare_registry",
    "feature_runtime.skew",
    "feature_runtime.smoke",
    "feature_runtime.train_set",
    "s3fs",
    "sqlalchemy.dialects.postgresql.psycopg",
)


def main():
    for module in PRELOADED:
        importlib.import_module(module)
    for line in sys.stdin:
        sys.stdout.write(f"{fork(json.loads(line))}\n")
        sys.stdout.flush()


def fork(asked):
    """Fork twice: the verb's parent ends at once, so that the verb goes to the nearest process that takes orphans."""
    reading, writing = os.pipe()
    parent = os.fork()
    if not parent:
        if pid := os.fork():
            os.write(writing, str(pid).encode())
            os._exit(0)
        run(asked)
    os.close(writing)
    os.waitpid(parent, 0)
    with os.fdopen(reading) as answer:
        return int(answer.read())


def run(asked):
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number, path in ((1, asked["out"]), (2, asked["err"])):
            os.dup2(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND), number)
        # What the server has open is no business of the verb.
        os.closerange(3, 1024)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update({"PATH": "/usr/bin:/bin", "HOME": asked["cwd"], **asked["environment"]})
        sys.argv = ["feature-runtime", *asked["arguments"]]
        logging.getLogger().handlers.clear()
        importlib.import_module("feature_runtime.__main__").main()
    except SystemExit as ending:
        os._exit(ending.code if isinstance(ending.code, int) else 1)
    except BaseException:  # noqa: BLE001  whatever it is, the verb must not go on as a server
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(99)


if __name__ == "__main__":
    main()
