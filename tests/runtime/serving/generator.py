"""HTTP requests made from a number each: right ones, nearly right ones, and ones that no client would send on purpose."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.runtime.serving.oracle import Verdict, judge
from tests.runtime.serving.people import EMPLOYEES, FEATURES, KEYS, OFFICES, SERVICES

PATH = "/get-online-features"


@dataclass
class Case:
    """What is sent, in pieces, and what has to come back, one verdict per request; `cut` closes our side after it."""

    kind: str
    pieces: list[bytes]
    verdicts: list[Verdict]
    cut: bool = False
    head_only: bool = False
    """The answers have no body (HEAD)."""
    pause: float = 0.0

    @property
    def sent(self) -> bytes:
        return b"".join(self.pieces)


@dataclass
class Limits:
    """What the server was started with."""

    body_bytes: int
    shas: dict[str, str] = field(default_factory=dict)


def case(seed: str, limits: Limits) -> Case:
    """The request that a seed stands for; the same on every machine."""
    rng = random.Random(seed)
    makers, weights = zip(*MAKERS, strict=True)
    return rng.choices(makers, weights)[0](rng, limits)


def body_case(kind: str, body: bytes, verdict: Verdict | None = None) -> Case:
    return Case(kind, [post(body)], [verdict or judge(body)])


def post(body: bytes, *headers: str, path: str = PATH, length: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: server", *(headers or ["Content-Type: application/json"])]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _plain() -> dict[str, Any]:
    return {"feature_service": "person_v1", "entities": {"employee_id": [1, 2]}}


def _valid(rng: random.Random, most: int = 6) -> dict[str, Any]:
    if rng.random() < 0.6:
        service = rng.choice(list(SERVICES))
        refs, asked = SERVICES[service], {"feature_service": service}
        if rng.random() < 0.2:
            asked["features"] = []
    else:
        every = [f"{view}:{name}" for view, names in FEATURES.items() for name in names]
        refs = rng.sample(every, rng.randint(1, 6))
        asked = {"features": refs}
        if rng.random() < 0.2:
            asked["feature_service"] = None
    count = rng.randint(1, most)
    entities = {key: [_key(rng, key) for _ in range(count)] for key in sorted({key for ref in refs for key in KEYS[ref.split(":")[0]]})}
    asked["entities"] = entities
    if rng.random() < 0.3:
        asked["full_feature_names"] = rng.random() < 0.7
    if rng.random() < 0.1:
        asked["include_feature_view_version_metadata"] = False
    items = list(asked.items())
    rng.shuffle(items)
    return dict(items)


def _key(rng: random.Random, key: str) -> Any:
    if key == "office":
        return rng.choice(OFFICES) if rng.random() < 0.9 else _text(rng)
    return rng.choice(EMPLOYEES) if rng.random() < 0.9 else rng.randint(-(2**63), 2**63 - 1)


def _text(rng: random.Random) -> str:
    letters = ["a", "Z", "0", " ", "\x00", "\n", '"', "\\", "é", "☂", "😀", "\u202e", "\ufeff", "\ud7ff", "{", "}", ":", ",", "\x7f"]
    return "".join(rng.choice(letters) for _ in range(rng.choice([0, 1, 2, 5, 30])))


def _scalar(rng: random.Random) -> Any:
    return rng.choice(
        [
            *(None, True, False, 0, 1, -1, 1.0, 1.5, -0.0, 1e300, 5e-324, 101, "101", "1", "", "null", "true"),
            *(2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 10**30, 10**400, "NaN", "Infinity"),
            *("employee_id", "person_v1", "people:tenure", "people:", ":tenure", "people", "a:b:c", "people@v1:tenure"),
            rng.random(),
            rng.randint(-(2**70), 2**70),
            _text(rng),
        ]
    )


def _any(rng: random.Random, depth: int = 3) -> Any:
    draw = rng.random()
    if depth == 0 or draw < 0.6:
        return _scalar(rng)
    if draw < 0.8:
        return [_any(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    names = ["entities", "feature_service", "features", "employee_id", "office", "values", "", _text(rng)]
    return {rng.choice(names): _any(rng, depth - 1) for _ in range(rng.randint(0, 4))}


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path]
    if isinstance(value, dict):
        for key, item in value.items():
            found += _places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += _places(item, (*path, number))
    return found


def _mutate(rng: random.Random, asked: Any) -> Any:
    """One change somewhere."""
    path = rng.choice(_places(asked))
    if not path:
        return _any(rng)
    holder = asked
    for step in path[:-1]:
        holder = holder[step]
    last, change = path[-1], rng.random()
    if change < 0.5:
        holder[last] = _any(rng)
    elif change < 0.65:
        del holder[last]
    elif change < 0.75 and isinstance(holder, dict):
        holder[rng.choice([_text(rng), "entity_rows", "employee_ID", "office", "features", "project", "feature_services"])] = holder.pop(
            last
        )
    elif change < 0.85:
        if isinstance(holder, list):
            holder.insert(last, _any(rng, 1))
        else:
            holder[rng.choice([_text(rng), "office", "employee_id", "features", "extra"])] = _any(rng)
    elif isinstance(holder[last], list) and holder[last]:
        holder[last] = rng.choice([holder[last] * 2, holder[last][:-1], [holder[last]], holder[last][0], {"val": holder[last]}])
    else:
        holder[last] = [holder[last]]
    return asked


def _dump(value: Any, rng: random.Random | None = None) -> bytes:
    """JSON in one of its many spellings."""
    if rng is None:
        return json.dumps(value).encode()
    style = rng.random()
    text = json.dumps(
        value,
        ensure_ascii=style < 0.5,
        indent=rng.choice([None, None, 1, "\t"]),
        separators=rng.choice([None, (",", ":"), (" , ", " : "), (",\r\n", ":\t")]),
    )
    if rng.random() < 0.05:
        text = rng.choice([" ", "\n", "\r\n\t"]) + text + rng.choice(["", " ", "\n"])
    return text.encode()


def _valid_body(rng: random.Random, limits: Limits) -> Case:
    return body_case("valid", _dump(_valid(rng), rng))


def _mutated_body(rng: random.Random, limits: Limits) -> Case:
    asked: Any = _valid(rng)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        asked = _mutate(rng, asked)
    return body_case("mutated", _dump(asked, rng))


def _random_json(rng: random.Random, limits: Limits) -> Case:
    return body_case("json", _dump(_any(rng, 4), rng))


def _random_bytes(rng: random.Random, limits: Limits) -> Case:
    return body_case("bytes", rng.randbytes(rng.choice([0, 1, 2, 10, 100, 1000])))


def _damaged_text(rng: random.Random, limits: Limits) -> Case:
    body = bytearray(_dump(_valid(rng), rng))
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(body))
        change = rng.random()
        if change < 0.4:
            body[at] = rng.choice(b'{}[]",:0123456789truefalsn \x00\xff\xc3\x28-+.eE\\')
        elif change < 0.6:
            del body[at : at + rng.randint(1, 5)]
        elif change < 0.8:
            body[at:at] = rng.choice(
                [b",", b'"', b"}", b"]", b"0", b"-", b"1e5", b"NaN", b"\xef\xbb\xbf", b"//x\n", b"\\ud800", b"0x1", b"01"]
            )
        else:
            del body[at:]
        body = body or bytearray(b" ")
    return body_case("damaged", bytes(body))


def _duplicate_keys(rng: random.Random, limits: Limits) -> Case:
    plain = _dump(_valid(rng), rng).decode()
    extra = rng.choice(
        [
            '{"feature_service": "person_v1", "feature_service": "seating_v1", "entities": {"employee_id": [1]}}',
            '{"feature_service": "person_v1", "entities": {"employee_id": [1]}, "entities": {"employee_id": [2]}}',
            '{"feature_service": "person_v1", "entities": {"employee_id": [1], "employee_id": [1]}}',
            '{"feature_service": "person_v1", "entities": {"employee_id": [1], "employee\\u005fid": [2]}}',
            '{"features": ["people:tenure"], "entities": {"employee_id": [1]}, "full_feature_names": true, "full_feature_names": false}',
            '{"a": {"b": 1, "b": 2}}',
            plain[:-1].rstrip() + ', "entities": {}}' if plain.rstrip().endswith("}") else plain,
            # Not a duplicate, though it looks like one.
            '{"feature_service": "person_v1", "entities": {"employee_id": [1]}, "full_feature_names": false, "features": []}',
            '{"features": ["seats:days", "offices:rent"], "entities": {"office": ["\\"office\\":", "{\\"office\\": 1}"], "employee_id": [1, 1]}}',
            '{"features": ["offices:rent"], "entities": {"office": ["a\\":1,\\"a", ":", "\\":", "\\\\"]}}',
        ]
    )
    return body_case("duplicates", extra.encode())


def _deep(rng: random.Random, limits: Limits) -> Case:
    depth = rng.choice([200, 1_000, 1_100, 5_000, 50_000])
    opening, closing = rng.choice([("[", "]"), ('{"a":', "}")])
    core = opening * depth + "1" + closing * depth
    body = rng.choice(
        [core, f'{{"entities": {core}}}', f'{{"feature_service": "person_v1", "entities": {{"employee_id": [{core}]}}}}', opening * depth]
    )
    # How deep is too deep is the server's to say, and so what it looks at first.
    verdict = Verdict({400, 413, 422})
    return body_case("deep", body.encode(), verdict)


def _huge_number(rng: random.Random, limits: Limits) -> Case:
    digits = rng.choice(
        [
            "9" * 30,
            "1" + "0" * 400,
            "9" * 5_000,
            "-" + "9" * 25,
            "1e400",
            "-1e999",
            "0." + "1" * 3_000,
            "1E-400",
            "00",
            "1.",
            ".5",
            "+1",
            "1e",
        ]
    )
    body = f'{{"feature_service": "person_v1", "entities": {{"employee_id": [1, {digits}]}}}}'.encode()
    return body_case("numbers", body)


def _large_batch(rng: random.Random, limits: Limits) -> Case:
    asked = _valid(rng)
    count = rng.choice([999, 1_000, 1_001, 1_500])
    asked["entities"] = {key: [_key(rng, key)] * count for key in asked["entities"]}
    if "office" in asked["entities"]:
        asked["entities"]["office"] = [rng.choice(OFFICES[:4])] * count
    return body_case("large batch", _dump(asked))


def _large_body(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_plain())
    over = rng.choice([-1, 0, 1, 5_000, 300_000])
    body += b" " * (limits.body_bytes + over - len(body))
    refused = Verdict({413}, {"body"})
    if over <= 0:
        return body_case("large body", body)
    pieces = [post(body)]
    if rng.random() < 0.4:
        pieces = [post(b"", "Content-Type: application/json", "Transfer-Encoding: chunked", length=False), *_chunks(rng, body)]
    # Who is refused early may find the connection closed while it still sends.
    return Case("large body", pieces, [refused], cut=True)


def _chunks(rng: random.Random, body: bytes) -> list[bytes]:
    pieces, at = [], 0
    while at < len(body):
        size = rng.choice([1, 3, 10, 100, 65_536]) if len(body) < 2_000 else 65_536
        chunk = body[at : at + size]
        pieces.append(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        at += size
    return [*pieces, b"0\r\n\r\n"]


def _chunked(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_valid(rng), rng) if rng.random() < 0.7 else _dump(_any(rng), rng)
    head = post(b"", "Content-Type: application/json", "Transfer-Encoding: chunked", length=False)
    pieces = [head, *_chunks(rng, body)]
    return Case("chunked", pieces if rng.random() < 0.3 else [b"".join(pieces)], [judge(body)])


def _in_pieces(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_valid(rng), rng)
    message, pieces = post(body), []
    while message:
        size = rng.choice([1, 7, 40, 200])
        pieces.append(message[:size])
        message = message[size:]
    return Case("pieces", [*pieces[:60], b"".join(pieces[60:])], [judge(body)], pause=rng.choice([0, 0, 0.0005]))


def _pipelined(rng: random.Random, limits: Limits) -> Case:
    bodies = [_dump(_valid(rng) if rng.random() < 0.7 else _mutate(rng, _valid(rng)), rng) for _ in range(rng.randint(2, 6))]
    return Case("pipelined", [b"".join(post(body) for body in bodies)], [judge(body) for body in bodies])


def _content_type(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_valid(rng), rng)
    good = ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
    bad = [
        "text/plain",
        "application/x-www-form-urlencoded",
        "",
        "application/jsonp",
        "multipart/form-data; boundary=x",
        "application/xml",
        "json",
    ]
    if rng.random() < 0.4:
        return Case("content type", [post(body, f"Content-Type: {rng.choice(good)}")], [judge(body)])
    headers = [f"Content-Type: {rng.choice(bad)}"] if rng.random() < 0.8 else ["Accept: */*"]
    return Case("content type", [post(body, *headers)], [Verdict({415}, {"header content-type"})])


def _other_headers(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_valid(rng), rng)
    extra = rng.choice(
        [
            "Accept: text/html",
            "Accept-Encoding: gzip, br",
            "Connection: keep-alive",
            "X-Forwarded-For: 1.2.3.4",
            f"X-Long: {'x' * 4000}",
            "Cookie: a=b; c=d",
            "Content-Type: application/json",
            "Origin: http://elsewhere",
            "If-None-Match: *",
            "Range: bytes=0-10",
            "Authorization: Basic Zm9vOmJhcg==",
            "feast-contract:",
            "Upgrade: h2c",
        ]
    )
    verdict = judge(body)
    if extra.startswith(("feast-contract", "Content-Type")):
        verdict = _tolerant(verdict, 400, 412, 415)
    return Case("headers", [post(body, "Content-Type: application/json", extra)], [verdict])


def _tolerant(verdict: Verdict, *statuses: int) -> Verdict:
    return Verdict(verdict.statuses | set(statuses), set(), verdict.columns)


def _contract_header(rng: random.Random, limits: Limits) -> Case:
    asked = {"feature_service": rng.choice(list(SERVICES)), "entities": {}}
    asked["entities"] = {
        key: [_key(rng, key)] for key in {key for ref in SERVICES[asked["feature_service"]] for key in KEYS[ref.split(":")[0]]}
    }
    body = _dump(asked)
    right = limits.shas[asked["feature_service"]]
    if rng.random() < 0.5:
        return Case("contract", [post(body, "Content-Type: application/json", f"feast-contract: {right}")], [judge(body)])
    wrong = rng.choice([right[:-1], right[::-1], "x", right.upper() + "0", "0" * 64])
    return Case(
        "contract", [post(body, "Content-Type: application/json", f"feast-contract: {wrong}")], [Verdict({412}, {"header feast-contract"})]
    )


def _method(rng: random.Random, limits: Limits) -> Case:
    method = rng.choice(["GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "PROPFIND"])
    path = rng.choice([PATH, PATH, PATH, "/contract" if method not in ("GET", "HEAD", "OPTIONS") else PATH])
    body = rng.choice([b"", b"", _dump(_plain())])
    lines = [f"{method} {path} HTTP/1.1", "Host: server", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode()
    # A body that nobody waits for may end the connection.
    return Case("method", [head + body], [Verdict({405}, {"method"})], head_only=method == "HEAD")


def _path(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_valid(rng), rng)
    path = rng.choice(
        [
            *(
                "/",
                "/get-online-features/",
                "/get-online-feature",
                "//get-online-features",
                "/push",
                "/write-to-online-store",
                "/materialize",
            ),
            *("/materialize-incremental", "/docs", "/openapi.json", "/chat", "/search", "/retrieve-online-documents", "/v1/vector_stores"),
            *(
                "/../get-online-features",
                "/metrics",
                "/GET-ONLINE-FEATURES",
                "/%00",
                "/%ff",
                "/" + "a" * 3_000,
                "/get-online-features;a=b",
                "*",
            ),
        ]
    )
    if path == "*":
        return Case("path", [post(body, path=path)], [Verdict({400, 404, 405}, set())], cut=True)
    return Case("path", [post(body, path=path)], [Verdict({404}, {"path"})])


def _query(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_valid(rng), rng)
    path = PATH + rng.choice(["?", "?a=b", "?feature_service=person_v1", "?" + "x" * 2_000, "?%ff", "?feature_service=none&entities="])
    return Case("query", [post(body, path=path)], [judge(body)])


def _broken_http(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_plain())
    message = rng.choice(
        [
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(40) + b"\r\n\r\n",
            b"GARBAGE\r\n\r\n",
            b"POST\r\n\r\n",
            b"POST /get-online-features HTTP/9.9\r\nHost: x\r\n\r\n",
            b"POST /get-online-features HTTP/1.1\r\nno colon\r\n\r\n",
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ",
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n{}\r\n0\r\n\r\n",
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: bogus\r\n\r\n{}",
            b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"POST /get-online-features HTTP/1.1\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
            rng.randbytes(rng.choice([1, 10, 300])) + b"\r\n\r\n",
            post(body) + rng.randbytes(30) + b"\r\n\r\n",
        ]
    )
    # Anything that is no 5xx and ends; a connection closed without an answer too.
    return Case("broken", [message], [], cut=True)


def _unfinished(rng: random.Random, limits: Limits) -> Case:
    message = post(_dump(_valid(rng), rng))
    return Case("unfinished", [message[: rng.randrange(1, len(message))]], [], cut=True)


def _encoding(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_plain())
    encoding = rng.choice(["gzip", "br", "deflate", "gzip, identity"])
    headers = ("Content-Type: application/json", f"Content-Encoding: {encoding}")
    return Case("encoding", [post(body, *headers)], [Verdict({415}, {"header content-encoding"})])


def _last(rng: random.Random, limits: Limits) -> Case:
    body = _dump(_valid(rng), rng)
    if rng.random() < 0.5:
        return Case("half closed", [post(body)], [judge(body)], cut=True)
    return Case("last", [post(body, "Content-Type: application/json", "Connection: close")], [judge(body)])


MAKERS: list[tuple[Callable[[random.Random, Limits], Case], float]] = [
    (_valid_body, 26),
    (_mutated_body, 34),
    (_random_json, 8),
    (_random_bytes, 3),
    (_damaged_text, 8),
    (_duplicate_keys, 2),
    (_deep, 0.3),
    (_huge_number, 1),
    (_large_batch, 0.4),
    (_large_body, 0.05),
    (_chunked, 3),
    (_in_pieces, 1),
    (_pipelined, 2),
    (_content_type, 2),
    (_other_headers, 2),
    (_contract_header, 1.5),
    (_method, 1.5),
    (_path, 1.5),
    (_query, 0.7),
    (_broken_http, 0.8),
    (_unfinished, 0.5),
    (_encoding, 0.3),
    (_last, 0.5),
]
