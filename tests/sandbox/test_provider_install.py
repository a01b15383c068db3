"""Where the stand-ins are installed, and that they never replace an official plugin."""

import json
import os
import signal
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from sandbox.daemons import Process
from sandbox.plugins import STAND_INS, kubernetes_provider, version_of
from sandbox.plugins import install as install_plugins
from sandbox.progress import SandboxError
from tests.waiting import wait_until

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def built(tmp_path):
    """What stands for the provider that was built: a plugin that says its version. The real one runs in all other tests."""
    executable = tmp_path / "built" / "pulumi-resource-kubernetes"
    executable.parent.mkdir()
    executable.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {sys.executable} -P -m sandbox.providers.random "$@"\n')
    executable.chmod(0o755)
    return executable


@pytest.fixture
def install(built):
    return lambda home, bin_directory: install_plugins(home, bin_directory, built)


def test_the_provider_that_was_built_is_found_as_what_the_program_asks_for_and_says_its_own_version(install, built, home, tmp_path):
    kubernetes = next(plugin for plugin in install(home, tmp_path / "bin") if plugin.name == "kubernetes")
    assert kubernetes.path == kubernetes_provider(home)
    assert kubernetes.path.resolve() == built
    assert f"-v{metadata.version('pulumi-kubernetes')}/" in str(kubernetes.path)
    assert (kubernetes.version, kubernetes.asked_for) == (version_of(built), metadata.version("pulumi-kubernetes"))
    assert f"in place of {kubernetes.asked_for}" in str(kubernetes)


def test_another_build_takes_the_place_of_the_last(install, built, home, tmp_path):
    install(home, tmp_path / "bin")
    other = built.with_name("other")
    other.write_bytes(built.read_bytes())
    other.chmod(0o755)
    install_plugins(home, tmp_path / "bin", other)
    assert kubernetes_provider(home).resolve() == other


def test_a_kubernetes_provider_that_somebody_put_there_stays(install, built, home, tmp_path):
    theirs = kubernetes_provider(home)
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(built.read_bytes() + b"# theirs\n")
    theirs.chmod(0o755)
    install(home, tmp_path / "bin")
    assert theirs.read_bytes().endswith(b"# theirs\n")


def test_the_engine_finds_every_provider_in_exactly_the_version_of_its_sdk(install, home, tmp_path):
    installed = install(home, tmp_path / "bin")

    for name in STAND_INS:
        version = metadata.version(f"pulumi-{name}")
        launcher = home / "plugins" / f"resource-{name}-v{version}" / f"pulumi-resource-{name}"
        assert os.access(launcher, os.X_OK), f"the engine looks for {launcher}"
    assert {plugin.name for plugin in installed if plugin.stand_in} == {"language-python", *STAND_INS}
    assert os.access(tmp_path / "bin" / "pulumi-language-python", os.X_OK)


def test_an_official_plugin_stays(install, home, tmp_path):
    version = metadata.version("pulumi-random")
    official = home / "plugins" / f"resource-random-v{version}" / "pulumi-resource-random"
    official.parent.mkdir(parents=True)
    official.write_bytes(b"\x7fELF official")

    ways = {plugin.name: plugin.stand_in for plugin in install(home, tmp_path / "bin")}

    assert official.read_bytes() == b"\x7fELF official"
    assert ways["random"] is False
    assert ways["aws"] is True


def test_a_launcher_of_another_clone_is_pointed_at_this_one(install, home, tmp_path):
    install(home, tmp_path / "bin")
    launcher = next(home.glob("plugins/resource-aws-*/pulumi-resource-aws"))
    launcher.write_text(launcher.read_text().replace(str(PROJECT), "/somewhere/else"))

    install(home, tmp_path / "bin")

    assert str(PROJECT) in launcher.read_text()


def test_a_launcher_whose_clone_is_gone_says_what_to_do(install, home, tmp_path):
    install(home, tmp_path / "bin")
    launcher = tmp_path / "bin" / "pulumi-language-python"
    launcher.write_text(launcher.read_text().replace(sys.executable, "/gone/python"))

    said = subprocess.run([launcher], capture_output=True, text=True, check=False)

    assert said.returncode == 1
    assert "run `make up`" in said.stderr


def test_a_download_that_was_broken_off_does_not_hide_the_plugin(install, home, tmp_path):
    plugins = home / "plugins"
    plugins.mkdir(parents=True)
    partial = plugins / f"resource-aws-v{metadata.version('pulumi-aws')}.partial"
    partial.touch()

    install(home, tmp_path / "bin")

    assert not partial.exists(), "the engine ignores a plugin beside which this file lies"


@pytest.mark.parametrize("module", [*STAND_INS, "language_host"])
def test_a_plugin_says_its_port_first_and_ends_on_interrupt(install, module, tmp_path):
    # A program's directory may hold modules of any name.
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')")
    plugins = install(tmp_path / "home", tmp_path / "bin")
    launcher = next(plugin.path for plugin in plugins if plugin.name.startswith(module.partition("_")[0]))

    with subprocess.Popen([launcher, "127.0.0.1:1"], cwd=tmp_path, stdout=subprocess.PIPE, text=True) as process:
        port = process.stdout.readline()
        process.send_signal(2)
        assert process.wait(timeout=60) == 0

    assert 1024 < json.loads(port) < 65536


@pytest.mark.parametrize("module", [*STAND_INS, "language_host"])
def test_a_plugin_starts_without_the_sdk_and_without_boto3(module):
    script = f"import sys, sandbox.providers.{module}; print(sorted({{'pulumi', 'boto3', 'botocore.parsers'}} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]", "every preview waits for what a plugin imports"


def test_a_plugin_ends_when_the_engine_is_gone(install, tmp_path):
    launcher = next(plugin.path for plugin in install(tmp_path / "home", tmp_path / "bin") if plugin.name == "random")
    engine = (
        "import subprocess, sys, os\n"
        f"plugin = subprocess.Popen([{str(launcher)!r}, '127.0.0.1:1'], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)\n"
        "plugin.stdout.readline()\nprint(plugin.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )

    pid = int(subprocess.run([sys.executable, "-c", engine], capture_output=True, text=True, check=False).stdout)

    try:
        wait_until(lambda: Process.of(pid) is None, "the plugin of a killed engine ended")
    finally:
        if plugin := Process.of(pid):
            plugin.send(signal.SIGKILL)


def test_a_plugin_that_does_not_start_is_named(tmp_path):
    broken = tmp_path / "pulumi-resource-kubernetes"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    with pytest.raises(SandboxError, match="pulumi-resource-kubernetes does not start"):
        version_of(broken)
