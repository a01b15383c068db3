"""What `pulumi preview` of the whole program costs, against programs that do less, and where the rest goes.

Runs on the sandbox (`python -m sandbox cloud` brings it up), with a state of its own: nothing is deployed. The second
table leaves engine and providers out: there an engine within the process answers every registration at once.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from bench.rounds import measure, table
from tests.conftest import sandbox_environment

PROJECT = Path(__file__).resolve().parent.parent
WHOLE = "the whole program"
IMPORTS = "an empty program with the same imports"

# The SDKs load a module when something of it is first used: one thing of each that the program uses.
USED = (
    *(f"pulumi_aws.{name}" for name in ("eks.get_cluster", "iam.Role", "kms.Key", "s3.Bucket")),
    *(f"pulumi_kubernetes.{name}" for name in ("apps.v1.Deployment", "autoscaling.v2.HorizontalPodAutoscaler", "batch.v1.Job")),
    *(f"pulumi_kubernetes.{name}" for name in ("core.v1.Secret", "helm.v4.Chart", "networking.v1.NetworkPolicy")),
    *(f"pulumi_kubernetes.{name}" for name in ("policy.v1.PodDisruptionBudget", "apiextensions.CustomResource")),
    "pulumi_random.RandomPassword",
)
CHART_CHILDREN = 40
"""At most so many of the whole program's resources are made by the charts, in their provider."""
IMPORT = "import pulumi_aws, pulumi_kubernetes, pulumi_random\n" + "".join(f"{name}\n" for name in USED)
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
    """Print both tables."""
    environment = sandbox_environment()
    with tempfile.TemporaryDirectory(prefix="feast-eks-bench-") as directory:
        environment["PULUMI_BACKEND_URL"] = f"file://{directory}"
        contestants: dict[str, Callable[[], None]] = {}
        for number, (name, (source, resources)) in enumerate(PROGRAMS.items()):
            project = _project(Path(directory, f"program-{number}"), source)
            contestants[name] = _previewer(project, "bench", environment, resources)
        at_least = _resources(environment)
        contestants[WHOLE] = _previewer(PROJECT, "local", environment, at_least)
        previews = measure(contestants)
    alone = measure({IMPORTS: _alone("empty", 0), WHOLE: _alone("whole", at_least - CHART_CHILDREN)})
    sys.stdout.write(
        f"pulumi preview, median seconds ({at_least} resources in the whole program)\n{table(previews, against=IMPORTS)}\n\n"
        f"the program alone, median seconds\n{table(alone, against=IMPORTS)}\n"
    )
    return 0


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


def _alone(program: str, resources: int) -> Callable[[], None]:
    """A fresh interpreter that runs a program against an engine that answers at once."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(str(PROJECT / part) for part in (".", "infra", "runtime"))}
    command = [sys.executable, "-m", "bench.alone", program]

    def run() -> None:
        said = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True).stdout
        if int(said) < resources:
            raise RuntimeError(f"the {program} program registered {said} resources, not {resources}")

    return run


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


if __name__ == "__main__":
    sys.exit(main())
