"""The plugins that Pulumi would download, put into the sandbox's own PULUMI_HOME.

The Kubernetes provider is the official one, built from its Go module. Those of AWS and random and the language host are stand-ins:
test equipment, each a small shell launcher for a module of `sandbox.providers`. A plugin of the same version that is already there
stays, so the sandbox runs on the real ones wherever they can be had.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from sandbox.progress import SandboxError

_REPOSITORY = Path(__file__).resolve().parents[1]
# A launcher is recognised by its second line, so that an official plugin is never mistaken for one of ours.
_MARK = "# feast-eks stand-in"
STAND_INS = ("aws", "random")


@dataclass(frozen=True)
class Installed:
    """One plugin the engine will find: its own version, and the version it is asked for as."""

    name: str
    version: str
    asked_for: str
    path: Path
    stand_in: bool

    def __str__(self) -> str:
        way = "stand-in" if self.stand_in else "official"
        return f"{self.name} {self.version} ({way}{'' if self.version == self.asked_for else f', in place of {self.asked_for}'})"


def install(pulumi_home: Path, bin_directory: Path, kubernetes: Path) -> list[Installed]:
    """Make the engine find a language host beside `bin_directory`'s pulumi and every provider in `pulumi_home`.

    `kubernetes` is the official provider that was built. Returns which way was taken for each. Idempotent; a launcher of another
    clone is pointed at this one.
    """
    host = bin_directory / "pulumi-language-python"
    installed = [_stand_in("language-python", metadata.version("pulumi"), host, "language_host")]
    installed += [_stand_in(name, _asked_for(name), _place(pulumi_home, name), name) for name in STAND_INS]
    installed.append(_built(_place(pulumi_home, "kubernetes"), kubernetes))
    return installed


def kubernetes_provider(pulumi_home: Path) -> Path:
    """Where the engine finds the Kubernetes provider."""
    return _place(pulumi_home, "kubernetes")


def version_of(plugin: Path) -> str:
    """What a provider says of itself. Raises SandboxError where it does not start or answer."""
    command = [sys.executable, "-P", "-m", "sandbox.providers.version", str(plugin)]
    environment = {**os.environ, "PYTHONPATH": str(_REPOSITORY)}
    asked = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        raise SandboxError(
            f"the plugin {plugin} does not start",
            lines=asked.stderr.splitlines()[-3:],
            remedy="remove that file, and `make up` puts another there",
        )
    return asked.stdout


def _asked_for(name: str) -> str:
    """The engine asks for exactly the version of the SDK that the program imports."""
    return metadata.version(f"pulumi-{name}")


def _place(pulumi_home: Path, name: str) -> Path:
    directory = pulumi_home / "plugins" / f"resource-{name}-v{_asked_for(name)}"
    # A download that was broken off leaves this mark, and the engine then ignores the directory.
    directory.with_name(directory.name + ".partial").unlink(missing_ok=True)
    return directory / f"pulumi-resource-{name}"


def _built(path: Path, executable: Path) -> Installed:
    # A link is ours, a file is somebody's own.
    if path.is_symlink() or not path.exists():
        _replace(path, lambda temporary: temporary.symlink_to(executable))
    return Installed("kubernetes", version_of(path), _asked_for("kubernetes"), path, stand_in=False)


def _stand_in(name: str, version: str, path: Path, module: str) -> Installed:
    if path.exists() and not _is_ours(path):
        return Installed(name, version, version, path, stand_in=False)

    def launch(temporary: Path) -> None:
        temporary.write_text(_launcher(module))
        temporary.chmod(0o755)

    _replace(path, launch)
    return Installed(name, version, version, path, stand_in=True)


def _replace(path: Path, make: Callable[[Path], None]) -> None:
    """Put something at the path at once: another command may be starting what is there."""
    if path.parent.is_symlink():  # the engine looks through real directories only
        path.parent.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    make(temporary)
    temporary.replace(path)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(200)


def _launcher(module: str) -> str:
    repository, interpreter = shlex.quote(str(_REPOSITORY)), shlex.quote(sys.executable)
    # -P: the program's directory, which is the working directory, must not shadow what a plugin imports.
    return (
        "#!/bin/sh\n"
        f"{_MARK}: {module}\n"
        f"PYTHONPATH={repository}${{PYTHONPATH:+:$PYTHONPATH}}\n"
        "export PYTHONPATH\n"
        f"[ -x {interpreter} ] ||\n"
        "  { echo 'feast-eks: the clone that brought the sandbox up is gone; run `make up` in this one' >&2; exit 1; }\n"
        f'exec {interpreter} -P -m sandbox.providers.{module} "$@"\n'
    )
