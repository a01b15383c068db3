"""Environments of processes that shall know nothing of the tester's."""

import tempfile
from pathlib import Path

BARE = {"PATH": "/usr/bin:/bin", "TMPDIR": tempfile.gettempdir()}
WITH_RUNTIME = {**BARE, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "runtime")}
"""One that can import `feature_runtime` too."""
