"""An AWS of the sandbox's kind for tests that need no cluster: started here, on a port of its own."""

import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import boto3

from bench.ports import free_port
from tests.waiting import wait_for

PROJECT = Path(__file__).resolve().parents[2]
ACCOUNT = "123456789012"
REGION = "eu-west-1"


@contextmanager
def local_aws(kubeconfig, *clusters):
    """Its address, while it runs. The EKS clusters are the one that the kubeconfig names."""
    port = free_port()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "sandbox.aws_server",
            f"--port={port}",
            f"--kubeconfig={kubeconfig}",
            *(f"--cluster={name}" for name in clusters),
        ],
        cwd=PROJECT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{port}"
    try:

        def ask():
            assert process.poll() is None, "the server ended"
            urllib.request.urlopen(f"{address}/moto-api/feast-eks", timeout=2).close()

        wait_for(ask, OSError)
        yield address
    finally:
        process.terminate()
        process.wait(10)


def client(address, service):
    """A boto3 client of it."""
    return boto3.client(service, endpoint_url=address, region_name=REGION, aws_access_key_id="a", aws_secret_access_key="b")
