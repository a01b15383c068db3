"""Whatever names, values and messages hold, a comment stays a comment, keeps its length, and gives no secret away."""

import base64
import json
import random
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from delivery.comment import render
from delivery.features import compare_contracts
from delivery.markdown import LIMIT, code, fence
from delivery.preview import read_preview
from delivery.redaction import redact
from delivery.report import Report
from delivery.weakening import compare_configurations

NASTY = st.sampled_from(
    [
        "@everyone",
        "`@admin`",
        "```\n# heading\n```",
        "<img src=x onerror=alert(1)>",
        "<!-- feast-eks preview: dev -->",
        "[click](https://evil.example)",
        "![x](https://evil.example/p.png)",
        "\r\n\r\n## Approved\n",
        "| a | b |",
        "</details>",
        "\u202egnp.exe",
        "\u0000\u001b[31m",
        "#1",
        "~~~\nx\n~~~",
        "\\`",
        "$x^2$",
        "\ud800",
    ]
)
TEXT = st.one_of(NASTY, st.text(max_size=60), st.builds("".join, st.lists(st.one_of(NASTY, st.text(max_size=5)), max_size=4)))
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT)
JSON = st.recursive(SCALAR, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXT, inner, max_size=4)), max_leaves=12)
STATE = st.one_of(JSON, st.fixed_dictionaries({"inputs": JSON, "type": TEXT, "protect": JSON, "custom": JSON}))
OPERATION = st.one_of(st.sampled_from(["create", "update", "delete", "replace", "same", "import", "teleport", "create-replacement"]), JSON)
STEP = st.fixed_dictionaries(
    {"op": OPERATION},
    optional={
        "urn": st.one_of(st.builds("urn:pulumi:prod::feast-eks::{}::{}".format, TEXT, TEXT), JSON),
        "oldState": STATE,
        "newState": STATE,
        "detailedDiff": st.one_of(JSON, st.dictionaries(TEXT, st.fixed_dictionaries({"kind": TEXT}), max_size=3)),
    },
)
DIAGNOSTIC = st.fixed_dictionaries({"severity": st.sampled_from(["error", "info", 3]), "message": JSON})
POLICY = st.fixed_dictionaries({}, optional=dict.fromkeys(("policyName", "enforcementLevel", "message", "resourceUrn"), JSON))
DIGEST = st.fixed_dictionaries(
    {},
    optional={"steps": st.one_of(st.lists(STEP, max_size=4), JSON), "diagnostics": st.lists(DIAGNOSTIC, max_size=2), "changeSummary": JSON},
)
EVENTS = st.lists(
    st.one_of(st.builds(lambda p: {"policyEvent": p}, POLICY), st.builds(lambda m: {"resourcePreEvent": {"metadata": m}}, STEP), JSON)
)
CONTRACT = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"services": st.dictionaries(TEXT, st.fixed_dictionaries({"features": st.lists(st.lists(TEXT, max_size=4))}), max_size=2)}
    ),
    st.fixed_dictionaries(
        {"views": st.dictionaries(TEXT, st.fixed_dictionaries({"features": st.lists(st.lists(TEXT, max_size=3)), "ttl": JSON}))}
    ),
)
CONFIG = st.one_of(JSON, st.dictionaries(TEXT, st.one_of(st.sampled_from(["advisory", "disabled"]), JSON), max_size=3))
OURS = re.compile(r"\A<!-- feast-eks preview: prod -->\n")
TAIL = re.compile(r"<details><summary>The same on your machine</summary>\n\n```sh\n.*\n```\n\n</details>\n\Z", re.DOTALL)
# What GitHub would interpret, were it outside code: a mention, a tag, a link or picture, a reference, maths, an escape.
MARKUP = re.compile(r"[@<\\$~^]|\]\(|!\[|#\d|https?:|\[x\]")
LINE = re.compile(r"(#{3,4} |> \[!(CAUTION|WARNING|NOTE)\]$|> - |- |  - |\w|$)")


def outside_of_code(comment):
    """The comment's own words: without marker, tail, fences and code spans."""
    assert OURS.match(comment), "the marker comes first"
    assert TAIL.search(comment), "the commands come last"
    words, fenced = [], False
    for line in TAIL.sub("", OURS.sub("", comment)).split("\n"):
        if line.startswith("```"):
            fenced = not fenced
        elif fenced:
            assert "```" not in line
        else:
            assert line.count("`") % 2 == 0, f"a code span does not end on its line: {line!r}"
            words.append(re.sub(r"`[^`]+`", "", line))
    assert not fenced, "a fence does not end"
    return words


def comment_on(text, contracts=(None, None), configurations=(None, None), log="", status=0):
    as_text = [None if c is None else c if isinstance(c, str) else json.dumps(c) for c in (*contracts, *configurations)]
    return render(
        Report(
            stack="prod",
            exit_status=status,
            preview=read_preview(text),
            features=compare_contracts(*as_text[:2]),
            policies=tuple(compare_configurations(*as_text[2:])),
            log=log,
        )
    )


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.one_of(st.builds(json.dumps, DIGEST), st.builds(lambda lines: "\n".join(map(json.dumps, lines)), EVENTS), TEXT),
    st.tuples(CONTRACT, CONTRACT),
    st.tuples(CONFIG, CONFIG),
    TEXT,
    st.sampled_from([0, 1, None]),
)
def test_no_text_breaks_out_of_a_comment(text, contracts, configurations, log, status):
    comment = comment_on(text, contracts, configurations, log, status)
    assert len(comment) <= LIMIT
    comment.encode()
    for line in outside_of_code(comment):
        assert not MARKUP.search(line), f"interpreted by GitHub: {line!r}"
        assert LINE.match(line), f"not a line of ours: {line!r}"


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_a_code_span_is_one_span_of_one_line(text):
    span = code(text)
    assert re.fullmatch(r"`[^`\n]+`", span)
    assert len(span) <= 200


