"""The table of who may do what, and that everything which enforces it says the same."""

import json
import re

import pytest

from feast_eks import aws_policies
from feast_eks.identities import APPLY, CHECK, COMMANDS, IDENTITIES, MATERIALIZE, REGISTRY_ROLES, SERVE, SMOKE_TEST, store_environment
from feast_eks.offline_store import offline_store_environment
from tests.infra.engine import ACCOUNT, ISSUER, KEY_ARN, run_program
from tests.infra.modes import MODES, config_of, settings

WRITING_COMMANDS = {"+set", "+hset", "+del", "+hdel", "+expire", "+@write", "+@all"}


@pytest.fixture(scope="module", params=MODES)
def mode(request):
    return request.param


@pytest.fixture(scope="module")
def deployed(mode):
    return run_program(config_of(mode), stack="dev")


def documents(engine, suffix):
    return {name: json.loads(policy.inputs["policy"]) for name, policy in engine.of_type(":RolePolicy").items() if name.endswith(suffix)}


def test_what_may_write_to_redis():
    assert [i for i in IDENTITIES if i.online_store == "writes"] == [MATERIALIZE]
    assert [i for i in IDENTITIES if WRITING_COMMANDS & set(i.online_store_rules.split())] == [APPLY, MATERIALIZE], (
        "apply removes what a deleted view leaves behind, and cannot write a value"
    )
    assert not {"+set", "+hset"} & set(APPLY.online_store_rules.split())


def test_who_owns_the_registry():
    assert [i for i in IDENTITIES if i.registry == "owns"] == [APPLY]
    assert [i for i in IDENTITIES if i.registry == "administers"] == [REGISTRY_ROLES]
    others = [i for i in IDENTITIES if i.registry and i is not REGISTRY_ROLES]
    assert len({i.registry_role for i in others} - {""}) == len(others) == 4, "a role of its own each"


def test_what_may_read_the_bucket():
    assert [i for i in IDENTITIES if i.offline_store] == [APPLY, MATERIALIZE, SMOKE_TEST]


def test_every_right_in_redis_is_worth_some_commands():
    assert {i.online_store for i in IDENTITIES} - {None} == set(COMMANDS)


def test_only_the_owner_makes_tables_and_only_readers_go_to_a_replica():
    def value(identity, name):
        found = {v["name"]: v.get("value") for v in store_environment(identity, settings("highly-available"))}
        return found.get(name)

    assert {i.name for i in IDENTITIES if value(i, "REGISTRY_SCHEMA_MODE") == "auto"} == {"apply"}
    hosts = {i: value(i, "REGISTRY_HOST") for i in IDENTITIES if i.registry_role}
    assert hosts == {
        APPLY: "feast-postgresql-primary",
        MATERIALIZE: "feast-postgresql-primary",
        SERVE: "feast-postgresql-read",
        CHECK: "feast-postgresql-read",
    }, "who reads its own writes must not ask a replica that may not have them yet"


def test_a_role_exists_for_who_reads_the_bucket_and_nobody_else(deployed, mode):
    roles = set(deployed.of_type(":Role"))
    assert roles == (set() if mode == "s3-compatible" else {f"{i.name}-role" for i in IDENTITIES if i.offline_store})
    if mode not in {"s3-compatible", "irsa"}:
        bound = {r.inputs["serviceAccount"]: r.inputs["roleArn"] for r in deployed.of_type(":PodIdentityAssociation").values()}
        assert bound == {i.name: f"arn:aws:iam::{ACCOUNT}:role/feast-eks/{i.name}-role-1234567" for i in IDENTITIES if i.offline_store}, (
            "one role for each service account"
        )


