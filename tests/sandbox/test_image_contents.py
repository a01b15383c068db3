"""The real images: what is in them starts, is compiled, belongs to nobody, and changes only where a change was made."""

import json
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest

from sandbox import state
from sandbox.image import ImageBuildError, build
from sandbox.image.recipes import RUNTIME
from sandbox.image.wheels import SITE_PACKAGES

UNCHECKED_HASH = 0b01  # PEP 552: bit 0 hash instead of time, bit 1 "check the source"
LOADER = "/lib64/ld-linux-x86-64.so.2"


@pytest.fixture(scope="module")
def cache(cloud):
    """A cache of our own that begins with the sandbox's layers: files are linked, never changed in place."""
    with tempfile.TemporaryDirectory(dir=state.CACHE) as directory:
        shutil.copytree(state.CACHE / "images", Path(directory) / "images", copy_function=os.link)
        yield Path(directory)


@pytest.fixture(scope="module")
def images(cache, tmp_path_factory):
    """Name of each image to its reference and archive."""
    built = build(cache, tmp_path_factory.mktemp("log") / "log", print)
    return {image.reference.rpartition("/")[2].partition(":")[0]: image for image in built}


def layers_of(archive: Path) -> list[str]:
    """Names of the layers' blobs, from the lowest up."""
    with tarfile.open(archive) as opened:
        (entry,) = json.load(opened.extractfile("index.json"))["manifests"]
        manifest = json.load(opened.extractfile("blobs/" + entry["digest"].replace(":", "/")))
    return ["blobs/" + layer["digest"].replace(":", "/") for layer in manifest["layers"]]


