"""The image builder on small images of its own: real layers, real archives, real interruptions."""

import contextlib
import hashlib
import json
import os
import signal
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from sandbox.image import ImageBuildError, build
from sandbox.image.archive import ImageConfig
from sandbox.image.command import CommandError, NoSpaceError, Runner
from sandbox.image.layer import LayerStore
from sandbox.image.recipes import ImageRecipe, LayerRecipe

CONFIG = ImageConfig(entrypoint=["/start"], environment={"HOME": "/tmp"}, user="1001:0")


def writes(files: dict[str, str | bytes]):
    """A fill function that writes these files."""

    def fill(root: Path) -> None:
        for name, content in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    return fill


def layer_of(name: str, files: dict[str, str | bytes]) -> LayerRecipe:
    return LayerRecipe(name, {"files": {path: repr(content) for path, content in files.items()}}, writes(files))


def small_image(*layers: LayerRecipe):
    return lambda _runtime, _source, _runner: [ImageRecipe("small", "1", CONFIG, layers)]


@pytest.fixture
def said():
    return []


@pytest.fixture
def build_image(tmp_path, said):
    """Builds an image of these layers and returns it; what the builder reports is in `said`."""

    def build_it(*layers: LayerRecipe, cache: Path = tmp_path / "cache"):
        said.clear()
        (image,) = build(cache, tmp_path / "log", said.append, recipes=small_image(*layers))
        return image

    return build_it


def contents(archive: Path) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        return {member.name: opened.extractfile(member).read() for member in opened if member.isreg()}


def index_of(archive: Path) -> dict:
    return json.loads(contents(archive)["index.json"])


def store_in(directory: Path) -> LayerStore:
    (directory / "scratch").mkdir(parents=True, exist_ok=True)
    return LayerStore(directory / "layers", directory / "scratch")


def test_the_same_files_make_the_same_layer_whatever_their_times_owners_and_order(tmp_path):
    files = {"usr/bin/tool": "run", "etc/settings": "on", "etc/a": "1"}

    def other_circumstances(root: Path) -> None:
        writes(dict(reversed(files.items())))(root)
        for path in root.rglob("*"):
            os.utime(path, (1, 1))
            with contextlib.suppress(PermissionError):  # only root may give files away
                os.chown(path, 1234, 1234)

    files |= {f"data/{number:02}": str(number) for number in range(40)}
    first = store_in(tmp_path / "one").add("layer", "k" * 64, writes(files))
    second = store_in(tmp_path / "two").add("layer", "k" * 64, other_circumstances)
    assert first.digest == second.digest == hashlib.sha256(first.path.read_bytes()).hexdigest()
    with tarfile.open(first.path) as opened:
        names = [name for name in opened.getnames() if name.startswith("data/")]
    assert names == sorted(names), "directories list their files in an order of their own"


def test_a_layer_keeps_modes_and_links_but_no_right_to_become_somebody_else(tmp_path):
    def fill(root: Path) -> None:
        (root / "su").write_text("")
        (root / "su").chmod(0o4755)
        (root / "link").symlink_to("su")
        (root / "tmp").mkdir()
        (root / "tmp").chmod(0o1777)

    layer = store_in(tmp_path).add("layer", "k" * 64, fill)
    with tarfile.open(layer.path) as opened:
        members = {member.name: member for member in opened}
    assert members["su"].mode == 0o755, "a set-uid file would let a process gain privileges"
    assert members["tmp"].mode == 0o1777
    assert members["link"].issym()
    assert {(member.uid, member.gid, member.mtime) for member in members.values()} == {(0, 0, 0)}


