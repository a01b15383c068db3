"""Ask a plugin for its version: `python -m sandbox.providers.version PLUGIN` prints it.

A process of its own: gRPC leaves threads behind, with which a process that also reads Parquet may abort at its end.
"""

import json
import subprocess
import sys

import grpc
from google.protobuf import empty_pb2

from sandbox.providers.proto import provider_pb2_grpc


def ask(plugin: str) -> str:
    """What a provider says of itself. Raises ValueError or grpc.RpcError where it does not start or answer."""
    with subprocess.Popen([plugin, "127.0.0.1:1"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            port = json.loads(process.stdout.readline()) if process.stdout else 0
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                return str(provider_pb2_grpc.ResourceProviderStub(channel).GetPluginInfo(empty_pb2.Empty(), timeout=30).version)
        finally:
            process.kill()


if __name__ == "__main__":
    sys.stdout.write(ask(sys.argv[1]))
