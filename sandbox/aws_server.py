"""The sandbox's AWS in one process: moto's server with what the sandbox adds to it. `python -m sandbox.aws_server --help`.

Started by `sandbox.s3`; tests may start one of their own. It keeps everything in memory.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from moto import server
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_api._internal import urls as own_urls

from sandbox import addresses as at
from sandbox import aws_eks


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.aws_server", description="AWS for the sandbox.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--kubeconfig", type=Path, required=True, help="every EKS cluster is the one of its current context")
    parser.add_argument("--region", default=at.REGION, help="where the EKS clusters are that exist from the start")
    parser.add_argument("--cluster", action="append", default=[], metavar="NAME", help="an EKS cluster that exists from the start")
    given = parser.parse_args(arguments)
    aws_eks.install(given.kubeconfig)
    for name in given.cluster:
        aws_eks.make_cluster(name, DEFAULT_ACCOUNT_ID, given.region)
    own_urls.url_paths[f"{{0}}{urlsplit(at.AWS_READY_URL).path}$"] = _ready
    server.main(["--host", given.host, "--port", str(given.port)])


def _ready(*_request: Any) -> tuple[int, dict[str, str], str]:
    return 200, {}, "ready"


if __name__ == "__main__":
    main()
