"""The last screen of `make up`."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

PROCESSES = 10
"""With Arrow's threads reading a Python file, each of them aborted with a probability of a third."""

PROGRAM = """
import io, sys, time
from sandbox.summary import newest_row

class Slow(io.BytesIO):
    def read(self, size=-1):
        time.sleep(0.0005)
        return super().read(size)

row = newest_row(Slow(open(sys.argv[1], "rb").read()), "id", 7)
sys.stdout.write(str(row["x"]))
"""


def test_a_process_that_has_read_the_newest_row_ends_with_0(tmp_path):
    path = tmp_path / "history.parquet"
    rows = 9_000
    newest = datetime(2026, 11, 1, tzinfo=UTC)
    columns = {"id": [n % 100 for n in range(rows)], "x": list(range(rows))} | {f"other_{n}": [0.5] * rows for n in range(20)}
    pq.write_table(pa.table({**columns, "event_timestamp": [newest - timedelta(seconds=n) for n in range(rows)]}), path)

    ended = [
        subprocess.run([sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=False) for _ in range(PROCESSES)
    ]

    assert [(process.returncode, process.stdout) for process in ended] == [(0, "7")] * PROCESSES, ended[0].stderr
