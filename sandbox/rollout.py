"""From a cloud to a feature store: `pulumi up` of the local stack, watched through the engine's event log."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from feast_eks.contract import read_contract
from feast_eks.refusal import Refusal
from sandbox import progress, state
from sandbox.progress import SandboxError, Step

STACK = "local"
SAMPLE_DATA = Path("feature_repo/data/employee_attrition.parquet")
SAMPLE_DATA_DAYS = 5
"""Older sample data is written anew: the example's values count for seven days."""

LEFTOVER_SECONDS = 120

MARKUP = re.compile(r"<\{%[^%]*%\}>|\x1b\[[0-9;]*m")
COMPONENTS = ("pulumi:pulumi:", "feast-eks:")
"""Types that only hold others: to wait for one says nothing."""
QUIET = frozenset({"same", "refresh", "read"})
ROLLOUT_REMEDY = "correct what the lines say and run `make up` again; what is there already stays and is not done twice"


def prepare_feature_repo(step: Step) -> None:
    """Write what a fresh clone lacks: the example's data, and the contract where the definitions changed."""
    done = []
    settings = stack_settings()
    repo = state.CLONE / settings["feast-eks:feature_repo"]
    path = state.CLONE / SAMPLE_DATA
    too_old = not path.exists() or time.time() - path.stat().st_mtime > SAMPLE_DATA_DAYS * 86400
    if too_old and is_example(repo, settings):
        step.says("writing the example's data")
        _runtime("sample-data", str(SAMPLE_DATA))
        done.append("sample data written")
    if not _contract_is_fresh(repo):
        step.says("writing contract.lock.json from the changed definitions")
        _runtime("lock", repo=repo)
        done.append("contract.lock.json written anew: read its diff and commit it with the change")
    step.ends_with(", ".join(done) or "unchanged")


def stack_settings() -> dict[str, Any]:
    """The sandbox's stack file, with the feature repo that it means where it names none."""
    settings: dict[str, Any] = yaml.safe_load((state.CLONE / "stacks" / f"Pulumi.{STACK}.yaml").read_text())["config"]
    return {"feast-eks:feature_repo": "feature_repo", **settings}


def is_example(repo: Path, settings: Mapping[str, Any]) -> bool:
    """Whether the example is what is deployed: the stack uploads the example's data, and definitions in the repo name it."""
    uploads = (settings.get("feast-eks:offline_store") or {}).get("sample_data")
    return uploads == str(SAMPLE_DATA) and any(SAMPLE_DATA.name in path.read_text(errors="replace") for path in repo.rglob("*.py"))


def _contract_is_fresh(repo: Path) -> bool:
    try:
        read_contract(repo)
    except Refusal:
        return False
    return True


