"""What the user reads: steps, waiting, and the lines that explain a failure."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from sandbox import progress, state
from sandbox.daemons import Process
from sandbox.progress import Progress, SandboxError
from tests.waiting import wait_until


def test_a_quick_step_is_one_line_with_its_outcome():
    out = io.StringIO()
    with Progress(3, out).step("Storage") as step:
        step.ends_with("16 volumes")
    assert out.getvalue() == "[ 1/3] Storage: 16 volumes (0.0 s)\n"


def test_a_long_step_says_what_it_waits_for(monkeypatch):
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.2)
    out = io.StringIO()
    with Progress(1, out).step("Tools") as step:
        step.says("building kubelet, 4 of 11 tools there")
        time.sleep(0.8)
    assert "building kubelet, 4 of 11 tools there" in out.getvalue().splitlines()[0]


def test_a_failed_step_is_shown_as_failed():
    out = io.StringIO()
    with pytest.raises(SandboxError), Progress(1, out).step("Storage"):
        raise SandboxError("no")
    assert "failed after" in out.getvalue()


def test_a_reader_that_has_gone_does_not_stop_the_work():
    class Gone(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    shown = Progress(2, Gone())
    with shown.step("Storage"):
        pass
    with shown.step("S3"):
        pass
    assert shown.number == 2


@pytest.mark.parametrize(("seconds", "text"), [(0.44, "0.4 s"), (9.97, "10 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s")])
def test_durations_read_as_people_say_them(seconds, text):
    assert progress.duration(seconds) == text


def test_a_failed_command_is_explained_by_its_last_lines_only(tmp_path):
    log = tmp_path / "log"
    log.write_text("from an earlier run\n")
    script = "for i in $(seq 100); do echo line $i; done; exit 3"
    with pytest.raises(SandboxError) as failed:
        progress.run(["sh", "-c", script], log=log, what="counting", remedy="count less")
    assert failed.value.message == "counting failed (exit status 3)"
    assert failed.value.lines[-1] == "line 100"
    assert len(failed.value.lines) == progress.EXPLAINING_LINES
    assert "remedy: count less" in str(failed.value)


def test_lines_of_an_earlier_run_do_not_explain_this_one(tmp_path):
    log = tmp_path / "log"
    log.write_text("from an earlier run\n")
    with pytest.raises(SandboxError) as failed:
        progress.run(["sh", "-c", "echo from this one; exit 1"], log=log, what="running")
    assert failed.value.lines == ["from this one"]


def test_a_command_that_does_not_exist_is_an_error_and_no_traceback(tmp_path):
    with pytest.raises(SandboxError, match="failed"):
        progress.run(["surely-no-such-command"], log=tmp_path / "log", what="trying", outlives_us=True)


def test_a_command_ends_with_us_even_when_we_are_killed(tmp_path):
    program = """
        import sys
        from pathlib import Path
        from sandbox.progress import run
        run(["sh", "-c", "echo $$ > pid; exec sleep 300"], log=Path("log"), what="sleeping", directory=Path.cwd())
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(state.CLONE)}
    )
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip(), "the program runs")
    process.send_signal(signal.SIGKILL)
    process.wait()
    child = int((tmp_path / "pid").read_text())
    wait_until(lambda: Process.of(child) is None, "the program's child ended")
