"""What the pages for operators say, held against what the program does."""

import json
import re
import runpy
import textwrap

import pulumi
import pytest
import yaml

from delivery.by_hand.strangers import WATCHED
from feast_eks.aws_access import PATH
from feast_eks.feature_server import REQUEST_RATE_METRIC
from feast_eks.identities import CLUSTER_CLIENT, IDENTITIES
from feast_eks.network import CLIENT_NAMESPACE_LABEL
from feast_eks.offline_store import key_alias
from feast_eks.settings import OnlineStoreSettings, RegistrySettings, parse_settings
from tests.infra.engine import AUTHORITY, PROJECT, Engine, run_program, stack_config
from tests.infra.modes import GOOD, secrets_of

DOCS = PROJECT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md"))
DEPLOY = (DOCS / "deploy-to-eks.md").read_text()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def anchors(page):
    without_code = re.sub(r"^(```.*?^```|    .*?$)", "", page, flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", without_code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", PAGES)
def test_every_link_leads_somewhere(name):
    for target in re.findall(r"\]\(([^)]+)\)", (DOCS / name).read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = (DOCS / path).resolve() if path else DOCS / name
        assert found.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in anchors(found.read_text()), f"{name}: there is no heading for {target}"


def test_the_page_of_outputs_has_all_of_them_and_no_other():
    engine = run_program(stack_config())
    documented = re.findall(r"^\| `(\w+)` \|", (DOCS / "outputs.md").read_text(), re.MULTILINE)
    assert sorted(documented) == sorted(engine.outputs)


def test_the_passwords_of_the_page_are_those_of_the_program():
    rotation = (DOCS / "operations.md").read_text().partition("## Rotate a password")[2].partition("\n## ")[0]
    generated = set(run_program(stack_config()).of_type(":RandomPassword"))
    assert set(re.findall(r"`([\w-]+-password)`", rotation.partition("Pods read Secrets only at startup")[0])) == generated


def test_the_names_of_what_is_run_again_are_those_of_the_program():
    jobs = set(run_program(stack_config()).of_type("batch/v1:Job"))
    pages = "".join((DOCS / name).read_text() for name in PAGES)
    named = set(re.findall(r"URN-of-([\w-]+?)(?:-password)?(?=[\s`])", pages))
    assert {name for name in named if not name.endswith(("registry", "online-store", "admin"))} <= jobs
    for job in ("feature-definitions-apply", "materialization-backfill", "smoke-test-job"):
        assert job in jobs
        assert job in DEPLOY


def test_what_a_killed_update_leaves_behind_is_imported_by_the_programs_names():
    section = (DOCS / "operations.md").read_text().partition("## After an update that was killed")[2].partition("\n## ")[0]
    engine = run_program(stack_config("dev"), stack="dev")
    made = {(r.type, r.name) for r in engine.registrations}
    named = re.findall(r"`(aws:\S+) (\S+) \S+`", section)
    associations = re.findall(r"`([\w-]+-pod-identity)`", section)
    assert {kind for kind, _ in named} == {
        "aws:s3/bucket:Bucket",
        "aws:kms/alias:Alias",
        "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    }, "what AWS has one of by a name that the program knows"
    assert set(named) <= made
    assert {named[2][1], *associations} == set(engine.of_type(":PodIdentityAssociation"))
    assert {"offline-store", "aws-access"} == set(re.findall(r"\| `([\w-]+)` \|$", section, re.MULTILINE))
    assert {"offline-store", "aws-access", "aws-provider"} <= {name for _, name in made}


def test_the_deployers_policy_is_narrow():
    (document,) = (json.loads(block) for block in blocks(DEPLOY, "json"))
    for statement in document["Statement"]:
        actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        assert all(re.fullmatch(r"(eks|iam|s3|kms):[A-Z]\w+\*?", action) for action in actions), statement["Sid"]
        assert [action for action in actions if action.endswith("*")] in ([], ["s3:GetBucket*"]), statement["Sid"]
        if statement["Resource"] == "*":
            assert set(actions) == {"kms:CreateKey", "kms:ListAliases"}, "AWS knows no resource for these two only"
    by_sid = {statement["Sid"]: statement for statement in document["Statement"]}
    for sid in ("MakeRolesWithinTheBoundary", "Roles", "GiveRolesToPods"):
        assert by_sid[sid]["Resource"].endswith(f":role{PATH}*"), "the program makes roles under one path"
    assert any(
        key_alias("b").startswith(arn.partition(":alias/")[2].rstrip("*") or "?", len("alias/")) for arn in by_sid["Key"]["Resource"]
    )
    assert "iam:PermissionsBoundary" in json.dumps(by_sid["MakeRolesWithinTheBoundary"]["Condition"])


def test_the_deployers_rights_in_kubernetes_cover_what_the_program_makes():
    documents = [document for block in blocks(DEPLOY, "yaml") for document in yaml.safe_load_all(block)]
    (role,) = (document for document in documents if document.get("kind") == "ClusterRole")
    writable = {
        f"{group}/{resource}"
        for rule in role["rules"]
        if "create" in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    for stack in ("dev", "prod"):
        for r in run_program(stack_config(stack), stack=stack).registrations:
            kind = re.fullmatch(r"kubernetes:([\w.]+)/\w+:(\w+)", r.type)
            if kind and kind[1] != "helm.sh":
                group = {"core": "", "networking.k8s.io": "networking.k8s.io"}.get(kind[1], kind[1])
                plural = re.sub(r"y$", "ie", kind[2].lower()) + "s"
                assert f"{group}/{plural}" in writable, f"{stack}: {r.name} could not be made"


def test_the_drift_role_may_list_what_the_check_for_additions_looks_at():
    page = (DOCS / "pull-requests.md").read_text()
    roles = [yaml.safe_load(textwrap.dedent(block)) for block in re.findall(r"^ +```yaml\n(.*?)^ +```", page, re.MULTILINE | re.DOTALL)]
    (drift,) = (role for role in roles if role["metadata"]["name"] == "feast-eks-drift")
    assert all(rule["verbs"] == ["get", "list"] for rule in drift["rules"]), "it only reads"
    listed = {(group, resource) for rule in drift["rules"] for group in rule["apiGroups"] for resource in rule["resources"]}
    # Kubernetes' ClusterRole `view` has all others that the program makes or the check watches, and these it has not.
    for group, resource in (("", "secrets"), ("rbac.authorization.k8s.io", "rolebindings")):
        assert any((kind.group, f"{kind.name.lower()}s") == (group, resource) for kind in WATCHED)
        assert (group, resource) in listed
    monitors = {r.type for r in run_program(stack_config("prod"), stack="prod").registrations if "monitoring.coreos.com" in r.type}
    assert {("monitoring.coreos.com", f"{kind.rpartition(':')[2].lower()}s") for kind in monitors} <= listed


def test_the_adapters_rule_computes_what_the_autoscaler_asks_for():
    values = next(
        found for block in blocks(DEPLOY, "yaml") if "rules" in (found := next(yaml.safe_load_all(block))) and "prometheus" in found
    )
    (rule,) = values["rules"]["custom"]
    assert rule["name"]["as"] == REQUEST_RATE_METRIC
    assert rule["seriesQuery"].startswith("feast_feature_server_request_total{")


def test_every_variable_of_the_workflows_is_explained():
    workflows = [*(PROJECT / ".github").rglob("*.yml")]
    assert workflows, "nothing to compare with"
    used = {name for path in workflows for name in re.findall(r"\bvars\.([A-Z_]+)", path.read_text())}
    page = (PROJECT / "docs" / "pull-requests.md").read_text()
    for name in used:
        stem, stack = re.fullmatch(r"(.+?)(_DEV|_STAGING|_PROD)?", name).groups()
        assert f"`{name}`" in page or (f"`{stem}_DEV`" in page and f"`…{stack}`" in page), name


def test_versions_in_commands_are_those_of_the_settings():
    for store, chart in ((RegistrySettings(), "postgresql"), (OnlineStoreSettings(), "redis")):
        assert f"{chart}:{store.chart.version}" in DEPLOY
        for image in [store.image, store.exporter_image, getattr(store, "sentinel_image", store.image)]:
            assert f"{image.repository.rpartition('/')[2]}:{image.tag}" in DEPLOY


def test_the_label_of_clients_is_the_one_that_the_network_asks_for():
    ((key, value),) = CLIENT_NAMESPACE_LABEL.items()
    assert f"{key}={value}" in DEPLOY
    assert f'{key}: "{value}"' in (DOCS / "outputs.md").read_text()


def test_the_rights_of_users_of_an_external_redis_are_those_of_the_identities():
    section = DEPLOY.partition("### Stores that exist already")[2].partition("\n## ")[0]
    written = dict(re.findall(r"^ *\| `([\w-]+)` \| `on (.+)` \|$", section, re.MULTILINE))
    assert written == {identity.name: identity.online_store_rules for identity in IDENTITIES if identity.online_store}
    assert f"`{CLUSTER_CLIENT}`" in section, "a client of a Redis Cluster asks where keys lie"


def test_the_example_of_external_stores_is_taken_by_the_program():
    (values,) = (
        {key.removeprefix("feast-eks:"): value for key, value in document["config"].items()}
        for block in blocks(DEPLOY, "yaml")
        for document in yaml.safe_load_all(block)
        if "config" in document
    )
    values["registry"]["external"]["ca_certificate"] = AUTHORITY  # the one of the example is the reader's
    found = parse_settings(GOOD | values, "dev", PROJECT, secret_keys=secrets_of(values).keys())
    assert found.registry.external
    assert found.online_store.external


def test_a_smoke_test_by_hand_asks_for_other_entities():
    page = (DOCS / "operations.md").read_text()
    name = re.search(r'select\(\.name == "(\w+)"\)', page)[1]
    (container,) = run_program(stack_config()).of_type("batch/v1:Job")["smoke-test-job"].inputs["spec"]["template"]["spec"]["containers"]
    assert name in {variable["name"] for variable in container["env"]}


@pytest.fixture(scope="module")
def consumer():
    engine = Engine()
    outputs = run_program(stack_config(), preview=True).outputs  # a preview shows them at once
    answered = {key: value for key, value in outputs.items() if isinstance(value, str | dict)}
    assert {"client_feature_store_yaml", "feature_services", "image"} <= answered.keys()

    class Backend(Engine):
        def new_resource(self, args):
            if args.typ == "pulumi:pulumi:StackReference":
                return args.name, {"name": args.name, "outputs": answered, "secretOutputNames": []}
            return engine.new_resource(args)

    pulumi.runtime.set_mocks(Backend(), project="feature-consumer", stack="dev")
    pulumi.runtime.set_all_config({"feature-consumer:feature_store": "organization/feast-eks/local"})

    @pulumi.runtime.test
    def program():
        runpy.run_path(str(PROJECT / "examples" / "consumer" / "__main__.py"), run_name="__main__")

    program()
    return engine, answered


def test_the_example_is_configured_by_outputs_only(consumer):
    engine, outputs = consumer
    data = engine.one(":ConfigMap").inputs["data"]
    assert data["feature_store.yaml"] == outputs["client_feature_store_yaml"]
    assert json.loads(data["feature_services.json"]) == outputs["feature_services"]
    assert engine.one(":Job").inputs["spec"]["template"]["spec"]["containers"][0]["image"] == outputs["image"]


def test_the_example_runs_where_features_may_be_read(consumer):
    engine, _ = consumer
    namespace = engine.one(":Namespace").inputs["metadata"]
    assert CLIENT_NAMESPACE_LABEL.items() <= namespace["labels"].items()
    assert engine.one(":Job").inputs["metadata"]["namespace"] == namespace["name"]


@pytest.mark.parametrize("full_names", [False, True])
def test_the_client_orders_values_by_the_contract(monkeypatch, tmp_path, full_names):
    client = runpy.run_path(str(PROJECT / "examples" / "client.py"))
    contract = {"features": [["b", "Int64"], ["a", "Int64"]], "sha256": "0"} | ({"full_feature_names": True} if full_names else {})
    (tmp_path / "feature_services.json").write_text(json.dumps({"model": contract}))

    class Store:
        def __init__(self, **_):
            pass

        def get_online_features(self, *, features, entity_rows, full_feature_names):
            assert (features.name, full_feature_names) == ("model", full_names)
            self.rows = entity_rows
            return self

        def to_dict(self):
            return {"id": [row["id"] for row in self.rows], "a": [1, 2], "b": [10, None]}

    vectors = client["vectors"]
    monkeypatch.setitem(vectors.__globals__, "HERE", tmp_path)
    monkeypatch.setitem(vectors.__globals__, "FeatureStore", Store)
    assert vectors("model", "id", [7, 8]) == [[10, 1], [None, 2]]
