"""Stand-ins for the plugins Pulumi would download: test equipment, installed into the sandbox's own PULUMI_HOME only.

Each is a small shell launcher for a module of this package. An official plugin of the same version that is already there
stays, so the sandbox runs on the real ones wherever they can be had.
"""

import os
import shlex
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_REPOSITORY = Path(__file__).resolve().parents[2]
# A launcher is recognised by its second line, so that an official plugin is never mistaken for one of ours.
_MARK = "# feast-eks stand-in"
PROVIDERS = ("aws", "random")


@dataclass(frozen=True)
class Installed:
    """One plugin the engine will find, and whether it is ours."""

    name: str
    version: str
    path: Path
    stand_in: bool

    def __str__(self) -> str:
        return f"{self.name} {self.version}: {'stand-in' if self.stand_in else 'official plugin'}"


def install(pulumi_home: Path, bin_directory: Path) -> list[Installed]:
    """Makes the engine find a language host beside `bin_directory`'s pulumi and every provider in `pulumi_home`.

    Returns which way was taken for each. Idempotent; a launcher of another clone is pointed at this one.
    """
    host = bin_directory / "pulumi-language-python"
    installed = [_installed("language-python", metadata.version("pulumi"), host, "language_host")]
    for name in PROVIDERS:
        # The engine asks for exactly the version of the SDK that the program imports.
        version = metadata.version(f"pulumi-{name}")
        directory = pulumi_home / "plugins" / f"resource-{name}-v{version}"
        installed.append(_installed(name, version, directory / f"pulumi-resource-{name}", name))
        # A download that was broken off leaves this mark, and the engine then ignores the directory.
        directory.with_name(directory.name + ".partial").unlink(missing_ok=True)
    return installed


def _installed(name: str, version: str, path: Path, module: str) -> Installed:
    if path.exists() and not _is_ours(path):
        return Installed(name, version, path, stand_in=False)
    if path.parent.is_symlink():  # the engine looks through real directories only
        path.parent.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(_launcher(module))
    temporary.chmod(0o755)
    temporary.replace(path)  # at once: another command may be starting it
    return Installed(name, version, path, stand_in=True)


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