@settings(max_examples=200, deadline=None)
@given(st.lists(TEXT, max_size=100))
def test_a_fence_is_one_fence(lines):
    block = fence(lines)
    assert block.count("```") == 2
    assert len(block) < 40_000


@pytest.mark.parametrize("size", [1, 100])
def test_a_comment_fits_whatever_its_size(step, size):
    nasty = "`@x` <b> " * 300
    steps = [
        step(op, f"aws:s3/bucket:{nasty}", f"{nasty}{n}", old={"a": nasty}, new={"a": "b"}, diff={"a": "update-replace"})
        for n in range(size)
        for op in ("update", "replace", "delete", "create", "teleport")
    ]
    services = {f"{nasty}{n}": {"features": [["v", f"{nasty}{i}", nasty] for i in range(20)]} for n in range(min(size, 200))}
    comment = comment_on(json.dumps({"steps": steps}), ({"services": {}}, {"services": services}))
    assert len(comment) <= LIMIT
    outside_of_code(comment)


SECRETS = {
    "an AWS key": "AKIAIOSFODNN7EXAMPLE",
    "a secret key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "a password in an address": "postgresql://feast:hunter2hunter2@db:5432/feast",
    "a GitHub token": "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "a web token": "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N",
    "a private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----",
    "an assignment": "REDIS_PASSWORD=correcthorse",
    "an assignment in JSON": '{"password": "correcthorse"}',
    "a ciphertext": "v1:EFG4/ZNhlvrJm1WC:p/NV3FfoH6o/CbWvYwsNHNFguux/vA==",
}


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_what_looks_like_a_secret_is_not_repeated(step, secret):
    text = json.dumps(
        {
            "steps": [step(name=secret, old={"a": secret}, new={"a": "b", "c": [secret]}, diff={"a": "update", "c": "add"})],
            "diagnostics": [{"severity": "error", "message": f"could not connect with {secret}"}],
        }
    )
    comment = comment_on(text, log=secret, status=1)
    for part in re.findall(r"[A-Za-z0-9+/]{12,}", secret):
        if part not in ("postgresql", "correcthorse"):
            assert part not in comment
    assert "hunter2" not in comment
    assert "correcthorse" not in comment


@pytest.mark.parametrize("key", ["password", "REDIS_PASSWORD", "secretAccessKey", "api_token", "connectionDsn"])
def test_what_stands_under_a_secret_name_is_not_shown(step, key):
    comment = comment_on(json.dumps({"steps": [step(old={key: "correcthorse"}, new={key: "batterystaple"}, diff={key: "update"})]}))
    assert "correcthorse" not in comment
    assert "batterystaple" not in comment
    assert f"`{key}`: `[secret]` → `[secret]`" in comment


def test_an_environment_variable_of_a_secret_name_is_not_shown(step):
    def spec(value):
        return {"containers": [{"name": "server", "env": [{"name": "DB_PASSWORD", "value": value}]}]}

    comment = comment_on(
        json.dumps({"steps": [step(old=spec("correcthorse"), new=spec("batterystaple"), diff={"containers[0].env[0].value": "update"})]})
    )
    assert "containers[server].env[DB_PASSWORD].value" in comment
    assert "batterystaple" not in comment


@pytest.mark.parametrize("kind", ["kubernetes:core/v1:Secret", "random:index/randomPassword:RandomPassword"])
def test_nothing_of_a_resource_that_is_a_secret_is_shown(step, kind):
    comment = comment_on(json.dumps({"steps": [step(kind=kind, old={"x": "aaaa1"}, new={"x": "bbbb2"}, diff={"x": "update"})]}))
    assert "aaaa1" not in comment
    assert "bbbb2" not in comment


@pytest.mark.parametrize(
    "harmless",
    [
        "sha256:88cfa0fa2c77ccaa2462f02304feaf21db47b8200a2685a8ee45f33bdc45ca2d",
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration::offline-store-encryption",
        "arn:aws:iam::123456789012:policy/feast-eks-boundary",
        "123456789012.dkr.ecr.eu-west-1.amazonaws.com/feature-runtime",
        "feature-server.feast.svc.cluster.local:6566",
        "automountServiceAccountToken: false",
        "https://kubernetes.default.svc.cluster.local/healthz",
        "feast_feature_server_requests_per_second",
    ],
)
def test_what_a_reviewer_needs_is_not_taken_for_a_secret(harmless):
    assert redact(harmless) == harmless


def test_random_keys_are_taken_for_secrets():
    for seed in range(500):
        word = base64.b64encode(random.Random(seed).randbytes(30)).decode()
        assert word not in redact(f"the key is {word} as you see"), "40 characters, as the keys of AWS have"


def test_switches_and_names_of_secrets_are_shown(step):
    comment = comment_on(
        json.dumps(
            {
                "steps": [
                    step(
                        old={"automountServiceAccountToken": True, "existingSecret": "a"},
                        new={"automountServiceAccountToken": False, "existingSecret": "b"},
                        diff={"automountServiceAccountToken": "update", "existingSecret": "update"},
                    )
                ]
            }
        )
    )
    assert "`automountServiceAccountToken`: `true` → `false`" in comment
    assert "`existingSecret`: `a` → `b`" in comment
