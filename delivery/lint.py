"""Check the workflows: actionlint for what GitHub would refuse, zizmor for what an attacker would use.

`python -m delivery.lint`. zizmor is among the locked packages. The Python package of actionlint downloads a binary when it is
installed, so actionlint is built from its Go module as the sandbox's tools are (ten seconds, once).
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sandbox import state
from sandbox.progress import SandboxError
from sandbox.tools import Tool, Toolbox

PROJECT = Path(__file__).resolve().parent.parent
ACTIONLINT = Tool(
    name="actionlint",
    module="actionlint",
    package="github.com/rhysd/actionlint/cmd/actionlint",
    pinned="github.com/rhysd/actionlint",
    version_command=("-version",),
    version_variables=("github.com/rhysd/actionlint.version",),
)


def actionlint_command(actionlint: Path) -> list[str]:
    """Without the linters of shell and Python that it would run if the machine had them: the same findings everywhere."""
    return [str(actionlint), "-no-color", "-shellcheck=", "-pyflakes="]


def zizmor_command() -> list[str]:
    """Without the network, as the strictest of its personas, over workflows, actions and dependabot's settings."""
    found = Path(sys.executable).parent / "zizmor"
    return [str(found), "--offline", "--no-progress", "--color=never", "--quiet", "--persona=auditor", "--strict-collection", "."]


def main() -> int:
    """Check the project; 0 if neither finds anything."""
    return check(PROJECT)


def check(project: Path) -> int:
    """Run both over a project, also when the first finds something; 0 if neither does."""
    with tempfile.TemporaryDirectory() as directory:
        toolbox = Toolbox(state.CACHE / "tools", Path(directory) / "actionlint.log", [ACTIONLINT])
        toolbox.start()
        try:
            statuses = [_run(zizmor_command(), project), _run(actionlint_command(toolbox.path(ACTIONLINT.name)), project)]
        except SandboxError as error:
            sys.stderr.write(f"actionlint: {error}\n")
            return 1
        finally:
            toolbox.stop()
    return 0 if statuses == [0, 0] else 1


def _run(command: list[str], project: Path) -> int:
    # zizmor asks GitHub when it finds a token.
    environment = {key: value for key, value in os.environ.items() if key not in ("GH_TOKEN", "GITHUB_TOKEN", "ZIZMOR_GITHUB_TOKEN")}
    try:
        return subprocess.run(command, cwd=project, env=environment, stdin=subprocess.DEVNULL, check=False).returncode
    except FileNotFoundError:
        sys.stderr.write(f"{command[0]} is missing: make install\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
