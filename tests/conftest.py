"""What all tiers share: their order, and the sandbox that the later ones run on."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import pytest

from sandbox import plugins, state, tools
from tests.soak import SOAK

PROJECT = Path(__file__).resolve().parent.parent
TIERS = ("infra", "policies", "delivery", "feature_repo", "runtime", "sandbox", "engine", "e2e")
"""Quick and local first: what fails early costs little."""
DAY_SECONDS = 86_400


@dataclass(frozen=True)
class Cloud:
    """The sandbox without the program: an API server, a node, S3, images, the Pulumi command line and its plugins."""

    env: dict[str, str]

    @property
    def kubeconfig(self) -> Path:
        return Path(self.env["KUBECONFIG"])

    def run(self, *command: str, cwd: Path = PROJECT, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the sandbox (pulumi, kubectl, helm, make …) and keep what it says."""
        return subprocess.run(
            command,
            cwd=cwd,
            env=self.env | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def output(self, *command: str, cwd: Path = PROJECT, **environment: str) -> str:
        """What a command prints; it must succeed."""
        result = subprocess.run(
            command, cwd=cwd, env=self.env | environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}{result.stderr}"
        return result.stdout.strip()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    def tier(item):
        name = item.path.relative_to(PROJECT / "tests").parts[0]
        return TIERS.index(name)

    if not SOAK:
        long = [item for item in items if item.get_closest_marker("soak")]
        items[:] = [item for item in items if not item.get_closest_marker("soak")]
        config.hook.pytest_deselected(items=long)
    items.sort(key=tier)
    for item in items:
        if not item.get_closest_marker("xdist_group"):
            # Tests of one file share fixtures, and may build on one another.
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """No test begins in the last minute of a day (UTC): what it calls yesterday has to be yesterday when it ends."""
    left = DAY_SECONDS - time.time() % DAY_SECONDS
    if left < 60:
        time.sleep(left)


def pytest_terminal_summary(terminalreporter):
    """Which provider decided what was true: the one that the sandbox builds is older than the one that users run."""
    plugin = plugins.kubernetes_provider(state.PULUMI_HOME)
    if plugin.exists():
        asked_for = metadata.version("pulumi-kubernetes")
        terminalreporter.write_line(f"Kubernetes provider of these tests: {plugins.version_of(plugin)}, in place of {asked_for}")


@pytest.fixture(scope="session")
def cloud():
    """The sandbox, brought up when a test first needs it; `make test` takes it down."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("the sandbox needs Linux and root; the tiers infra, feature_repo and runtime ran")
    brought_up = subprocess.run([sys.executable, "-m", "sandbox", "cloud"], cwd=PROJECT, check=False)
    assert brought_up.returncode == 0, "the sandbox did not come up; its own lines above say why"
    environment = sandbox_environment()
    helm = tools.obtain(tools.HELM)
    return Cloud(env=environment | {"PATH": os.pathsep.join([str(helm.parent), environment["PATH"]])})


def sandbox_environment() -> dict[str, str]:
    """The environment after `eval "$(make -s env)"`."""
    exports = subprocess.run([sys.executable, "-m", "sandbox", "env"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    return dict(os.environ) | dict(re.findall(r"^export (\w+)='(.*)'$", exports, re.MULTILINE))


@pytest.fixture(scope="session")
def clone(tmp_path_factory):
    """The project as a user would have cloned it: a tree of its own that tests may edit."""
    directory = tmp_path_factory.mktemp("clone") / "feast-eks"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=PROJECT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for file in files:
        if (PROJECT / file).is_file():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / file, directory / file)
    (directory / ".venv").symlink_to(PROJECT / ".venv")
    return directory
