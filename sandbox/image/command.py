"""Commands of a build: output goes to the log, a failure comes back as the line that explains it."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TextIO

from sandbox.image.errors import ImageBuildError
from sandbox.progress import bound_to_us

EXPLAINING_LINES = 10
NO_SPACE_PHRASES = ("No space left on device", "have enough free space", "Disk quota exceeded")


class CommandError(Exception):
    """A command failed; `reason` is the line that explains it, `lines` are the last ones that it printed."""

    def __init__(self, program: str, reason: str, lines: Sequence[str] = ()) -> None:
        super().__init__(f"{program} failed: {reason}")
        self.reason = reason
        self.lines = list(lines)


class NoSpaceError(Exception):
    """A command found the disk full."""


class Runner:
    """Runs commands with one log and a private place for temporary files."""

    def __init__(self, log: Path, scratch: Path) -> None:
        self.log = log
        self._environment = {
            **os.environ,
            "LC_ALL": "C.UTF-8",
            "TMPDIR": str(scratch),
            "DEBIAN_FRONTEND": "noninteractive",
        }

    def run(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """Run `command` and return its standard output.

        Raises:
            CommandError: it failed.
            NoSpaceError: it failed because the disk is full.
        """
        with self._open_log(command) as log:
            done = subprocess.run(
                bound_to_us(command),
                env={**self._environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
            )
            log.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise _failure(command[0], done.stderr or done.stdout)
        return done.stdout

    def pipe(self, producer: Sequence[str], consumer: Sequence[str]) -> None:
        """Run `producer | consumer`; both must succeed. Raises as `run` does."""
        with (
            self._open_log([*producer, "|", *consumer]),
            subprocess.Popen(bound_to_us(producer), env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as source,
        ):
            assert source.stdout is not None
            assert source.stderr is not None
            sink = subprocess.run(bound_to_us(consumer), env=self._environment, stdin=source.stdout, capture_output=True, check=False)
            source.stdout.close()
            complaint = source.stderr.read()
        if sink.returncode != 0:
            raise _failure(consumer[0], sink.stderr.decode(errors="replace"))
        if source.returncode != 0:
            raise _failure(producer[0], complaint.decode(errors="replace"))

    def _open_log(self, command: Sequence[str]) -> TextIO:
        for program in (word for before, word in zip(["|", *command], command, strict=False) if before == "|"):
            if shutil.which(program) is None:
                raise ImageBuildError(
                    f"{program} is not on PATH; the image is built with it.",
                    remedy=f"install the package that has {program}",
                )
        self.log.parent.mkdir(parents=True, exist_ok=True)
        log = self.log.open("a")
        log.write(f"$ {' '.join(command)}\n")
        log.flush()
        return log


def _failure(program: str, output: str) -> Exception:
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    if any(phrase in line for phrase in NO_SPACE_PHRASES for line in lines):
        return NoSpaceError(program)
    errors = [line for line in lines if line.startswith(("E:", "ERROR:"))]
    reason = (errors or lines or ["no output"])[-1].removeprefix("E: ").removeprefix("ERROR: ")
    return CommandError(program, reason, lines[-EXPLAINING_LINES:])
