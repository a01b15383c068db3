"""Which images the sandbox runs and what each is made of.

    feature-runtime   Debian base · Python 3.11 · locked packages · our package
    data-stores       Debian base · Redis and PostgreSQL, their metrics exporters · start scripts

A layer's key is the digest of everything it is made from, the code that makes it included, so nothing here has a
version to bump by hand.
"""

import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from feast_eks.runtime_image import source_tag
from sandbox.image import layer, packages, wheels
from sandbox.image.archive import ImageConfig
from sandbox.image.command import CommandError, Runner
from sandbox.image.errors import ImageBuildError

REPOSITORY = Path(__file__).resolve().parents[2]
RUNTIME = REPOSITORY / "runtime"
DATA_STORE_FILES = Path(__file__).parent / "data_stores"
PREFIX = "localhost/feast-eks"

BASE_PACKAGES = ("bash", "ca-certificates", "coreutils", "findutils", "grep", "libc-bin", "mawk", "sed", "tzdata")
PYTHON_PACKAGES = ("libpython3.11-stdlib", "libstdc++6", "python3.11")  # wheels expect the C++ library
DATA_STORE_PACKAGES = (
    *("hostname", "procps"),
    *("postgresql-15", "prometheus-postgres-exporter"),
    *("prometheus-redis-exporter", "redis-sentinel", "redis-server", "redis-tools"),
)

COMMON_ENVIRONMENT = {"HOME": "/tmp", "LANG": "C.UTF-8", "TZ": "Etc/UTC"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
USER = f"{packages.USER_ID}:0"
ENTRYPOINT = '#!/bin/sh\nexec python3 -m feature_runtime "$@"\n'


@dataclass(frozen=True)
class LayerRecipe:
    """How to make one layer: `made_from` decides its key, `fill` fills its directory."""

    name: str
    made_from: Mapping[str, object]
    fill: Callable[[Path], None]

    @property
    def key(self) -> str:
        """Hex digest of what the layer is made from."""
        return hashlib.sha256(json.dumps(self.made_from, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ImageRecipe:
    """An image by name: its tag, its configuration and its layers from the lowest up."""

    name: str
    tag: str
    config: ImageConfig
    layers: Sequence[LayerRecipe]

    @property
    def reference(self) -> str:
        """The full name that pods use."""
        return f"{PREFIX}/{self.name}:{self.tag}"


def image_recipes(runtime: Path, source: packages.PackageSource, runner: Runner) -> list[ImageRecipe]:
    """What both images are made of."""

    def debian(name: str, wanted: Sequence[str], below: Sequence[str], finish: Callable[[Path], None]) -> LayerRecipe:
        def fill(root: Path) -> None:
            present = {package.name for package in source.closure(below)} if below else set()
            added = [package for package in source.closure([*below, *wanted]) if package.name not in present]
            packages.unpack(added, root, runner)
            finish(root)

        made_from = {"packages": sorted(wanted), "below": sorted(below), "code": _code(packages, layer)}
        return LayerRecipe(name, {**made_from, "machine": platform.machine()}, fill)

    def finish_python(root: Path) -> None:
        for name in ("python3", "python"):
            link = root / "usr/bin" / name
            link.unlink(missing_ok=True)
            link.symlink_to("python3.11")
        wheels.compile_bytecode(root, "usr/lib/python3.11", runner)

    base = debian("debian", BASE_PACKAGES, (), packages.finish_base)
    python = debian("python", PYTHON_PACKAGES, BASE_PACKAGES, finish_python)
    stores = debian("redis-postgresql", DATA_STORE_PACKAGES, BASE_PACKAGES, _tidy_servers)
    requirements = runtime / "requirements.txt"
    locked = LayerRecipe(
        "wheels",
        {
            "requirements": _digest(requirements),
            "platforms": wheels.platform_tags(),
            "code": _code(wheels, layer),
        },
        lambda root: wheels.install_wheels(requirements, root, runner),
    )
    package = LayerRecipe(
        "package",
        {"files": _digest_tree(runtime / "feature_runtime"), "code": _code(wheels, layer), "entrypoint": ENTRYPOINT},
        lambda root: _install_package(runtime / "feature_runtime", root, runner),
    )
    scripts = LayerRecipe(
        "scripts",
        {"files": _digest_tree(DATA_STORE_FILES), "code": _code(layer)},
        _install_scripts,
    )
    return [
        ImageRecipe(
            "feature-runtime",
            source_tag(runtime),
            ImageConfig(
                entrypoint=["/usr/local/bin/feature-runtime"],
                environment={**COMMON_ENVIRONMENT, "PATH": SYSTEM_PATH, "PYTHONUNBUFFERED": "1"},
                user=USER,
            ),
            [base, python, locked, package],
        ),
        ImageRecipe(
            "data-stores",
            "1",
            ImageConfig(
                entrypoint=["/opt/bitnami/scripts/postgresql/entrypoint.sh"],
                command=["/opt/bitnami/scripts/postgresql/run.sh"],
                environment={**COMMON_ENVIRONMENT, "PATH": f"/usr/lib/postgresql/15/bin:{SYSTEM_PATH}"},
                user=USER,
                # To PostgreSQL a TERM means "when the last client has left"; INT is its fast shutdown. Redis saves on both.
                stop_signal="SIGINT",
            ),
            [base, stores, scripts],
        ),
    ]


def _install_package(source: Path, root: Path, runner: Runner) -> None:
    target = root / wheels.SITE_PACKAGES / source.name
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for path in [target, *target.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)  # whatever the clone's umask was
    script = root / "usr/local/bin/feature-runtime"
    script.parent.mkdir(parents=True)
    script.write_text(ENTRYPOINT)
    script.chmod(0o755)
    try:
        wheels.compile_bytecode(root, wheels.SITE_PACKAGES, runner)
    except CommandError as error:
        raise ImageBuildError(f"{source} does not compile.", lines=error.lines, remedy="mend it and run it again") from error


def _install_scripts(root: Path) -> None:
    """Put the start scripts and shell functions where the charts, the real Bitnami ones included, look for them."""
    scripts = root / "opt/bitnami/scripts"
    for source in sorted(path for path in DATA_STORE_FILES.rglob("*") if path.is_file()):
        target = scripts / source.relative_to(DATA_STORE_FILES)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        target.chmod(0o755 if source.suffix == ".sh" else 0o644)
    for name in ("log", "os", "validations", "file", "net"):
        (scripts / f"lib{name}.sh").symlink_to("bitnami.sh")
    programs = root / "usr/local/bin"
    programs.mkdir(parents=True)
    (programs / "redis_exporter").symlink_to("/usr/bin/prometheus-redis-exporter")  # its name in the charts


def _tidy_servers(root: Path) -> None:
    for pattern in ("var/lib/redis", "var/lib/postgresql", "var/lib/prometheus", "var/cache"):
        packages.remove(root / pattern)


def _code(*modules: object) -> list[str]:
    return [_digest(Path(str(module.__file__))) for module in modules]  # type: ignore[attr-defined]


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest_tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): _digest(path)
        for path in sorted(root.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
