"""What a deployment tells applications, for the summary of a run: a list of allowed outputs, never all of them.

`python -m delivery.outputs --stack prod` prints Markdown. Names of Secrets may be among the outputs, their content never is;
what is not on the list is not read aloud even so.
"""

import argparse
import json
import subprocess
import sys
from typing import Any

from delivery.markdown import code, count
from delivery.report import STACK
from delivery.values import is_secret

SHOWN = ("feature_server_url", "grpc_address", "namespace", "offline_store_uri", "image", "revision")


def summary(stack: str, outputs: dict[str, Any]) -> str:
    """The allowed outputs, one line each."""
    lines = [f"- {name}: {code(outputs[name], 300)}" for name in SHOWN if name in outputs and not is_secret(outputs[name])]
    services = outputs.get("feature_services")
    for name, service in sorted(services.items()) if isinstance(services, dict) else ():
        features = service.get("features") if isinstance(service, dict) else None
        if isinstance(features, list):
            lines.append(f"- serves {code(name)}: {count(len(features), 'feature')}, contract {code(str(service.get('sha256'))[:12])}")
    return "\n".join([f"### `{stack}` is deployed\n", *lines, ""])


def main(arguments: list[str]) -> int:
    """Print the summary of a stack's outputs."""
    parser = argparse.ArgumentParser(prog="python -m delivery.outputs", description="What a stack tells applications.")
    parser.add_argument("--stack", required=True)
    stack = parser.parse_args(arguments).stack
    if not STACK.fullmatch(stack):
        parser.error(f"{stack!r} is no name of a stack")
    asked = subprocess.run(["pulumi", "stack", "output", "--json", "--stack", stack], stdout=subprocess.PIPE, text=True, check=False)
    if asked.returncode != 0:
        return asked.returncode
    sys.stdout.write(summary(stack, json.loads(asked.stdout)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
