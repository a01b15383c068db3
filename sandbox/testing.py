"""`make test`: every test, on a sandbox that is there for the run and gone after it, however the run ends."""

import os
import subprocess
import sys

from sandbox import progress, state


def run_tests() -> int:
    """Run pytest; its exit status, which is not 0 when no test ran."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest"],
        cwd=state.CLONE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(str(state.CLONE / part) for part in (".", "infra", "runtime", "policies"))},
        start_new_session=True,  # Ctrl-C reaches it through us, so that we are still there to clean up
    )
    try:
        return process.wait()
    except KeyboardInterrupt:
        progress.end_as_by_ctrl_c(process, seconds=120)
        raise
