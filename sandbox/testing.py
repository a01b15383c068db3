"""`make test`: every test, on a sandbox that is there for the run and gone after it, however the run ends."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox import progress, state

SIDE_BY_SIDE = [f"tests/{tier}" for tier in ("infra", "policies", "delivery", "feature_repo", "runtime")]
"""Tests that need no sandbox: each process brings up the stores it needs. All others share the one sandbox, one at a time."""
MOST_PROCESSES = 4


def run_tests() -> int:
    """Run pytest; its exit status, which is not 0 when no test ran."""
    processes = ["-n", "auto", "--maxprocesses", str(MOST_PROCESSES), "--dist", "loadgroup", "--no-loadscope-reorder"]
    return _pytest(*processes, *SIDE_BY_SIDE) or _pytest(*(f"--ignore={tests}" for tests in SIDE_BY_SIDE))


def _pytest(*arguments: str) -> int:
    with tempfile.TemporaryDirectory(prefix="feast-eks-", ignore_cleanup_errors=True) as left_by_killed_processes:
        Path(left_by_killed_processes).chmod(0o755)  # PostgreSQL runs as another user than root
        process = subprocess.Popen(
            [sys.executable, "-m", "pytest", *arguments],
            cwd=state.CLONE,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(str(state.CLONE / part) for part in (".", "infra", "runtime", "policies")),
                "TMPDIR": left_by_killed_processes,
                "PYTEST_DEBUG_TEMPROOT": tempfile.gettempdir(),  # what pytest keeps of the last runs stays where it always is
            },
            start_new_session=True,  # Ctrl-C reaches it through us, so that we are still there to clean up
        )
        try:
            return process.wait()
        except KeyboardInterrupt:
            progress.end_as_by_ctrl_c(process, seconds=120)
            raise