@pytest.fixture(scope="module")
def roots(images, tmp_path_factory):
    """Name of each image to its unpacked root file system."""
    unpacked = {}
    for name, image in images.items():
        unpacked[name] = tmp_path_factory.mktemp(name)
        unpacked[name].chmod(0o755)
        with tarfile.open(image.archive) as archive:
            for layer in layers_of(image.archive):
                with tarfile.open(fileobj=archive.extractfile(layer)) as opened:
                    opened.extractall(unpacked[name], filter="fully_trusted")
        (unpacked[name] / "dev").mkdir(exist_ok=True)
        os.mknod(unpacked[name] / "dev/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))  # the runtime would provide it
        (unpacked[name] / "dev/null").chmod(0o666)
    yield unpacked
    for root in unpacked.values():
        shutil.rmtree(root)


def inside(root: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the image as its user."""
    path = "/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin"
    return subprocess.run(
        ["chroot", "--userspec=1001:0", root, "/usr/bin/env", "-i", f"PATH={path}", "HOME=/tmp", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_change_of_our_package_rebuilds_only_the_last_layer(images, cache, tmp_path):
    runtime = tmp_path / "runtime"
    shutil.copytree(RUNTIME, runtime)
    with (runtime / "feature_runtime/__init__.py").open("a") as module:
        module.write("\nCHANGED = True\n")
    said: list[str] = []
    changed, unchanged = build(cache, tmp_path / "log", said.append, runtime)
    assert [line for line in said if "building" in line] == ["image feature-runtime: building layer package"]
    assert unchanged == images["data-stores"]
    before = images["feature-runtime"]
    assert changed.reference != before.reference, "a changed runtime needs a tag of its own, or no pod would restart"
    assert layers_of(changed.archive)[:-1] == layers_of(before.archive)[:-1]
    assert layers_of(changed.archive)[-1] != layers_of(before.archive)[-1]


def test_a_package_with_a_syntax_error_is_refused_with_the_place_of_the_error(images, cache, tmp_path):
    runtime = tmp_path / "runtime"
    shutil.copytree(RUNTIME, runtime)
    (runtime / "feature_runtime/broken.py").write_text("def broken(:\n")
    with pytest.raises(ImageBuildError) as refusal:
        build(cache, tmp_path / "log", print, runtime)
    assert "does not compile" in str(refusal.value)
    assert 'feature_runtime/broken.py", line 1' in str(refusal.value)


def test_every_module_is_compiled_and_its_bytecode_is_never_doubted(roots):
    root = roots["feature-runtime"]
    uncompiled, doubted = [], []
    for directory in (SITE_PACKAGES, "usr/lib/python3.11"):
        for source in (root / directory).rglob("*.py"):
            compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-311.pyc"
            if not compiled.exists():
                uncompiled.append(source)
            elif int.from_bytes(compiled.read_bytes()[4:8], "little") != UNCHECKED_HASH:
                doubted.append(source)
    assert not uncompiled, "each Feast process would start seconds later"
    assert not doubted, "a layer has no times: bytecode that is compared with them would be thrown away"


@pytest.mark.parametrize("name", ["feature-runtime", "data-stores"])
def test_every_program_of_an_image_finds_its_libraries(roots, name):
    root = roots[name]
    broken = []
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.open("rb").read(4) != b"\x7fELF":
            continue
        listed = subprocess.run(
            ["chroot", root, LOADER, "--list", f"/{path.relative_to(root)}"], capture_output=True, text=True, check=False
        )
        if "not found" in listed.stdout + listed.stderr:
            broken.append(f"{path.relative_to(root)}: {listed.stdout}{listed.stderr}")
    assert not broken


@pytest.mark.parametrize("name", ["feature-runtime", "data-stores"])
def test_everything_belongs_to_root_and_nothing_raises_privileges(roots, name):
    suspicious = []
    for path in roots[name].rglob("*"):
        status = path.lstat()
        if status.st_uid or status.st_gid or (stat.S_ISREG(status.st_mode) and status.st_mode & (stat.S_ISUID | stat.S_ISGID)):
            suspicious.append(path)
    assert not suspicious


def test_the_runtime_starts_as_its_user_and_knows_the_certificate_authorities(roots):
    root = roots["feature-runtime"]
    libraries = "pyarrow.dataset, psycopg, redis, hiredis, boto3, s3fs, grpc, orjson, uvloop, httptools, prometheus_client, duckdb"
    modules = f"feast, {libraries}, sqlite3, ctypes, zoneinfo, feature_runtime.serve, feature_runtime.online_store, feature_runtime.skew"
    imported = inside(root, "python3", "-c", f"import {modules}; print(feast.__version__)")
    assert imported.stdout == "0.67.0\n", imported.stderr
    trusted = inside(root, "python3", "-c", "import ssl; print(len(ssl.create_default_context().get_ca_certs()))")
    assert int(trusted.stdout) > 100, trusted.stderr
    assert inside(root, "id", "-un").stdout == "feast\n"
    assert inside(root, "feature-runtime", "--help").returncode == 0
    assert inside(root, "feast", "version").returncode == 0


def test_the_data_stores_start_as_their_user(roots):
    root = roots["data-stores"]
    servers = ("redis-server", "redis-sentinel", "redis-cli", "postgres", "psql", "pg_isready", "pg_basebackup", "initdb")
    for program in (*servers, "redis_exporter", "prometheus-postgres-exporter"):
        started = inside(root, program, "--version")
        assert started.returncode == 0, f"{program}: {started.stderr}"


def test_the_scripts_of_the_real_charts_find_the_functions_and_tools_that_they_call(roots):
    root = roots["data-stores"]
    script = """
        for name in os log validations file net; do . "/opt/bitnami/scripts/lib$name.sh" || exit 1; done
        is_boolean_yes YES && ! is_boolean_yes no && retry_while true 1 0 || exit 2
        printf 'port 1\n' > /tmp/settings && replace_in_file /tmp/settings 'port .*' 'port #/2' && cat /tmp/settings
        openssl version > /dev/null
    """
    done = inside(root, "bash", "-ec", script)
    assert (done.returncode, done.stdout) == (0, "port #/2\n"), done.stderr


def test_documentation_translations_and_build_tools_stay_out(roots):
    for root in roots.values():
        assert not (root / "usr/share/man").exists()
        assert not (root / "usr/share/locale").exists()
        assert not list((root / "usr/bin").glob("perl*"))
        assert (root / "usr/share/doc/libc6/copyright").exists(), "licences travel with what they license"
