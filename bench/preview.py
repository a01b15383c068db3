"""What `pulumi preview` of the whole program costs, against programs that do less, and where the rest goes.

Runs on the sandbox (`python -m sandbox cloud` brings it up), with a state of its own: nothing is deployed.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.rounds import measure, table

PROJECT = Path(__file__).resolve().parent.parent
PROMISE = 1.5
WHOLE = "the whole program"
IMPORTS = "an empty program with the same imports"

# The SDKs import their modules when they are first used: these are the ones that the program uses.
MODULES = (
    *(f"pulumi_aws.{module}" for module in ("eks", "iam", "kms", "s3")),
    *(f"pulumi_kubernetes.{module}" for module in ("apps.v1", "autoscaling.v2", "batch.v1", "core.v1", "helm.v4")),
    *(f"pulumi_kubernetes.{module}" for module in ("networking.v1", "policy.v1", "apiextensions")),
    "pulumi_random",
)
IMPORT = "".join(f"import {module}\n" for module in MODULES)
# What every program with these providers pays besides: each provider's process is started and configured.
ONE_RESOURCE_EACH = f"""{IMPORT}
pulumi_random.RandomPassword("password", length=32)
pulumi_aws.s3.Bucket("bucket")
pulumi_kubernetes.core.v1.Namespace("namespace", metadata={{"name": "bench"}})
"""
PROGRAMS = {
    "an empty program": ("", 0),
    IMPORTS: (IMPORT, 0),
    "the same, and one resource of each provider": (ONE_RESOURCE_EACH, 3),
}


def main() -> int:
    """Print the table; 1 when the promise is not kept."""
    environment = _sandbox_environment()
    with tempfile.TemporaryDirectory(prefix="feast-eks-bench-") as directory:
        environment["PULUMI_BACKEND_URL"] = f"file://{directory}"
        contestants: dict[str, Callable[[], None]] = {}
        for number, (name, (source, resources)) in enumerate(PROGRAMS.items()):
            project = _project(Path(directory, f"program-{number}"), source)
            contestants[name] = _previewer(project, "bench", environment, resources)
        whole = _previewer(PROJECT, "local", environment, at_least := _resources(environment))
        contestants[WHOLE] = whole
        medians = measure(contestants)
    ratio = medians[WHOLE] / medians[IMPORTS]
    sys.stdout.write(
        f"pulumi preview, median seconds ({at_least} resources in the whole program)\n{table(medians, against=IMPORTS)}\n"
        f"promise: at most {PROMISE}x an empty program with the same imports; measured {ratio:.2f}x\n"
    )
    return 0 if ratio <= PROMISE else 1


def _project(directory: Path, source: str) -> Path:
    directory.mkdir()
    runtime = {"name": "python", "options": {"toolchain": "pip", "virtualenv": str(PROJECT / ".venv")}}
    directory.joinpath("Pulumi.yaml").write_text(json.dumps({"name": directory.name, "runtime": runtime}))
    directory.joinpath("__main__.py").write_text(source)
    return directory


def _previewer(project: Path, stack: str, environment: dict[str, str], resources: int) -> Callable[[], None]:
    _pulumi("stack", "select", "--create", stack, project=project, environment=environment)

    def preview() -> None:
        found = _created(_pulumi("preview", "--json", "--stack", stack, project=project, environment=environment))
        if found != resources:
            raise RuntimeError(f"the preview of {project.name} creates {found} resources, not {resources}")

    return preview


def _resources(environment: dict[str, str]) -> int:
    _pulumi("stack", "select", "--create", "local", project=PROJECT, environment=environment)
    return _created(_pulumi("preview", "--json", "--stack", "local", project=PROJECT, environment=environment))


def _created(preview: str) -> int:
    steps = json.loads(preview)["steps"]
    return sum(step["op"] == "create" and "::pulumi:" not in step["urn"] for step in steps)


def _pulumi(*arguments: str, project: Path, environment: dict[str, str]) -> str:
    command = ["pulumi", "--non-interactive", *arguments]
    result = subprocess.run(command, cwd=project, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def _sandbox_environment() -> dict[str, str]:
    command = [sys.executable, "-m", "sandbox", "env"]
    exports = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return dict(os.environ) | dict(re.findall(r"^export (\w+)='(.*)'$", exports, re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main())
