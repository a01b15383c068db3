"""The body of a request: one object in which no name is given twice, however long it is."""

import json
import subprocess
import sys

import pytest

from feature_runtime.serving.body import parse
from feature_runtime.serving.refused import MOST_ERRORS, Refused

ASKS = """
import sys
from feature_runtime.serving.body import parse
from feature_runtime.serving.refused import Refused
try:
    parse(sys.stdin.buffer.read())
except Refused as refused:
    print(refused)
"""


def test_one_name_twice_among_a_hundred_thousand_is_found_before_anybody_waits():
    """Counting each of them by itself would hold the event loop for minutes."""
    body = "{" + ",".join(f'"{number}":0' for number in (*range(100_000), 7)) + "}"
    done = subprocess.run(
        [sys.executable, "-c", ASKS], input=body.encode(), env={"PYTHONPATH": "runtime"}, capture_output=True, check=True, timeout=20
    )
    assert done.stdout.decode() == "7: the name is given twice. Give each name once.\n"


def test_many_names_twice_are_told_by_the_first():
    body = "{" + ",".join(f'"{number:05}{"x" * 200}":0' for number in (*range(1_000), *range(1_000))) + "}"
    with pytest.raises(Refused) as refused:
        parse(body.encode())
    assert len(refused.value.errors) == MOST_ERRORS
    assert len(json.dumps(refused.value.errors)) < 5_000
