"""Daemons: they outlive who started them, keep nothing of theirs open, and nobody else is ever signalled."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sandbox import daemons, state
from sandbox.daemons import Daemon, Process
from sandbox.progress import SandboxError


@pytest.fixture
def daemon(tmp_path):
    """A process that is well as soon as it has written a file."""

    def make(script="touch {ready}; exec sleep 300", **changes):
        ready = tmp_path / "ready"
        settings = {
            "name": f"test-{tmp_path.name}",
            "command": ["sh", "-c", script.format(ready=ready)],
            "healthy": ready.exists,
            "records": tmp_path / "run",
            "logs": tmp_path / "log",
            "start_seconds": 5,
        }
        return Daemon(**settings | changes)

    yield make
    daemons.stop(f"test-{tmp_path.name}", 1, tmp_path / "run")


def test_a_daemon_that_runs_is_left_alone(daemon):
    assert daemon().ensure() is True
    first = daemon().process()
    assert daemon().ensure() is False
    assert daemon().process() == first


def test_a_killed_daemon_is_started_again(daemon):
    daemon().ensure()
    first = daemon().process()
    first.end(0)
    assert daemon().ensure() is True
    assert daemon().process() not in (first, None)


def test_a_changed_configuration_restarts_the_daemon(daemon, tmp_path):
    configuration = tmp_path / "configuration"
    configuration.write_text("a")
    daemon(files=[configuration]).ensure()
    assert daemon(files=[configuration]).ensure() is False
    configuration.write_text("b")
    assert daemon(files=[configuration]).ensure() is True


def test_a_daemon_that_no_longer_answers_is_replaced(daemon, tmp_path, monkeypatch):
    monkeypatch.setattr(daemons, "HEALTH_SECONDS", 0.2)
    daemon().ensure()
    first = daemon().process()
    (tmp_path / "ready").unlink()
    first.send(signal.SIGSTOP)
    assert daemon().ensure() is True
    assert not first.alive


def test_a_pid_that_now_belongs_to_somebody_else_is_never_signalled(daemon):
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        ours = daemon()
        record = {"pid": str(stranger.pid), "started": "1", "boot": state.boot_id(), "fingerprint": ours.fingerprint}
        state.write(ours.records / f"{ours.name}.json", json.dumps(record))
        assert ours.process() is None, "the start time tells the stranger from the daemon that had this pid"
        ours.stop()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_record_of_another_boot_names_nobody(daemon):
    stranger = subprocess.Popen(["sleep", "300"])
    try:
        ours = daemon()
        process = Process.of(stranger.pid)
        record = {"pid": str(process.pid), "started": str(process.started), "boot": "another", "fingerprint": ""}
        state.write(ours.records / f"{ours.name}.json", json.dumps(record))
        assert ours.process() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_daemon_that_a_killed_run_did_not_record_is_found_and_replaced(daemon):
    daemon().ensure()
    orphan = daemon().process()
    (daemon().records / f"{daemon().name}.json").unlink()
    assert daemon().process() == orphan
    assert daemon().ensure() is True
    assert not orphan.alive, "two of one kind would fight for its port"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a mount namespace")
def test_a_daemon_of_a_sandbox_inside_a_container_is_not_ours(daemon):
    environment = {**os.environ, daemons.MARKER: daemon().name}
    inside = subprocess.Popen(["unshare", "--mount", "sleep", "300"], env=environment, start_new_session=True)
    try:
        time.sleep(0.5)
        assert daemon().process() is None
        daemon().stop()
        assert inside.poll() is None
    finally:
        inside.kill()
        inside.wait()


def test_all_of_a_kind_are_stopped(daemon):
    daemon().ensure()
    first = daemon().process()
    state.write(daemon().records / f"{daemon().name}.json", "{}")
    daemon()._start()
    second = daemon().process()
    assert first != second
    daemon().stop()
    assert not first.alive
    assert not second.alive


def test_a_zombie_does_not_count_as_running():
    child = subprocess.Popen(["true"])
    process = Process.of(child.pid)
    time.sleep(0.2)
    assert Process.of(child.pid) is None
    assert process is None or not process.alive
    child.returncode = 0


def test_a_daemon_that_ends_at_once_is_explained_by_its_own_lines(daemon):
    with pytest.raises(SandboxError) as failed:
        daemon("echo listen: address in use >&2; exit 1").ensure()
    assert "ended right after it was started" in failed.value.message
    assert failed.value.lines == ["listen: address in use"]


def test_a_daemon_that_does_not_get_well_is_explained_by_its_own_lines(daemon):
    with pytest.raises(SandboxError) as failed:
        daemon("echo waiting for nothing; exec sleep 300", start_seconds=0.5).ensure()
    assert "not within 0.5 s" in failed.value.message
    assert failed.value.lines == ["waiting for nothing"]


STARTER = """
    import os, sys
    from pathlib import Path
    from sandbox.daemons import Daemon
    from sandbox.state import locked
    place = Path(sys.argv[1])
    with locked("up", path=place / "lock"):
        Daemon(name="test-" + place.name, command=["sleep", "300"], healthy=lambda: True, records=place / "run", logs=place / "log").ensure()
"""


def test_a_daemon_outlives_its_starter_and_keeps_neither_its_pipes_nor_its_lock(daemon, tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(STARTER), str(tmp_path)]
    # With a pipe kept open by the daemon this would wait for as long as the daemon lives, as `make up | tee` would.
    subprocess.run(command, cwd=state.CLONE, capture_output=True, check=True, timeout=20)
    process = daemon().process()
    assert process is not None
    assert os.getsid(process.pid) == process.pid, "Ctrl-C in the starter's terminal must not reach it"
    opened = {str(link.readlink()) for link in Path(f"/proc/{process.pid}/fd").iterdir()}
    assert opened == {"/dev/null", str(tmp_path / "log" / f"test-{tmp_path.name}.log")}
    with state.locked("up", path=tmp_path / "lock"):
        pass