def _runtime(*arguments: str, repo: Path | None = None) -> None:
    result = subprocess.run(
        [str(state.CLONE / ".venv/bin/python"), "-m", "feature_runtime", *arguments],
        cwd=state.CLONE,
        env={**os.environ, "PYTHONPATH": f"{state.CLONE / 'runtime'}"} | ({"FEATURE_REPO_DIR_ENV_VAR": str(repo)} if repo else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise SandboxError(
            _error_of(result.stdout) or f"feature_runtime {arguments[0]} failed",
            lines=[] if _error_of(result.stdout) else result.stderr.splitlines()[-progress.EXPLAINING_LINES :],
            remedy="correct the feature repo and run `make up` again",
        )


def _error_of(stdout: str) -> str:
    try:
        return str(json.loads(stdout.strip().splitlines()[-1])["error"])
    except (ValueError, IndexError, KeyError, TypeError):
        return ""


@dataclass
class Watch:
    """What the engine's events say so far."""

    total: int = 0
    done: set[str] = field(default_factory=set)
    pending: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    changes: dict[str, int] = field(default_factory=dict)

    def take(self, event: dict[str, Any]) -> str:
        """Fold one engine event in, and say what is being worked on now."""
        if metadata := (event.get("resourcePreEvent") or {}).get("metadata"):
            if metadata["op"] not in QUIET and not _type(metadata["urn"]).startswith(COMPONENTS):
                self.pending[metadata["urn"]] = _shown(metadata["urn"])
        elif metadata := (event.get("resOutputsEvent") or {}).get("metadata"):
            self.pending.pop(metadata["urn"], None)
            if metadata["op"] != "refresh":
                self.done.add(metadata["urn"])
        elif metadata := (event.get("resOpFailedEvent") or {}).get("metadata"):
            self.pending.pop(metadata["urn"], None)
        elif diagnostic := event.get("diagnosticEvent"):
            self._diagnostic(diagnostic)
        elif summary := event.get("summaryEvent"):
            self.changes = summary.get("resourceChanges") or {}
        return self.note

    def _diagnostic(self, diagnostic: dict[str, Any]) -> None:
        message = MARKUP.sub("", diagnostic.get("message") or "").strip()
        urn = diagnostic.get("urn") or ""
        if diagnostic.get("severity") == "error" and message:
            where = f"{_shown(urn)}: " if urn and not urn.endswith("::feast-eks-local") else ""
            self.errors += [f"{where}{line}" if number == 0 else line for number, line in enumerate(message.splitlines())]
        elif diagnostic.get("ephemeral") and urn in self.pending and message:
            self.pending[urn] = f"{_shown(urn)}: {message.splitlines()[0]}"

    @property
    def note(self) -> str:
        """What is being worked on now; the resource that has been waited for longest says why."""
        if not self.pending:
            return f"{len(self.done)} resources"
        waiting = max(self.pending.values(), key=lambda text: ": " in text)
        return f"{len(self.done)} resources done · {waiting}"

    @property
    def outcome(self) -> str:
        """What the update did, in words."""
        words = {"create": "created", "update": "updated", "replace": "replaced", "delete": "deleted"}
        done = [f"{self.changes[op]} {word}" for op, word in words.items() if self.changes.get(op)]
        return f"{', '.join(done) or 'no changes'}, {self.changes.get('same', 0)} unchanged"


def _shown(urn: str) -> str:
    """`Job feature-definitions-apply` for a URN."""
    return f"{_type(urn).rpartition(':')[2]} {urn.rpartition('::')[2]}"


def _type(urn: str) -> str:
    return urn.split("::")[-2].rpartition("$")[2]


def roll_out(environment: Mapping[str, str], step: Step) -> None:
    """`pulumi up` of the local stack, until features are being served.

    `environment` is what `make env` exports. Raises SandboxError with the engine's errors.
    """
    log = state.LOGS / "pulumi.log"
    _pulumi(["stack", "select", "--create", STACK], environment, log, "selecting the stack")
    _end_what_was_left(step)
    events = state.LOGS / "pulumi-events.json"
    events.unlink(missing_ok=True)
    watch = Watch()
    status = _follow(
        [
            "up",
            "--stack",
            STACK,
            "--yes",
            "--skip-preview",
            "--refresh",
            "--suppress-outputs",
            "--event-log",
            str(events),
        ],
        {**environment, "PULUMI_DEBUG_COMMANDS": "true"},
        log,
        events,
        lambda event: step.says(watch.take(event)),
    )
    if status != 0:
        lines = watch.errors or progress.explaining_lines(log)
        raise SandboxError("pulumi up failed", lines=lines[-60:], log=log, remedy=ROLLOUT_REMEDY)
    step.ends_with(watch.outcome)


def _end_what_was_left(step: Step) -> None:
    """Let an update that lost its `make up` come to its end, and drop the stack's lock if it was killed.

    Raises SandboxError when somebody else's update goes on.
    """
    for lock in (state.PULUMI_BACKEND / ".pulumi" / "locks").rglob("*.json"):
        pid = json.loads(lock.read_text())["pid"]
        deadline = time.monotonic() + LEFTOVER_SECONDS
        while _is_pulumi(pid):
            step.says(f"waiting for an earlier pulumi (process {pid}) to end")
            if time.monotonic() > deadline:
                raise SandboxError(f"another pulumi (process {pid}) is updating the stack", remedy="wait until it is done, or stop it")
            time.sleep(0.5)
        lock.unlink(missing_ok=True)


def _is_pulumi(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == "pulumi"
    except OSError:
        return False


def _pulumi(arguments: list[str], environment: Mapping[str, str], log: Path, what: str) -> None:
    progress.run(["pulumi", *arguments, "--non-interactive"], log=log, what=what, environment=environment, directory=state.CLONE)


def _follow(
    arguments: list[str],
    environment: Mapping[str, str],
    log: Path,
    events: Path,
    take: Callable[[dict[str, Any]], object],
) -> int:
    """Run pulumi and hand over its events as they come; on Ctrl-C it is let finish what it is doing."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            # Should we be killed, it is told to end as if by Ctrl-C: a killed engine would forget what it was doing.
            ["setpriv", "--pdeathsig", "INT", "--", "pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=state.CLONE,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches it through us, once: a second one would make it drop its state
        )
    try:
        for event in _events(events, process):
            take(event)
        return process.wait()
    except BaseException:
        progress.end_as_by_ctrl_c(process, seconds=60)
        raise


def _events(path: Path, process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    """The events of a running update: one JSON document per line of a growing file."""
    while process.poll() is None and not path.exists():
        time.sleep(0.1)
    if not path.exists():
        return
    partial = ""
    with path.open() as file:
        while True:
            ended = process.poll() is not None
            partial += file.read()
            *lines, partial = partial.split("\n")
            for line in lines:
                if line.strip():
                    yield json.loads(line)
            if ended:
                return
            time.sleep(0.2)
