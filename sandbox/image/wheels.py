"""The locked Python packages as a layer: wheels for Debian 12's Python, verified by hash, compiled, trimmed.

The machine's own pip downloads them, so its index, proxy and certificates are used as they are configured.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

from sandbox.image.command import CommandError, Runner
from sandbox.image.errors import ImageBuildError
from sandbox.image.packages import remove

PYTHON = (3, 11)
GLIBC_MINOR = 36  # of Debian 12, which the wheels must not outgrow
INTERPRETER = "/usr/bin/python3"
SITE_PACKAGES = "usr/local/lib/python3.11/dist-packages"

# Installed because Feast asks for `sqlalchemy[mypy]`; no running code imports it.
UNUSED_DISTRIBUTIONS = ("mypy",)

UNUSED_PATHS = (
    "feast/ui",
    "requirements",  # a stray directory of Feast's wheel
    "*/tests",
    "numpy/*/tests",
    "dask/*/tests",
    "dask/dataframe/*/tests",
    "pyarrow/include",
    "pyarrow/src",
    "pyarrow/libarrow_python*.so",  # names for linking only; the loader uses the ones with a version
    "pyarrow/libarrow_python*.so.*.*.*",
    "**/*.pyx",
    "**/*.pxd",
    "**/*.pyi",
)


def platform_tags() -> list[str]:
    """Wheel platforms that run on Debian 12 on this machine's processor."""
    machine = platform.machine()
    modern = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_MINOR, 16, -1)]
    return [*modern, f"manylinux2014_{machine}", f"manylinux2010_{machine}", f"manylinux1_{machine}", f"linux_{machine}"]


def install_wheels(requirements: Path, root: Path, runner: Runner) -> None:
    """Install what `requirements` locks into `root`.

    Raises:
        ImageBuildError: a wheel cannot be had or has another hash than the lock.
    """
    if sys.version_info[:2] != PYTHON:
        raise ImageBuildError(
            f"the image's Python is {PYTHON[0]}.{PYTHON[1]} and its bytecode is compiled by the Python that runs this, "
            f"which is {sys.version_info.major}.{sys.version_info.minor}.",
            remedy="make .venv with Python 3.11",
        )
    site = root / SITE_PACKAGES
    platforms = [flag for tag in platform_tags() for flag in ("--platform", tag)]
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--require-hashes", "--no-deps", "--no-compile", "--only-binary=:all:"),
        *("--implementation", "cp", "--python-version", "3.11", *platforms),
        *("--target", str(site), "--requirement", str(requirements)),
    ]
    try:
        # A user's setting to install into the home directory contradicts --target.
        runner.run(command, environment={"PIP_USER": "0", "PIP_NO_INPUT": "1"})
    except CommandError as error:
        raise ImageBuildError(
            "pip cannot install the locked packages of the image.",
            lines=[error.reason],
            log=runner.log,
            remedy="check the index that pip is set to, or lock again if a package has no wheel for Debian 12",
        ) from error
    for distribution in UNUSED_DISTRIBUTIONS:
        _uninstall(distribution, site)
    for pattern in UNUSED_PATHS:
        for path in list(site.glob(pattern)):
            remove(path)
    _move_scripts(site, root / "usr/local/bin")
    compile_bytecode(root, SITE_PACKAGES, runner)


def compile_bytecode(root: Path, directory: str, runner: Runner) -> None:
    """Compile every module below `directory`; without bytecode each Feast process starts seven seconds later.

    The files carry the hash of their source and are not checked against it: a layer has no times that they could be
    checked against, and nothing in an image changes.
    """
    runner.run(
        [
            *(sys.executable, "-m", "compileall", "-q", "-j", str(os.cpu_count() or 1)),
            *("--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/", str(root / directory)),
        ],
        environment={"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": ""},
    )


def _uninstall(distribution: str, site: Path) -> None:
    """Remove the files that the distribution's RECORD names."""
    for record in site.glob(f"{distribution}-*.dist-info/RECORD"):
        for line in record.read_text().splitlines():
            path = (site / line.split(",", 1)[0].strip('"')).resolve()
            if path.is_relative_to(site.resolve()):
                path.unlink(missing_ok=True)
        shutil.rmtree(record.parent)
        shutil.rmtree(site / distribution, ignore_errors=True)
        shutil.rmtree(site / f"{distribution}c", ignore_errors=True)


def _move_scripts(site: Path, binaries: Path) -> None:
    """Give the console scripts their place on PATH and the image's interpreter."""
    binaries.mkdir(parents=True, exist_ok=True)
    for script in sorted((site / "bin").iterdir()):
        first, _, rest = script.read_bytes().partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            target = binaries / script.name
            target.write_bytes(b"#!" + INTERPRETER.encode() + b"\n" + rest)
            target.chmod(0o755)
    shutil.rmtree(site / "bin")
