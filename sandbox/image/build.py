"""Builds the images into archives, what is missing of them, and keeps the cache that this needs in order."""

import errno
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandbox.image.archive import DamagedLayerError, image_id, write_archive
from sandbox.image.command import CommandError, NoSpaceError, Runner
from sandbox.image.errors import ImageBuildError
from sandbox.image.layer import Layer, LayerStore
from sandbox.image.packages import PackageSource
from sandbox.image.recipes import RUNTIME, ImageRecipe, LayerRecipe, image_recipes

NEEDED_BYTES = 3 << 30  # cold, at its peak: wheels unpacked, their layer, both archives
KEPT_ARCHIVES = 2  # per image: the present one and the one before it

Report = Callable[[str], None]
Recipes = Callable[[Path, PackageSource, Runner], Sequence[ImageRecipe]]


@dataclass(frozen=True)
class Image:
    """One image: its full reference and the archive that holds it (`ctr -n k8s.io images import ARCHIVE`).

    The archive's name changes whenever its content does, so it tells whether an import is still needed.
    """

    reference: str
    archive: Path


def build(cache: Path, log: Path, report: Report, runtime: Path = RUNTIME, recipes: Recipes = image_recipes) -> list[Image]:
    """Build what is missing below `cache/images` and return the images, complete and on the disk.

    Output of apt and pip goes to `log`; `report` gets one line per step. `runtime` is the directory with the runtime's
    package and its locked requirements.

    Raises:
        ImageBuildError: with the reason and the remedy; what was finished before it is kept.
    """
    try:
        directory = _writable(cache / "images")
        with _only_one_build(directory, report), _scratch(directory) as scratch:
            runner = Runner(log, scratch)
            store = LayerStore(directory / "layers", scratch)
            wanted = recipes(runtime, PackageSource(scratch / "apt", runner), runner)
            images = [_build_image(recipe, store, directory / "archives", scratch, report) for recipe in wanted]
            store.prune()
            _prune_archives(directory / "archives", images)
            return images
    except NoSpaceError as error:
        raise _no_space(cache) from error
    except CommandError as error:
        raise ImageBuildError(f"the image cannot be built: {error}", lines=error.lines, log=log) from error
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise _no_space(cache) from error


def _build_image(recipe: ImageRecipe, store: LayerStore, archives: Path, scratch: Path, report: Report) -> Image:
    layers = [_build_layer(each, store, recipe.name, report) for each in recipe.layers]
    path = _archive_path(archives, recipe, layers)
    if not path.exists():
        archives.mkdir(exist_ok=True)
        partial = scratch / path.name
        try:
            write_archive(partial, recipe.reference, recipe.config, layers)
        except DamagedLayerError as error:
            store.discard(error.layer)
            layers = [_build_layer(each, store, recipe.name, report) for each in recipe.layers]
            path = _archive_path(archives, recipe, layers)
            write_archive(partial, recipe.reference, recipe.config, layers)
        partial.rename(path)
        report(f"image {recipe.name}: {path.stat().st_size >> 20} MB in {path.name}")
    return Image(recipe.reference, path)


def _archive_path(archives: Path, recipe: ImageRecipe, layers: Sequence[Layer]) -> Path:
    identity = hashlib.sha256(f"{recipe.reference} {image_id(recipe.config, layers)}".encode()).hexdigest()
    return archives / f"{recipe.name}-{identity[:16]}.tar"


def _build_layer(recipe: LayerRecipe, store: LayerStore, image: str, report: Report) -> Layer:
    found = store.find(recipe.name, recipe.key)
    if found:
        return found
    report(f"image {image}: building layer {recipe.name}")
    started = time.monotonic()
    built = store.add(recipe.name, recipe.key, recipe.fill)
    report(f"image {image}: layer {recipe.name} {built.size >> 20} MB in {time.monotonic() - started:.0f} s")
    return built


def _writable(directory: Path) -> Path:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "lock").touch()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ImageBuildError(
            f"the image cannot be built in {directory}: {error.strerror}.",
            remedy="make that directory writable, or set XDG_CACHE_HOME to another",
        ) from error
    return directory


@contextmanager
def _only_one_build(directory: Path, report: Report) -> Iterator[None]:
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("image: waiting for another build that uses the same cache")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """A directory for unfinished work, on the same file system; a killed build's one is removed first."""
    scratch = directory / "unfinished"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _prune_archives(archives: Path, images: Sequence[Image]) -> None:
    for image in images:
        os.utime(image.archive)
        name = image.archive.stem.rpartition("-")[0]
        versions = sorted(archives.glob(f"{name}-*.tar"), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in versions[KEPT_ARCHIVES:]:
            path.unlink()


def _no_space(cache: Path) -> ImageBuildError:
    free = shutil.disk_usage(cache).free
    return ImageBuildError(
        f"no space left below {cache} for building the image: {free >> 20} MB are free, it takes up to {NEEDED_BYTES >> 20} MB.",
        remedy="free some, or set XDG_CACHE_HOME to a directory on a larger disk, and run it again",
    )
