"""The lock and the files: one command at a time, and nothing half written, however a command ends."""

import json
import signal
import subprocess
import sys
import textwrap

import pytest

from sandbox import state
from sandbox.progress import SandboxError

HOLDER = """
    import sys, time
    from pathlib import Path
    from sandbox.state import locked
    with locked("up", path=Path(sys.argv[1])):
        print("held", flush=True)
        time.sleep(60)
"""


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "lock"


@pytest.fixture
def holder(lock):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(HOLDER), str(lock)], cwd=state.CLONE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_command_is_told_who_has_the_sandbox(lock, holder):
    with pytest.raises(SandboxError) as refused, state.locked("down", path=lock):
        pass
    assert f"`up` (process {holder.pid}) of {state.CLONE}" in refused.value.message


def test_the_lock_of_a_killed_command_is_free(lock, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with state.locked("up", path=lock):
        assert json.loads(lock.read_text())["verb"] == "up"


def test_down_takes_the_lock_file_away_and_the_next_command_makes_its_own(lock):
    with state.locked("down", path=lock, remove=True):
        pass
    assert not lock.exists()
    with state.locked("up", path=lock), pytest.raises(SandboxError), state.locked("up", path=lock):
        pass


def test_a_write_that_is_cut_leaves_the_old_content(tmp_path, monkeypatch):
    file = tmp_path / "record"
    state.write(file, "old")
    with monkeypatch.context() as cut:
        cut.setattr("os.fdopen", _no_space)
        with pytest.raises(OSError, match="No space"):
            state.write(file, "new")
    assert file.read_text() == "old"


def test_a_write_takes_effect_only_at_its_end(tmp_path, monkeypatch):
    file = tmp_path / "record"
    state.write(file, "old")
    with monkeypatch.context() as cut:
        cut.setattr("pathlib.Path.replace", _no_space)
        with pytest.raises(OSError, match="No space"):
            state.write(file, "new")
    assert file.read_text() == "old"


def test_a_lock_file_that_goes_away_while_it_is_opened_is_not_taken_for_the_lock(lock, monkeypatch):
    """A `down` may remove it between our open and our lock; the next command would then lock another file."""
    flock, removed = state.fcntl.flock, []

    def remove_first(descriptor, operation):
        if not removed:
            removed.append(lock.unlink())
        flock(descriptor, operation)

    monkeypatch.setattr(state.fcntl, "flock", remove_first)
    with state.locked("up", path=lock), pytest.raises(SandboxError), state.locked("down", path=lock):
        pass


def test_a_place_is_removed_at_once_and_what_a_killed_removal_left_goes_too(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "STATE", tmp_path / "state")
    monkeypatch.setattr(state, "RUNTIME", tmp_path / "runtime")
    (tmp_path / "state" / "containerd").mkdir(parents=True)
    with monkeypatch.context() as killed:
        killed.setattr(state.shutil, "rmtree", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            state.remove_places()
    assert not (tmp_path / "state").exists(), "half a directory would block the next run"
    assert state.removed_places(tmp_path / "state")
    state.remove_places()
    assert list(tmp_path.iterdir()) == []


def _interrupt(*_, **__):
    raise KeyboardInterrupt


def _no_space(*_):
    raise OSError(28, "No space left on device")


def test_a_record_that_cannot_be_read_counts_as_none(tmp_path):
    broken = tmp_path / "record.json"
    broken.write_text('{"pid": 12')
    assert state.read_record(broken) == {}
    assert state.read_record(tmp_path / "nothing") == {}


def test_mounts_are_listed_innermost_first():
    points = [str(point) for point in state.mounts_below(state.Path("/sys"))]
    assert "/sys" in points
    for position, point in enumerate(points):
        inner = [other for other in points[position + 1 :] if other.startswith(f"{point}/")]
        assert not inner, f"{inner} must be unmounted before {point}"


def test_what_was_true_before_a_reboot_is_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(state, "STATE", tmp_path / "state")
    monkeypatch.setattr(state, "RUNTIME", tmp_path / "runtime")
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "socket").touch()
    state.write(tmp_path / "state" / "owner.json", json.dumps({"boot": state.boot_id()}))
    state.forget_last_boot()
    assert (tmp_path / "runtime" / "socket").exists(), "the machine has not been restarted"

    state.write(tmp_path / "state" / "owner.json", json.dumps({"boot": "another"}))
    state.forget_last_boot()
    assert not (tmp_path / "runtime").exists()
