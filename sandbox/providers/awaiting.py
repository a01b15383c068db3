"""Waits for one Kubernetes object: says what it is waiting for, and when it gives up, why."""

import re
import threading
import time
from collections.abc import Callable

from sandbox.providers import readiness
from sandbox.providers.api_server import ApiError, ApiServer, Object, Unreachable
from sandbox.providers.plugin import ProviderError
from sandbox.providers.readiness import Problem

_LOG_LINES = 15
_PODS_EXPLAINED = 3
_EVENTS_SHOWN = 6
_EVENT_LENGTH = 700
_COMBINED = "(combined from similar events): "
_GENERATED_NAME = re.compile(r'pods? "[^"]*"')
_SETTLING_SECONDS = 2.0  # what is wrong before that is often only not there yet
_UNREACHABLE_FOR_SECONDS = 30.0  # an API server may restart under a rollout

# Seconds after which a state that has not changed is taken to be final, instead of waiting for the timeout.
_HOPELESS_AFTER = {
    "InvalidImageName": 5.0,
    "ErrImageNeverPull": 10.0,
    "ErrImagePull": 60.0,
    "ImagePullBackOff": 60.0,
    "CreateContainerConfigError": 60.0,
    "Forbidden": 20.0,
}


class NotReady(ProviderError):
    """The object exists, but it failed, or did not become ready in time, or the wait was cancelled."""


