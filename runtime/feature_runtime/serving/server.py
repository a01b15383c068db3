"""The feature server: what HTTP and gRPC share, and what each HTTP request means.

Read-only. A client's mistake is refused (4xx) with field, rule and remedy; 503 with Retry-After only while Redis is
away, or no thread is free for an on-demand function. Liveness says that the process answers and computes, readiness
that it has a contract and that Redis answers.
"""

import asyncio
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from feature_runtime.serving.answer import Judged, Policy, inputs, judge, render
from feature_runtime.serving.body import parse
from feature_runtime.serving.message import RETRY, Request, Respond, error_body
from feature_runtime.serving.metrics import Metrics
from feature_runtime.serving.plan import Plan
from feature_runtime.serving.redis_reader import OnlineStore, StoreAway
from feature_runtime.serving.refused import Busy, Refused, problem
from feature_runtime.serving.requests import asked

FEATURES = b"/get-online-features"
ENDPOINTS = {FEATURES: b"POST", b"/health": b"GET", b"/ready": b"GET", b"/contract": b"GET"}

MOST_READ_BYTES = 96 << 20
"""What the rows hold (`Question.row_bytes` each) of all requests that wait for Redis, or for an on-demand function."""

Finished = Callable[["Judged | Exception"], None]


class FeatureServer:
    """Answers requests from a plan and an online store. `transformer` computes on-demand views; it changes with the plan."""

    def __init__(
        self,
        store: OnlineStore,
        metrics: Metrics,
        *,
        policy: Policy | None = None,
        max_entities: int = 1_000,
        max_body_bytes: int = 1 << 20,
    ) -> None:
        self.plan: Plan | None = None
        self.transformer: Any = None
        self.store = store
        self.metrics = metrics
        self.policy = policy or Policy()
        self.max_entities = max_entities
        self.max_body_bytes = max_body_bytes
        self.draining = False
        self._reading = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def use(self, plan: Plan, transformer: Any = None) -> None:
        """Answer from now on by this plan; requests that are under way finish by the old one."""
        self.plan, self.transformer = plan, transformer
        self.metrics.state.project = plan.project
        self.metrics.state.contracts = {name: service["sha256"] for name, service in plan.services.items()}

    async def judged(self, request: dict[str, Any], contract: str | None = None) -> Judged:
        """The answer before it is printed.

        Raises:
            Refused: the request breaks a rule.
            StoreAway: Redis is away.
            Busy: no thread is free for an on-demand function.
        """
        future: asyncio.Future[Judged] = asyncio.get_running_loop().create_future()

        def finished(result: Judged | Exception) -> None:
            if not future.done():
                if isinstance(result, Exception):
                    future.set_exception(result)
                else:
                    future.set_result(result)

        self._ask(request, contract, finished)
        return await future

    def _ask(self, request: dict[str, Any], contract: str | None, finished: Finished) -> None:
        plan, transformer = self.plan, self.transformer
        if plan is None:
            raise StoreAway("no contract is loaded yet")
        what = asked(plan, request, max_entities=self.max_entities, contract=contract)
        size = what.count * what.question.row_bytes
        if self._reading and self._reading + size > MOST_READ_BYTES:
            raise StoreAway("the server waits for as many rows as it can")
        self._reading += size

        def over(result: Judged | Exception) -> None:
            self._reading -= size
            finished(result)

        def read(replies: Any) -> None:
            if isinstance(replies, Exception):
                over(replies)
                return
            try:
                judged = judge(what, replies, time.time(), self.policy)
            except Exception as error:  # noqa: BLE001  the one who asked must hear of it
                over(error)
                return
            if what.question.on_demand:
                self._run(self._compute(judged, transformer, over))
            else:
                over(judged)

        self.store.read(list(zip(what.question.reads, what.keys, strict=True)), read)

    async def _compute(self, judged: Judged, transformer: Any, finished: Finished) -> None:
        question = judged.asked.question
        types = {column.name: column.dtype for column in (*question.entities, *question.request_data)}
        try:
            for view in question.on_demand:
                computed = await transformer.compute(view.view, inputs(judged, view), types, judged.asked.count)
                judged.add_computed(view.view, [computed[feature] for feature, _ in view.outputs])
        except Exception as error:  # noqa: BLE001
            if getattr(error, "clients_fault", False):
                remedy = "Send values that the view can compute with."
                error = Refused(422, [problem(getattr(error, "field", "entities"), None, str(error), remedy)])
            finished(error)
        else:
            finished(judged)

    def _run(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # HTTP

    def handle(self, request: Request, respond: Respond) -> None:
        """Answer one HTTP request."""
        started = time.perf_counter()
        path = request.path if request.path == FEATURES else request.path.partition(b"?")[0]

        def answer(status: int, body: bytes, headers: bytes = b"") -> None:
            respond(status, body, headers)
            outcome = "success" if status < 400 else "refused" if status < 500 else "error"  # noqa: PLR2004
            endpoint = path.decode() if path in ENDPOINTS else "other"
            self.metrics.observe(endpoint, outcome, time.perf_counter() - started)

        try:
            self._route(path, request, answer)
        except Exception as error:  # noqa: BLE001  answered, whatever it is
            _answer_error(error, answer)

    def _route(self, path: bytes, request: Request, answer: Respond) -> None:
        method = ENDPOINTS.get(path)
        if method is None:
            known = ", ".join(f"{verb.decode()} {name.decode()}" for name, verb in ENDPOINTS.items())
            answer(404, error_body("there is nothing at this path", "path", path.decode(errors="replace"), f"There is {known}."))
        elif request.method != method and not (method == b"GET" and request.method == b"HEAD"):
            rule = f"{path.decode()} is asked with {method.decode()}"
            answer(405, error_body(rule, "method", request.method.decode(), f"Use {method.decode()}."), b"allow: %b\r\n" % method)
        elif path == FEATURES:
            self._features(request, answer)
        elif path == b"/health":
            self._health(answer)
        elif path == b"/ready":
            self._run(self._ready(answer))
        elif self.plan is None:
            answer(503, error_body("no contract is loaded yet", "contract", None, "Ask again in a second."), RETRY)
        else:
            answer(200, self._contract(self.plan))

    def _features(self, request: Request, answer: Respond) -> None:
        headers = request.headers
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            answer(411, error_body("the request has no body", "header content-length", None, "Send the question as JSON, with its length."))
            return
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json" and not _is_json(content_type):
            rule = "the body must be declared as application/json in UTF-8"
            shown = content_type.decode(errors="replace") or None
            answer(415, error_body(rule, "header content-type", shown, "Send `Content-Type: application/json`."))
            return
        if headers.get(b"content-encoding", b"identity") != b"identity":
            shown = headers[b"content-encoding"].decode(errors="replace")
            answer(415, error_body("the body must not be compressed", "header content-encoding", shown, "Send it as it is."))
            return
        contract = headers.get(b"feast-contract")

        def finished(result: Judged | Exception) -> None:
            if isinstance(result, Exception):
                _answer_error(result, answer)
                return
            try:
                body = render(result)
            except Exception as error:  # noqa: BLE001  answered, whatever it is
                _answer_error(error, answer)
                return
            self.metrics.statuses(result.tally)
            sha256 = result.asked.question.sha256
            answer(200, body, b"feast-contract: %b\r\n" % sha256.encode() if sha256 else b"")

        self._ask(parse(request.body), contract.decode(errors="replace") if contract is not None else None, finished)

    def _contract(self, plan: Plan) -> bytes:
        """What is served, and up to when each view was loaded."""
        ends = {view: datetime.fromtimestamp(end, UTC).isoformat() for view, end in sorted(self.metrics.state.loaded_until.items())}
        return plan.contract[:-1] + b',"loaded_until":' + orjson.dumps(ends) + b"}"

    def _health(self, answer: Respond) -> None:
        if self.transformer is not None and (reason := self.transformer.stuck):
            answer(503, orjson.dumps({"status": "not alive", "reason": reason, "detail": reason}))
        else:
            answer(200, b'{"status":"alive"}')

    async def unready(self) -> str | None:
        """Why no requests should be sent here; None when they should."""
        if self.draining:
            return "the server is shutting down"
        if self.plan is None:
            return "no contract is loaded yet"
        try:
            await self.store.command(b"PING")
        except StoreAway as away:
            return str(away)
        return None

    async def _ready(self, answer: Respond) -> None:
        try:
            reason = await self.unready()
        except Exception as error:  # noqa: BLE001  answered, whatever it is
            _answer_error(error, answer)
            return
        if reason is None:
            answer(200, b'{"status":"ready"}')
        else:
            answer(503, orjson.dumps({"status": "not ready", "reason": reason, "detail": reason}), RETRY)


def _is_json(content_type: bytes) -> bool:
    kind, *parameters = (part.strip().lower() for part in content_type.split(b";"))
    return kind == b"application/json" and all(parameter in {b"", b"charset=utf-8", b'charset="utf-8"'} for parameter in parameters)


def _answer_error(error: Exception, answer: Respond) -> None:
    if isinstance(error, Refused):
        answer(error.status, orjson.dumps({"detail": error.detail, "errors": error.errors}))
    elif isinstance(error, StoreAway):
        answer(503, error_body(str(error), "online store", None, "Ask again in a second."), RETRY)
    elif isinstance(error, Busy):
        answer(503, error_body(str(error), "server", None, "Ask again in a second."), RETRY)
    else:
        traceback.print_exception(error, file=sys.stderr)
        answer(500, error_body("the server failed to answer; its log says why", "server", None, "Report it to who runs the server."))
