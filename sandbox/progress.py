"""What the user sees: which step, what it waits for, how long it took, and on failure the lines that explain it.

Nothing here shows a Python traceback: whatever can be expected to fail is a SandboxError with a remedy.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

EXPLAINING_LINES = 25
HEARTBEAT_SECONDS = 20.0
NEW_NOTE_SECONDS = 5.0  # a change of note is shown no sooner than this after the last line
WHOLE_SECONDS = 10  # from here on nobody cares for tenths
QUIET_SECONDS = 1.5  # a step shorter than this is one line


class SandboxError(Exception):
    """An expected failure: what is wrong, what to do about it, and the log lines that explain it."""

    def __init__(self, message: str, *, remedy: str = "", lines: Sequence[str] = (), log: Path | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.lines = list(lines)
        self.log = log

    def __str__(self) -> str:
        parts = [self.message]
        if self.lines:
            parts += ["", *(f"    {line}" for line in self.lines), ""]
        if self.log is not None:
            parts.append(f"whole log: {self.log}")
        if self.remedy:
            parts.append(f"remedy: {self.remedy}")
        return "\n".join(parts)


def duration(seconds: float) -> str:
    """`0.4 s`, `12 s`, `3 min 05 s`."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes:
        return f"{minutes} min {rest:02d} s"
    return f"{rest} s" if rest >= WHOLE_SECONDS else f"{seconds:.1f} s"


class Step:
    """One running step. `says` what it waits for now, and `ends_with` what it came to."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = time.monotonic()
        self.note = ""
        self.outcome = ""

    def says(self, note: str) -> None:
        """Replace the note of what the step is doing at the moment."""
        self.note = note

    def ends_with(self, outcome: str) -> None:
        """Set the half sentence shown when the step is done."""
        self.outcome = outcome

    @property
    def elapsed(self) -> float:
        """Seconds since the step began."""
        return time.monotonic() - self.began


class Progress:
    """The numbered steps of one command, shown as they happen: one live line on a terminal, plain lines elsewhere."""

    def __init__(self, total: int, stream: TextIO | None = None) -> None:
        self.total = total
        self.number = 0
        self.began = time.monotonic()
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()

    @property
    def elapsed(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self.began

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Show the block as the next step; on an exception the step is shown as failed and the exception goes on."""
        self.number += 1
        step = Step(title)
        head = f"[{self.number:2d}/{self.total}] {title}"
        stop = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(head, step, stop), daemon=True)
        ticker.start()
        try:
            yield step
        except BaseException as error:
            stop.set()
            ticker.join()
            how = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            self._line(f"{head}: {how} after {duration(step.elapsed)}")
            raise
        stop.set()
        ticker.join()
        outcome = f": {step.outcome}" if step.outcome else ""
        self._line(f"{head}{outcome} ({duration(step.elapsed)})")

    def say(self, text: str) -> None:
        """Print a line between steps."""
        self._line(text)

    def _tick(self, head: str, step: Step, stop: threading.Event) -> None:
        shown = ("", -HEARTBEAT_SECONDS)
        while not stop.wait(0.5):
            elapsed = step.elapsed
            if self._live:
                self._live_line(f"{head} … {duration(elapsed)}{f' · {step.note}' if step.note else ''}")
            elif elapsed >= QUIET_SECONDS and self._is_news(step.note, elapsed, *shown):
                self._line(f"{head} … {duration(elapsed)}{f' · {step.note}' if step.note else ''}")
                shown = (step.note, elapsed)

    @staticmethod
    def _is_news(note: str, elapsed: float, shown_note: str, shown_at: float) -> bool:
        return elapsed - shown_at >= (HEARTBEAT_SECONDS if note == shown_note else NEW_NOTE_SECONDS)

    def _live_line(self, text: str) -> None:
        width = shutil.get_terminal_size().columns
        self._stream.write(f"\r\x1b[2K{text[: width - 1]}")
        self._stream.flush()

    def _line(self, text: str) -> None:
        try:
            self._stream.write(f"\r\x1b[2K{text}\n" if self._live else f"{text}\n")
            self._stream.flush()
        except BrokenPipeError:  # `make up | head`: the reader has gone, the work goes on
            self._stream = Path(os.devnull).open("w")  # noqa: SIM115 - replaces stdout until the process ends
            self._live = False


def explaining_lines(log: Path, offset: int = 0) -> list[str]:
    """The last lines of a log from `offset` on, shortened to what fits a screen."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(offset, size - 64 * 1024))
            text = file.read().decode(errors="replace")
    except OSError:
        return []
    lines = [line.rstrip() for line in text.replace("\r", "\n").splitlines() if line.strip()]
    return [line[:300] for line in lines[-EXPLAINING_LINES:]]


def bound_to_us(command: Sequence[str]) -> list[str]:
    """The command, made to end with us even when we are killed with -9: nothing half done runs on unseen."""
    return ["setpriv", "--pdeathsig", "KILL", "--", *command] if shutil.which("setpriv") else list(command)


def run(
    command: Sequence[str],
    *,
    log: Path,
    what: str,
    remedy: str = "",
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    started: Callable[[subprocess.Popen[bytes]], None] | None = None,
    outlives_us: bool = False,
) -> None:
    """Run a command with its output appended to `log`; SandboxError with the last lines when it fails.

    `what` completes the sentence "… failed". `environment` is added to ours. `outlives_us` lets the command finish although we
    are killed, for package managers that must not be cut.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        file.write(f"$ {' '.join(command)}\n".encode())
        file.flush()
        offset = file.tell()
        try:
            process = subprocess.Popen(
                list(command) if outlives_us else bound_to_us(command),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, **(environment or {})},
            )
        except OSError as error:
            raise SandboxError(f"{what} failed: {command[0]}: {error.strerror}", remedy=remedy) from None
        if started is not None:
            started(process)
        try:
            status = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if status != 0:
        lines = explaining_lines(log, offset)
        raise SandboxError(f"{what} failed (exit status {status})", remedy=remedy, lines=lines, log=log)


def end_as_by_ctrl_c(process: subprocess.Popen[bytes], *, seconds: float) -> None:
    """Let a process that leads its own session finish as after Ctrl-C; end all of it when that takes longer than `seconds`."""
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_until(
    ready: Callable[[], bool],
    *,
    what: str,
    seconds: float,
    pause: float = 0.2,
    still_possible: Callable[[], None] | None = None,
    log: Path | None = None,
    remedy: str = "",
) -> None:
    """Poll until `ready()`; SandboxError when it takes longer than `seconds`.

    `still_possible` may raise to give up early (a process that has died will never answer).
    """
    deadline = time.monotonic() + seconds
    while not ready():
        if still_possible is not None:
            still_possible()
        if time.monotonic() > deadline:
            lines = explaining_lines(log) if log else []
            raise SandboxError(f"{what} not within {duration(seconds)}", remedy=remedy, lines=lines, log=log)
        time.sleep(pause)