class Wait:
    """One wait for one object. `report` gets a line whenever what is being waited for changes."""

    def __init__(
        self,
        api: ApiServer,
        item: Object,
        *,
        timeout: float,
        cancelled: threading.Event,
        report: Callable[[str], None],
        failures: list[str] | None = None,
    ) -> None:
        self._api = api
        self._item = item
        self._timeout = timeout
        self._cancelled = cancelled
        self._report = report
        self._failures = failures if failures is not None else []
        self._reported = ""
        self._hopeless_since: tuple[str, float] | None = None
        # A Job's pods may be gone when it has failed, so their last words are kept while they last.
        self._last_words: dict[tuple[str, str], list[str]] = {}

    @property
    def _title(self) -> str:
        metadata = self._item["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
        return f"{self._item['kind']} {name}"

    def until_ready(self) -> Object:
        """The object once it is ready. Raises NotReady with the explanation."""
        start = time.monotonic()
        pause = 0.2
        while True:
            live = self._look()
            if live is None:
                raise NotReady(f"{self._title} was deleted while it was waited for")
            state = readiness.assess(live, self._api)
            if state.ready:
                if self._reported:
                    self._say(state.message)
                return live
            if state.failed:
                raise self._failed(f"{self._title} {state.message}", live)
            waited = time.monotonic() - start
            if live["kind"] == "Service" and self._failures and waited > _SETTLING_SECONDS:
                # It waits for pods, and who makes them has given up; the engine would wait for us to notice.
                raise NotReady(f"{self._title} is not ready: {state.message}; not waiting longer, as {self._failures[0]} failed")
            problems = self._problems(live) if waited > _SETTLING_SECONDS else []
            if hopeless := self._hopeless(live, problems, waited):
                raise self._failed(f"{self._title} will not become ready: {hopeless}", live)
            if waited > self._timeout:
                raise self._failed(f"{self._title} is not ready after {self._timeout:.0f} s: {state.message}", live)
            self._say("; ".join([state.message, *problems[:2]]))
            if self._cancelled.wait(pause):
                raise NotReady(
                    f"{self._title} was not ready when the operation was cancelled ({state.message}); the next `pulumi up` goes on waiting"
                )
            pause = min(pause * 1.5, 1.0)

    def until_gone(self) -> None:
        """Returns when the object does not exist any more. Raises NotReady with what holds it."""
        start = time.monotonic()
        pause = 0.1
        uid = None
        while True:
            live = self._look()
            if live is None or (uid is not None and live["metadata"]["uid"] != uid):
                return
            uid = live["metadata"]["uid"]
            waited = time.monotonic() - start
            holding = _what_holds(live)
            if waited > self._timeout:
                raise NotReady(f"{self._title} is not gone after {self._timeout:.0f} s: {holding}")
            if waited > _SETTLING_SECONDS:
                self._say(f"waiting until it is gone: {holding}")
            if self._cancelled.wait(pause):
                raise NotReady(f"{self._title} was being deleted when the operation was cancelled")
            pause = min(pause * 1.5, 1.0)

    # --- Looking ---

    def _look(self) -> Object | None:
        since = time.monotonic()
        while True:
            try:
                return self._api.get(self._item)
            except Unreachable:
                if time.monotonic() - since > _UNREACHABLE_FOR_SECONDS or self._cancelled.wait(1.0):
                    raise
                self._say("the API server does not answer, trying again")

    def _pods(self, live: Object) -> list[Object]:
        """The pods of the version that is being waited for; those of an older one are on their way out."""
        where = readiness.pods_path(live)
        if where is None:
            return []
        try:
            pods = self._api.items(where[0], **where[1])
            revision = readiness.revision(live, self._api)
        except (Unreachable, ApiError):  # the explanation is a courtesy; the wait itself goes on
            return []
        return [pod for pod in pods if revision is None or (pod["metadata"].get("labels") or {}).get(revision[0]) == revision[1]]

    def _problems(self, live: Object) -> list[str]:
        texts = []
        for pod in self._pods(live):
            for problem in readiness.pod_problems(pod):
                texts.append(f"{pod['metadata']['name']}: {problem.text}")
                if live["kind"] == "Job":
                    self._listen(pod, problem)
        return texts

    def _listen(self, pod: Object, problem: Problem) -> None:
        if not problem.container:
            return
        metadata = pod["metadata"]
        log = self._api.log(
            metadata["namespace"],
            metadata["name"],
            problem.container,
            previous=problem.previous,
            lines=_LOG_LINES,
        )
        if log.strip():
            self._last_words[(metadata["name"], problem.container)] = log.splitlines()[-_LOG_LINES:]

    def _hopeless(self, live: Object, problems: list[str], waited: float) -> str:
        """Why more waiting is pointless, once the same reason has held for long enough."""
        found = ""
        reason = ""
        if problems:
            for candidate in _HOPELESS_AFTER:
                found = next((text for text in problems if candidate in text), "")
                if found:
                    reason = candidate
                    break
        elif waited > _SETTLING_SECONDS and live["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job"):
            refused = [event for event in self._warnings(live, []) if event.startswith("FailedCreate")]
            if refused and "forbidden" in refused[-1]:
                found, reason = refused[-1], "Forbidden"
        if not reason:
            self._hopeless_since = None
            return ""
        # A failed pull alternates between two names of the same state.
        reason = "ImagePullBackOff" if reason == "ErrImagePull" else reason
        now = time.monotonic()
        if self._hopeless_since is None or self._hopeless_since[0] != reason:
            self._hopeless_since = (reason, now)
        return found if now - self._hopeless_since[1] >= _HOPELESS_AFTER[reason] else ""

    # --- Saying ---

    def _failed(self, headline: str, live: Object) -> NotReady:
        self._failures.append(self._title)
        return NotReady(self._explained(headline, live))

    def _say(self, message: str) -> None:
        if message != self._reported:
            self._reported = message
            self._report(message)

    def _explained(self, headline: str, live: Object) -> str:
        lines = [headline]
        pods = self._pods(live)
        failing = [(pod, readiness.pod_problems(pod)) for pod in pods]
        failing = [(pod, problems) for pod, problems in failing if problems]
        # The newest tell about the present state; the older ones usually repeat it.
        failing.sort(key=lambda entry: entry[0]["metadata"].get("creationTimestamp", ""), reverse=True)
        for pod, problems in failing[:_PODS_EXPLAINED]:
            lines.append(f"  pod {pod['metadata']['name']}:")
            for problem in problems:
                lines.append(f"    {problem.text}")
                self._listen(pod, problem)
                lines += self._quoted(pod["metadata"]["name"], problem.container)
        if len(failing) > _PODS_EXPLAINED:
            lines.append(f"  and {len(failing) - _PODS_EXPLAINED} more pods with problems")
        if not failing:
            for name, container in list(self._last_words)[-1:]:
                lines.append(f"  pod {name} (gone since):")
                lines += self._quoted(name, container)
        if live["kind"] != "Job" and not pods and readiness.pods_path(live):
            lines.append("  it has no pods")
        if warnings := [text for text in self._warnings(live, pods) if _gist(text) not in headline]:
            lines.append("  warnings:")
            lines += [f"    {warning}" for warning in warnings]
        return "\n".join(lines)

    def _quoted(self, pod: str, container: str) -> list[str]:
        said = self._last_words.get((pod, container))
        if not said:
            return []
        return [f"      last log lines of {container}:", *(f"        {line.rstrip()[:300]}" for line in said)]

    def _warnings(self, live: Object, pods: list[Object]) -> list[str]:
        """The last warning events of the object, its pods, and what stands between them."""
        namespace = live["metadata"].get("namespace")
        if not namespace:
            return []
        try:
            events = self._api.items(f"/api/v1/namespaces/{namespace}/events", fieldSelector="type=Warning")
        except (Unreachable, ApiError):
            return []
        name = live["metadata"]["name"]
        pod_names = {pod["metadata"]["name"] for pod in pods}

        def concerns(event: Object) -> bool:
            about = event.get("involvedObject") or {}
            subject = str(about.get("name"))
            if subject == name and about.get("kind") == live["kind"]:
                # An earlier object of the same name has left its events behind.
                return about.get("uid") in (None, live["metadata"].get("uid"))
            return subject in pod_names or (about.get("kind") == "ReplicaSet" and subject.startswith(f"{name}-"))

        concerning = sorted(filter(concerns, events), key=_when)
        texts: dict[str, str] = {}
        for event in concerning:
            message = " ".join(str(event.get("message", "")).split()).removeprefix(_COMBINED)[:_EVENT_LENGTH]
            count = event.get("count") or (event.get("series") or {}).get("count") or 1
            text = f"{event.get('reason')}: {message}"
            # A controller tries with a new name each time; the last of these says it all.
            nameless = _GENERATED_NAME.sub("", text)
            texts.pop(nameless, None)
            texts[nameless] = f"{text} ({count}x)" if count > 1 else text
        return list(texts.values())[-_EVENTS_SHOWN:]


def _gist(warning: str) -> str:
    """A warning's message without its reason and count."""
    return re.sub(r" \(\d+x\)$", "", warning).partition(": ")[2]


def _when(event: Object) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")


def _what_holds(live: Object) -> str:
    conditions = (live.get("status") or {}).get("conditions") or []
    reasons = [
        condition.get("message", "") for condition in conditions if live["kind"] == "Namespace" and condition.get("status") == "True"
    ]
    finalizers = live["metadata"].get("finalizers") or []
    if finalizers:
        reasons.append(f"held by {', '.join(finalizers)}")
    return "; ".join(filter(None, reasons)) or "its deletion is under way"
