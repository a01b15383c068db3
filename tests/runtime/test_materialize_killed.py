"""A run may be killed at any moment: the one after it leaves what an undisturbed run would have left."""

import os
import random
import signal
import time

import pytest

from tests.soak import counts

VIEW = "employee_features"
RECORD = f"feast-eks:loaded:employee_attrition:{VIEW}"
EMPLOYEES = 12_000
KILLS = counts(6, soak=20)
SEED = 20260504


def dump(redis_admin):
    """Everything in Redis, the load record included."""
    keys = sorted(redis_admin.scan_iter(count=5000))
    with redis_admin.pipeline(transaction=False) as pipe:
        for key in keys:
            (pipe.get if key.startswith(b"feast-eks:") else pipe.hgetall)(key)
        return dict(zip(keys, pipe.execute(), strict=True))


@pytest.fixture
def loaded_once(applied, rows, midnight):
    """A source of many employees, of which an earlier load saw older values."""
    applied.put(rows({employee: midnight(2) for employee in range(1, EMPLOYEES)}))
    applied.arguments = ["materialize", "--backfill", "--end", midnight(0).isoformat()]
    return applied


def test_the_run_after_a_killed_one_leaves_what_an_undisturbed_run_leaves(loaded_once, redis_admin):
    environment = loaded_once.environment("materialize")
    started = time.monotonic()
    loaded_once.run(loaded_once.arguments, environment).ok()
    duration = time.monotonic() - started
    undisturbed = dump(redis_admin)
    assert len(undisturbed) == EMPLOYEES, "one key per employee, and the record"
    choice = random.Random(SEED)
    in_the_middle = 0
    for number in range(KILLS):
        redis_admin.flushall()
        running = loaded_once.start(loaded_once.arguments, environment)
        # Half of them somewhere in the run, half of them somewhere in its writing.
        moment = time.monotonic() + choice.uniform(0.05, duration)
        count = choice.randrange(1, EMPLOYEES)
        while (time.monotonic() < moment if number % 2 else redis_admin.dbsize() < count) and time.monotonic() < moment + 30:
            time.sleep(0.001)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait(10)
        in_the_middle += 0 < redis_admin.dbsize() < EMPLOYEES
        loaded_once.run(loaded_once.arguments, environment).ok()
        assert dump(redis_admin) == undisturbed, f"kill {number} of seed {SEED}"
    assert in_the_middle, "no run was killed while it wrote: this test proves little"
