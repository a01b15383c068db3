"""Where the sandbox cannot run it says so in one line, with what to do about it."""

import shutil
import socket
import subprocess
import sys
import threading

import pytest

from sandbox import cgroups, machine, state
from sandbox.progress import SandboxError


def refusal(check, *arguments, **keywords):
    with pytest.raises(SandboxError) as refused:
        check(*arguments, **keywords)
    assert "\n" not in refused.value.message
    assert refused.value.remedy
    return f"{refused.value.message} | {refused.value.remedy}"


def test_another_system_than_linux_is_pointed_at_a_cluster_of_its_own():
    said = refusal(machine.require_possible, system="Darwin", user=0)
    assert "Darwin" in said
    assert "KUBECONTEXT" in said


def test_without_root_it_says_how_to_become_root():
    assert "sudo" in refusal(machine.require_possible, system="Linux", user=1000)


def test_a_full_disk_is_refused_before_anything_is_built(tmp_path, monkeypatch):
    machine.require_space(building=False, cache=tmp_path / "cache", state=tmp_path / "state")
    monkeypatch.setattr(machine, "NEEDED_FREE", 1 << 60)
    assert str(tmp_path / "state") in refusal(machine.require_space, building=False, cache=tmp_path, state=tmp_path / "state")


def test_more_space_is_asked_for_when_tools_must_be_built(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "NEEDED_FREE_TO_BUILD", 1 << 60)
    machine.require_space(building=False, cache=tmp_path, state=tmp_path)
    assert "XDG_CACHE_HOME" in refusal(machine.require_space, building=True, cache=tmp_path, state=tmp_path / "state")


def test_a_port_in_use_is_named_with_the_process_that_has_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        said = refusal(machine.require_free_ports, {f"127.0.0.1:{port}": "a-daemon-that-does-not-run"})
    assert f"port {port}" in said
    if shutil.which("ss"):
        assert "process " in said
    machine.require_free_ports({f"127.0.0.1:{port}": "a-daemon-that-does-not-run"})


def test_another_kubelet_on_the_machine_is_refused(tmp_path):
    # Every kubelet uses /var/lib/kubelet/device-plugins: ours would cut the other one off.
    shutil.copy2(shutil.which("sleep"), tmp_path / "kubelet")
    other = subprocess.Popen([tmp_path / "kubelet", "300"])
    try:
        said = refusal(machine.require_no_other_kubelet)
        assert f"process {other.pid}" in said
    finally:
        other.kill()
        other.wait()
    machine.require_no_other_kubelet()


def test_a_missing_command_is_known_by_its_package():
    commands = {"sh": "dash", "surely-no-such-command": "its-package"}
    assert machine.missing_packages(commands) == ["its-package"]


def test_without_apt_the_packages_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refusal(machine.install, ["containerd", "runc"], tmp_path / "log")
    assert "containerd runc" in said


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """An apt-get that does what the test says, and a dpkg that always succeeds."""

    def install(script):
        for name, content in (("apt-get", script), ("dpkg", "exit 0")):
            (tmp_path / name).write_text(f"#!/bin/sh\n{content}\n")
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        return tmp_path / "log"

    return install


def test_packages_are_installed_after_the_lists_are_fetched(apt):
    log = apt('echo "apt-get $*"')
    machine.install(["containerd"], log)
    ran = [line.split()[-1] for line in log.read_text().splitlines() if line.startswith("apt-get ")]
    assert ran == ["update", "containerd"]


def test_when_apt_fails_its_last_lines_are_shown(apt):
    log = apt('case "$*" in *install*) echo "E: Unable to locate package containerd"; exit 100;; esac')
    with pytest.raises(SandboxError) as failed:
        machine.install(["containerd"], log)
    assert failed.value.lines[-1] == "E: Unable to locate package containerd"
    assert "containerd" in failed.value.remedy


def test_a_refusal_is_one_line_and_no_traceback():
    program = "import sys; from sandbox import machine, __main__ as m; machine.platform.system = lambda: 'Plan9'; sys.argv[1:] = ['up']; sys.exit(m.main())"
    result = subprocess.run([sys.executable, "-c", program], cwd=state.CLONE, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "Plan9" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_processes_of_pods_are_found_while_their_cgroups_go_away(tmp_path, monkeypatch):
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    pods = tmp_path / "memory" / cgroups.NAME / "kubepods"
    (pods / "stays").mkdir(parents=True)
    (pods / "stays" / "cgroup.procs").write_text("17\n4711\n")
    is_over = threading.Event()

    def come_and_go():
        while not is_over.is_set():
            for number in range(20):
                (pods / f"pod{number}" / "container").mkdir(parents=True)
            for number in range(20):
                (pods / f"pod{number}" / "container").rmdir()
                (pods / f"pod{number}").rmdir()

    others = threading.Thread(target=come_and_go)
    others.start()
    try:
        assert all(cgroups.processes() == {17, 4711} for _ in range(300))
    finally:
        is_over.set()
        others.join()
