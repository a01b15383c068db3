"""Tools: pinned, found before they are built, built whole or not at all."""

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from sandbox import state
from sandbox.daemons import Process
from sandbox.progress import SandboxError
from sandbox.tools import KWOK, TOOLS, Toolbox
from sandbox.tools import go as go_module
from tests.sandbox.workshop import GOOD
from tests.waiting import wait_until


def test_the_api_server_is_built_first_because_it_takes_longest():
    assert TOOLS[0].name == "kube-apiserver"


def test_every_tool_has_its_version_from_a_go_mod():
    versions = {tool.name: tool.version for tool in TOOLS}
    assert versions["kubelet"] == "v1.35.4"
    assert versions["pulumi"] == "v3.274.1"
    assert versions["etcd"] == "v3.6.14"


def test_kwok_is_pinned_and_nobody_waits_for_it_on_the_way_up():
    assert KWOK.version == "v0.8.0"
    assert KWOK not in TOOLS


def test_a_tool_is_built_once_and_then_taken_from_the_cache(workshop):
    first = workshop.toolbox()
    assert subprocess.check_output([first.path("tool")], text=True) == "tool v1.2.3\n"
    assert "1 built (tool" in first.summary()
    second = workshop.toolbox()
    assert second.path("tool") == first.path("tool")
    assert second.summary() == "1 cached"
    assert workshop.count == 1


@pytest.mark.parametrize("file", ["go.mod", "go.sum", "main.go"])
def test_a_changed_source_is_built_again(workshop, file):
    workshop.toolbox().path("tool")
    with (workshop.module / file).open("a") as source:
        source.write("\n// changed\n")
    workshop.toolbox().path("tool")
    assert workshop.count == 2


def test_another_go_builds_again(workshop):
    workshop.toolbox().path("tool")
    workshop.go_that(GOOD, version="go1.27.1")
    workshop.toolbox().path("tool")
    assert workshop.count == 2


@pytest.mark.parametrize("output", ["tool v1.2.3", "Tool Version: 1.2.3+g1234", "tool-1.2.3 linux"])
def test_the_pinned_version_on_path_is_taken(workshop, output):
    workshop.executable("tool", f"#!/bin/sh\necho '{output}'\n")
    toolbox = workshop.toolbox()
    assert toolbox.path("tool") == workshop.bin / "tool"
    assert toolbox.summary() == "1 on PATH"
    assert workshop.count == 0


@pytest.mark.parametrize("output", ["tool v1.2.4", "tool v11.2.3", "tool v1.2.30", "tool v1.2.3-rc.1", "not a version"])
def test_any_other_version_on_path_is_left_alone(workshop, output):
    workshop.executable("tool", f"#!/bin/sh\necho '{output}'\n")
    assert workshop.toolbox().path("tool") != workshop.bin / "tool"


def test_a_failed_build_is_explained_by_the_lines_of_the_compiler(workshop):
    workshop.go_that("echo 'dial tcp: lookup proxy: no such host' >&2; exit 1")
    with pytest.raises(SandboxError) as failed:
        workshop.toolbox().path("tool")
    assert failed.value.lines == ["dial tcp: lookup proxy: no such host"]
    assert "GOPROXY" in failed.value.remedy


def test_who_waits_for_a_later_tool_is_told_of_the_failure_too(workshop):
    workshop.go_that("exit 1")
    with pytest.raises(SandboxError, match=r"building tool v1\.2\.3"):
        workshop.toolbox(workshop.tool(), workshop.tool("later")).path("later")


def test_what_does_not_run_as_the_pinned_version_is_not_kept(workshop):
    workshop.go_that('printf "#!/bin/sh\\nexit 1\\n" > "$out"; chmod +x "$out"')
    with pytest.raises(SandboxError, match="does not run"):
        workshop.toolbox().path("tool")
    workshop.go_that(GOOD)
    assert workshop.toolbox().path("tool").exists()


def test_a_build_that_is_killed_leaves_no_half_tool(workshop):
    workshop.go_that('echo half > "$out"; echo $$ > pid; exec sleep 300')
    program = """
        import sys
        from pathlib import Path
        from sandbox.tools import Tool, Toolbox
        cache, log, module = map(Path, sys.argv[1:])
        tool = Tool(name="tool", module=str(module), package="example.com/tool", pinned="example.com/tool", version_command=("version",))
        box = Toolbox(cache, log, [tool])
        box.start()
        box.path("tool")
    """
    directory = workshop.directory
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), directory / "cache", directory / "log", workshop.module], cwd=state.CLONE
    )
    wait_until((workshop.module / "pid").exists, "the build runs")
    process.send_signal(signal.SIGKILL)
    process.wait()
    compiler = int((workshop.module / "pid").read_text())
    wait_until(lambda: Process.of(compiler) is None, "the compiler ended")
    assert not list((directory / "cache").glob("tool-*")), "what is not complete is not under its name"

    workshop.go_that(GOOD)
    assert subprocess.check_output([workshop.toolbox().path("tool")], text=True) == "tool v1.2.3\n"
    assert not list((directory / "cache").glob(".*.partial"))


def test_stopping_ends_the_build_that_runs(workshop):
    workshop.go_that("echo $$ > pid; exec sleep 300")
    toolbox = workshop.toolbox()
    wait_until((workshop.module / "pid").exists, "the build runs")
    toolbox.stop()
    assert not Path(f"/proc/{(workshop.module / 'pid').read_text().strip()}").exists()


def test_an_older_go_on_path_gives_way_to_the_wheel(workshop):
    workshop.go_that(GOOD, version="go1.25.4")
    chosen = go_module.choose(workshop.directory / "cache")
    assert chosen.from_wheel
    assert chosen.version == go_module.WHEEL


def test_a_new_enough_go_on_path_is_used(workshop):
    assert go_module.choose(workshop.directory / "cache") == go_module.Go("1.26.9", workshop.bin / "go", from_wheel=False)


def test_the_real_go_builds_the_pause_program_and_it_holds_until_it_is_told_to_end(tmp_path):
    toolbox = Toolbox(state.CACHE / "tools", tmp_path / "log", [tool for tool in TOOLS if tool.name == "pause"])
    toolbox.start()
    process = subprocess.Popen([toolbox.path("pause")])
    time.sleep(0.3)
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 0