def test_who_gets_a_role_waits_for_it_and_nobody_else_does(deployed, mode):
    """A pod that EKS admitted too early has none, and only another pod can have one."""
    waits = {
        name: variable["value"]
        for spec in deployed.pod_specs().values()
        for container in [*spec.get("initContainers", []), *spec["containers"]]
        for name, variable in [(container["name"], v) for v in container["env"] if v["name"] == "AWS_WORKLOAD_IDENTITY"]
    }
    kind = {"irsa": "irsa", "s3-compatible": None}.get(mode, "pod_identity")
    assert waits == (dict.fromkeys(("apply", "materialize", "skew-probe", "smoke-test"), kind) if kind else {})


def test_nobody_waits_for_a_role_where_there_is_nothing_to_read():
    variables = offline_store_environment(APPLY, settings(), "bucket", sources=())
    assert not [v for v in variables if v["name"] == "AWS_WORKLOAD_IDENTITY"], "it would wait for ever: no role is made"


def test_a_role_reads_the_sources_and_nothing_else(deployed, mode):
    for name, policy in documents(deployed, "-reads-sources").items():
        read, listing = policy["Statement"]
        bucket = "arn:aws:s3:::offline-store-bucket-1234567"
        assert read["Action"] == "s3:GetObject"
        assert read["Resource"] == [f"{bucket}/employee_attrition.parquet", f"{bucket}/employee_attrition.parquet/*"], name
        assert (listing["Action"], listing["Resource"]) == ("s3:ListBucket", bucket)
        assert listing["Condition"]["StringLikeIfExists"]["s3:prefix"] == ["employee_attrition.parquet", "employee_attrition.parquet/*"]


def allows(patterns, text):
    """Whether one of a policy's patterns matches, as IAM reads them."""

    def as_regex(pattern):
        parts = re.split(r"(\$\{[$*?]\}|[*?])", pattern)
        return "".join({"*": ".*", "?": "."}.get(part, re.escape(part[2] if part[:2] == "${" else part)) for part in parts)

    return any(re.fullmatch(as_regex(pattern), text) for pattern in patterns)


@pytest.mark.parametrize(
    ("source", "read", "listed", "closed"),
    [
        ("pay/s.parquet", ["pay/s.parquet"], [], ["pay/t.parquet", "s.parquet"]),
        ("pay/history", ["pay/history/2026/a.parquet"], ["pay/history/"], ["pay/other/a.parquet"]),
        ("pay/*.parquet", ["pay/a.parquet"], ["pay/", "pay/*.parquet/"], ["people/a.parquet", "pay/a.csv"]),
        ("pay/**/a*.parquet", ["pay/a1.parquet", "pay/2026/01/a1.parquet"], ["pay/", "pay/2026/"], ["people/a.parquet"]),
        ("pay/year=*/part", ["pay/year=2026/part/a.parquet"], ["pay/", "pay/year=2026/part/"], ["pay/all/part/a.parquet"]),
        ("day[0-9].parquet", ["day1.parquet", "day[0-9].parquet"], [""], ["days.parquet.bak", "day12.parquet"]),
        ("a?.parquet", ["a1.parquet", "a?.parquet"], [""], ["a12.parquet"]),
        ("${aws:username}.parquet", ["${aws:username}.parquet"], [], ["somebody.parquet"]),
    ],
)
def test_a_role_reads_what_a_pattern_matches_and_lists_the_folder_that_it_begins_with(source, read, listed, closed):
    policy = json.loads(aws_policies.read_sources(bucket="b", sources=[source], region="eu-west-1"))
    objects, lists = policy["Statement"]
    prefixes = lists["Condition"]["StringLikeIfExists"]["s3:prefix"]
    assert [key for key in read if not allows(objects["Resource"], f"arn:aws:s3:::b/{key}")] == []
    assert [key for key in closed if allows(objects["Resource"], f"arn:aws:s3:::b/{key}")] == []
    assert [prefix for prefix in listed if not allows(prefixes, prefix)] == []


