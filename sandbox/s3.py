"""S3, IAM, STS, KMS and EKS for the sandbox: one moto server with our additions, reachable from the machine and from pods.

It keeps everything in memory. Each start is a new `instance`: until the program has been rolled out onto that instance,
`is_empty_for_the_program` says that the program's buckets are not there, however many runs were interrupted in between.
"""

import json
import sys
from pathlib import Path

import moto

from sandbox import addresses as at
from sandbox.daemons import Daemon, answers, running, stop
from sandbox.state import CLONE, KUBECONFIG, STATE, read_record, write

ROLLED_OUT = STATE / "s3" / "rolled-out.json"


def server() -> Daemon:
    """`sandbox.aws_server`, run by this clone's Python."""
    command = [sys.executable, "-m", "sandbox.aws_server", "--host", at.HOST_ADDRESS, "--port", str(at.S3_PORT)]
    command += ["--kubeconfig", str(KUBECONFIG), *(f"--cluster={name}" for name in at.EKS_CLUSTERS)]
    return Daemon(
        name="s3",
        command=command,
        environment={"MOTO_VERSION": moto.__version__, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(CLONE)},
        healthy=lambda: answers(at.AWS_READY_URL),
    )


def ensure() -> bool:
    """Make it run. Returns whether it was started anew, and so is empty."""
    process = running("s3")
    daemon = server()
    if process is not None and daemon.healthy() and _interpreter_exists(process.pid):
        return False  # not restarted for another clone's Python: its content would be lost
    stop("s3")
    return daemon.ensure()


def is_empty_for_the_program() -> bool:
    """Whether the server is another one than the program was last rolled out onto."""
    return read_record(ROLLED_OUT).get("instance") != instance()


def mark_rolled_out() -> None:
    """Record that the program's buckets are on the present server."""
    write(ROLLED_OUT, json.dumps({"instance": instance()}), 0o644)


def instance() -> str:
    """Identity of the running server; empty when none runs."""
    process = running("s3")
    return f"{process.pid}:{process.started}" if process else ""


def _interpreter_exists(pid: int) -> bool:
    executable = Path(f"/proc/{pid}/exe").readlink()
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return executable.exists() and Path(arguments[0].decode()).exists()