def test_the_archive_is_an_oci_layout_under_the_full_reference(build_image):
    image = build_image(layer_of("base", {"etc/base": "1"}), layer_of("package", {"app/main": "2"}))
    assert image.reference == "localhost/feast-eks/small:1"
    files = contents(image.archive)
    (entry,) = index_of(image.archive)["manifests"]
    assert entry["annotations"]["io.containerd.image.name"] == image.reference
    for name, content in files.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(content).hexdigest() == name.rpartition("/")[2]
    manifest = json.loads(files["blobs/" + entry["digest"].replace(":", "/")])
    configuration = json.loads(files["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    assert configuration["config"]["User"] == "1001:0"
    assert configuration["config"]["Entrypoint"] == ["/start"]
    assert configuration["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert len(manifest["layers"]) == 2


def test_two_machines_build_the_same_archive(build_image, tmp_path):
    layers = [layer_of("base", {"etc/base": "1"}), layer_of("package", {"app/main": "2"})]
    first = build_image(*layers, cache=tmp_path / "one")
    second = build_image(*layers, cache=tmp_path / "two")
    assert first.archive.name == second.archive.name
    assert first.archive.read_bytes() == second.archive.read_bytes()


def test_a_changed_layer_is_the_only_one_built_again_and_gives_the_archive_a_new_name(build_image, said):
    base = layer_of("base", {"etc/base": "1"})
    before = build_image(base, layer_of("package", {"app/main": "old"}))
    assert [line for line in said if "building" in line] == [
        "image small: building layer base",
        "image small: building layer package",
    ]
    after = build_image(base, layer_of("package", {"app/main": "new"}))
    assert [line for line in said if "building" in line] == ["image small: building layer package"]
    assert after.archive != before.archive, "the name of the archive is how the sandbox knows that it must import it"


def test_nothing_is_built_again_when_nothing_changed(build_image, said):
    layers = [layer_of("base", {"etc/base": "1"})]
    first = build_image(*layers)
    second = build_image(*layers)
    assert (second, said) == (first, [])


def test_a_build_that_was_killed_leaves_no_half_layer_and_keeps_the_finished_ones(build_image, said, tmp_path):
    def dies(root: Path) -> None:
        (root / "half").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    killed = os.fork()
    if killed == 0:
        build_image(layer_of("base", {"etc/base": "1"}), LayerRecipe("package", {"files": {"whole": "'whole'"}}, dies))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(killed, 0)[1]) == -signal.SIGKILL
    assert list((tmp_path / "cache/images/unfinished").rglob("half")), "the build was meant to die in the middle of a layer"

    image = build_image(layer_of("base", {"etc/base": "1"}), layer_of("package", {"whole": "whole"}))
    assert [line for line in said if "building" in line] == ["image small: building layer package"]
    assert not (tmp_path / "cache/images/unfinished").exists()
    layers = [content for name, content in contents(image.archive).items() if b"whole" in content and name.startswith("blobs")]
    assert layers, "the layer that was interrupted has to be complete"
    assert not any(b"half" in content for content in layers)


@pytest.mark.parametrize("damage", ["shortened", "changed"])
def test_a_damaged_layer_is_built_again(build_image, said, damage, tmp_path):
    layers = [layer_of("base", {"etc/base": "content " * 1000})]
    good = build_image(*layers)
    expected = good.archive.read_bytes()
    good.archive.unlink()
    (path,) = (tmp_path / "cache/images/layers").glob("base-*.tar")
    content = path.read_bytes()
    path.write_bytes(content[:1000] if damage == "shortened" else content.replace(b"content", b"CONTENT"))
    again = build_image(*layers)
    assert "image small: building layer base" in said
    assert again.archive.read_bytes() == expected


@pytest.fixture
def tiny_disk(tmp_path):
    """A file system of one megabyte, and the function that makes it larger."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    yield disk, lambda: subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    subprocess.run(["umount", disk], check=True)


def test_a_full_disk_is_said_with_the_remedy_and_leaves_nothing_in_the_way(build_image, tiny_disk):
    disk, enlarge = tiny_disk
    layers = [layer_of("small", {"etc/base": "1"}), layer_of("large", {"data": os.urandom(3 << 20)})]
    with pytest.raises(ImageBuildError) as refusal:
        build_image(*layers, cache=disk)
    assert "no space left below" in str(refusal.value)
    assert "XDG_CACHE_HOME" in str(refusal.value)
    assert not (disk / "images/unfinished").exists(), "what was not finished must not hold the space that is missing"
    enlarge()
    assert build_image(*layers, cache=disk).archive.exists()


def test_a_command_that_finds_the_disk_full_is_no_mystery(tiny_disk, tmp_path):
    disk, _ = tiny_disk
    with pytest.raises(NoSpaceError):
        Runner(tmp_path / "log", disk).run(["dd", "if=/dev/zero", f"of={disk}/file", "bs=1M", "count=3"])


def test_a_cache_that_cannot_be_written_is_said_with_its_place(tmp_path, build_image):
    (tmp_path / "cache").write_text("a file where the directory should be")
    with pytest.raises(ImageBuildError, match="XDG_CACHE_HOME"):
        build_image(layer_of("base", {"etc/base": "1"}))


def test_a_failing_command_comes_back_as_the_line_that_explains_it(tmp_path):
    runner = Runner(tmp_path / "log", tmp_path)
    with pytest.raises(CommandError) as failure:
        runner.run(["sh", "-c", "echo 'E: Unable to locate package nonsense' >&2; echo afterwards >&2; exit 100"])
    assert failure.value.reason == "Unable to locate package nonsense"
    assert "Unable to locate" in runner.log.read_text(), "the log must have what the user is sent to read"


def test_a_missing_program_is_named_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ImageBuildError, match=r"apt-get is not on PATH.*\n.*install the package that has apt-get"):
        Runner(tmp_path / "log", tmp_path).run(["apt-get", "update"])


def test_old_layers_and_archives_do_not_pile_up(build_image, tmp_path):
    for number in range(5):
        build_image(layer_of("package", {"app/main": str(number)}))
    assert len(list((tmp_path / "cache/images/layers").glob("*.tar"))) == 2
    assert len(list((tmp_path / "cache/images/archives").glob("*.tar"))) == 2


def test_two_builds_of_one_cache_wait_for_each_other(tmp_path, said):
    (tmp_path / "cache/images").mkdir(parents=True)
    holder = subprocess.Popen(
        ["flock", "--shared", tmp_path / "cache/images/lock", "sh", "-c", f"echo held; read _; touch {tmp_path}/released"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout.readline() == "held\n"
    release = threading.Timer(0.5, holder.communicate, ["go\n"])

    def report(line: str) -> None:
        said.append(line)
        if "waiting" in line:
            release.start()
        else:
            assert (tmp_path / "released").exists(), "two builds would remove each other's unfinished work"

    build(tmp_path / "cache", tmp_path / "log", report, recipes=small_image(layer_of("base", {"etc/base": "1"})))
    release.join()
    assert said[0] == "image: waiting for another build that uses the same cache"