def test_a_role_decrypts_with_the_one_key_and_through_s3_only(deployed, mode):
    found = documents(deployed, "-decrypts")
    assert bool(found) == (mode != "s3-compatible")
    for policy in found.values():
        (statement,) = policy["Statement"]
        assert (statement["Action"], statement["Resource"]) == ("kms:Decrypt", KEY_ARN)
        assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-west-1.amazonaws.com"}}


def test_no_policy_of_a_role_has_a_wildcard_where_it_would_matter(deployed):
    for name, policy in documents(deployed, "").items():
        for statement in policy["Statement"]:
            resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
            assert "*" not in resources, name
            assert "*" not in statement["Action"], name
            assert not [r for r in resources if r.endswith(":::offline-store-bucket-1234567/*")], "the whole bucket"


def test_a_role_is_taken_up_from_one_place_only(deployed, mode):
    for name, role in deployed.of_type(":Role").items():
        (statement,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        if mode == "irsa":
            identity = name.removesuffix("-role")
            provider = ISSUER.removeprefix("https://")
            assert statement["Principal"] == {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{provider}"}
            assert statement["Condition"] == {
                "StringEquals": {f"{provider}:sub": f"system:serviceaccount:feast:{identity}", f"{provider}:aud": "sts.amazonaws.com"}
            }
        else:
            assert statement["Principal"] == {"Service": "pods.eks.amazonaws.com"}
            assert statement["Condition"] == {
                "StringEquals": {
                    "aws:SourceAccount": ACCOUNT,
                    "aws:RequestTag/kubernetes-namespace": "feast",
                    "aws:RequestTag/kubernetes-service-account": name.removesuffix("-role"),
                },
                "ArnEquals": {"aws:SourceArn": f"arn:aws:eks:eu-west-1:{ACCOUNT}:cluster/somewhere"},
            }, "who may associate roles in this cluster could hand it to any pod"


def test_pods_send_the_tags_that_their_roles_trust_asks_for(deployed):
    for association in deployed.of_type(":PodIdentityAssociation").values():
        assert association.inputs["disableSessionTags"] is False, "without them nobody could take the role up"


def test_a_service_account_names_its_role_where_tokens_are_exchanged_for_it(deployed, mode):
    annotations = {
        r.inputs["metadata"]["name"]: r.inputs["metadata"].get("annotations") for r in deployed.of_type(":ServiceAccount").values()
    }
    for identity in (APPLY, MATERIALIZE, SMOKE_TEST):
        role = f"arn:aws:iam::{ACCOUNT}:role/feast-eks/{identity.name}-role-1234567"
        assert annotations[identity.name] == ({"eks.amazonaws.com/role-arn": role} if mode == "irsa" else None)
    assert annotations[SERVE.name] is None, "the feature server has no business in AWS"


def test_a_boundary_bounds_every_role():
    boundary = f"arn:aws:iam::{ACCOUNT}:policy/boundary"
    engine = run_program(config_of(aws={"permissions_boundary_arn": boundary}), stack="dev")
    assert {role.inputs["permissionsBoundary"] for role in engine.of_type(":Role").values()} == {boundary}


def test_secrets_that_people_bring_stay_in_their_secrets(deployed):
    for registration in deployed.registrations:
        if not registration.type.endswith((":Secret", "pulumi:providers:aws")):
            assert "canary-" not in json.dumps(registration.inputs), f"{registration.name} carries a secret in clear"


def test_external_users_come_from_the_secret_that_holds_them():
    engine = run_program(config_of("external"), stack="dev")
    secret = engine.of_type("core/v1:Secret")["materialize-credentials"].inputs["stringData"]["value"]
    assert secret["online-store-user"] == "materialize-user"
    assert secret["online-store-password"] == "canary-materialize"
    administrator = engine.of_type("core/v1:Secret")["registry-administrator"].inputs["stringData"]["value"]
    assert administrator == {"username": "dbadmin", "password": "canary-admin"}
    assert not {"feast-postgresql-auth", "feast-redis-auth", "feast-redis-acl"} & set(engine.of_type("core/v1:Secret"))
