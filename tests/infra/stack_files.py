"""Stack files that nobody wrote: the four that exist, edited at random by somebody who means well, or does not."""

import copy
from typing import Any

from hypothesis import strategies as st

from feast_eks.settings import SECRET_KEYS, Settings
from tests.infra.engine import stack_config

DIGEST = f"sha256:{'0123456789abcdef' * 4}"
ARN = "arn:aws:{}:eu-west-1:123456789012:{}"

# What a schema cannot say: texts that a person could have meant, right ones and near misses alike.
WORDS: dict[str, list[Any]] = {
    "eks_name": ["feast-prod", "a", "feast prod", ""],
    "kube_context": ["minikube", "arn:aws:eks:eu-west-1:123456789012:cluster/feast", ""],
    "region": ["eu-west-1", "us-east-2", "europe"],
    "account_id": ["123456789012", "12345", 123456789012],
    "permissions_boundary_arn": [ARN.format("iam", "policy/b").replace("eu-west-1", ""), "policy/b"],
    "tags": [{}, {"owner": "x"}, {"aws:owner": "x"}, {"owner": 1}],
    "repository": [
        "registry.example.com/team/image",
        "registry.example.com:5000/image",
        "image",
        "registry.example.com/image:1",
        "Upper/Case",
    ],
    "tag": ["1.2.3", "latest", "with space"],
    "digest": [DIGEST, "sha256:abc"],
    "namespace": ["feast", "features", "kube-system", "Feast_1", "default"],
    "bucket_name": ["my-features", "My_Bucket", "a"],
    "endpoint_url": ["https://minio.example.com:9000", "http://10.0.0.9", "minio", "s3://bucket"],
    "kms_key_arn": [ARN.format("kms", "key/12345678-1234-1234-1234-123456789012"), "alias/key"],
    "log_bucket": ["logs-of-all", "Logs"],
    "sample_data": ["feature_repo/data/employee_attrition.parquet", "no/such.parquet", "/etc/passwd"],
    "external": [
        None,
        {"host": "db.example.com"},
        {"type": "cluster", "hosts": ["redis.example.com:6379"]},
        {"hosts": ["redis.example.com"]},
    ],
    "host": ["db.example.com", "postgresql://user:secret@db", ""],
    "read_host": ["reader.example.com", "a b"],
    "database": ["feast", "Feast-1"],
    "hosts": [["redis.example.com:6379"], ["redis.example.com"], []],
    "ca_certificate": ["no-such.pem", "../etc/ca.pem"],
    "location": ["oci://registry.example.com/charts/store", "https://charts.example.com/store-1.2.3.tgz", "store", "ftp://x"],
    "version": ["1.2.3", "^1.2.0", "1"],
    "storage_class": ["gp3", "Gp 3"],
    "schedule": ["0 2 * * *", "30 1 * * *", "0 */6 * * *", "@daily", "0 25 * * *", "0 2 1 1 *"],
    "entities": [{}, {"employee_id": [101]}, {"employee_id": []}, {"employee_id": [1.5]}],
    "labels": [{"release": "prometheus"}, {"no value": "x y"}, {"a": 1}],
    "runbook_url": ["https://wiki.example.com/feast", "wiki"],
}
GARBAGE = [None, True, "", "two", -1, 0, 3.5, 10**12, [], ["x"], {}, {"a": {"b": []}}, "${PASSWORD}", "\u2028", "1e3", {"": None}]


def config_of(stack: str) -> dict[str, Any]:
    """The `feast-eks:` part of a stack file, without the prefix."""
    return {key.removeprefix("feast-eks:"): value for key, value in stack_config(stack).items() if key.startswith("feast-eks:")}


def leaves(schema: dict[str, Any], definitions: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], dict[str, Any]]:
    """Every key that a stack file may hold, with its JSON schema; sections themselves too."""
    schema = {**schema, **next((option for option in schema.get("anyOf", []) if option.get("type") != "null"), {})}
    schema = {**schema, **definitions.get(schema.get("$ref", "").rpartition("/")[2], {})}
    found = {path: schema} if path else {}
    for name, part in (schema.get("properties") or {}).items():
        found |= leaves(part, definitions, (*path, name))
    return found


SCHEMA = Settings.model_json_schema()
LEAVES = leaves(SCHEMA, SCHEMA["$defs"])


def meant(path: tuple[str, ...]) -> st.SearchStrategy[Any]:
    """A value that somebody could have meant."""
    schema = LEAVES[path]
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if schema.get("type") == "integer":
        low, high = schema["minimum"], schema["maximum"]
        return st.sampled_from([low, min(low * 2, high), high]) | st.integers(low, min(high, low + 4000))
    if schema.get("type") == "number":
        return st.sampled_from([schema["minimum"], schema["maximum"], 0.01])
    if schema.get("type") == "boolean":
        return st.booleans()
    if path[-1] in WORDS:
        return st.sampled_from(WORDS[path[-1]])
    return st.just({})


@st.composite
def stack_files(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A stack's name and its edited file: one in twenty-four by a careful hand, the others with something wrong somewhere."""
    stack = draw(st.sampled_from(["local", "dev", "staging", "prod"]))
    config = copy.deepcopy(config_of(stack))
    paths = st.sampled_from(sorted(LEAVES))
    careful = draw(st.integers(0, 23)) == 0
    for path in draw(st.lists(paths, min_size=0 if careful else 3, max_size=5)):
        integers = LEAVES[path].get("type") in {"integer", "boolean"} or "enum" in LEAVES[path]
        kind = (
            "meant" if careful else draw(st.sampled_from(["meant", "garbage", "garbage", "garbage", "garbage", "typo", "typo", "removed"]))
        )
        if careful and not integers:
            continue
        _edit(config, path, kind, draw(meant(path) if kind == "meant" else st.sampled_from(GARBAGE)))
    if not careful and draw(st.integers(0, 9)) == 0:
        config[draw(st.sampled_from([*sorted(SECRET_KEYS), "registry_password", "replicas"]))] = draw(st.sampled_from(GARBAGE))
    return stack, config


def _edit(config: dict[str, Any], path: tuple[str, ...], kind: str, value: Any) -> None:
    section: Any = config
    for name in path[:-1]:
        if not isinstance(section.get(name), dict):
            section[name] = {}
        section = section[name]
    if kind == "removed":
        section.pop(path[-1], None)
    elif kind == "typo":
        section[f"{path[-1]}_"] = copy.deepcopy(value)
    else:
        # A copy: two keys that shared a section would be edited together, or hold each other.
        section[path[-1]] = copy.deepcopy(value)
