"""The AWS stand-in as the engine drives it, over a server of its own: what it makes, finds changed, and refuses."""

import json

import boto3
import pytest
import yaml

from sandbox.providers import aws, wire
from sandbox.providers.plugin import InvalidInput, ProviderError
from sandbox.providers.proto import provider_pb2
from tests.sandbox.local_aws import ACCOUNT, REGION, client, local_aws

ASSOCIATION = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
KEY = "aws:kms/key:Key"
ALIAS = "aws:kms/alias:Alias"
ROLE = "aws:iam/role:Role"
ROLE_POLICY = "aws:iam/rolePolicy:RolePolicy"
BUCKET = "aws:s3/bucket:Bucket"
LOGGING = "aws:s3/bucketLogging:BucketLogging"
ENCRYPTION = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"

TRUST = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": "*"}}]})
READ = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]})
BOUNDARY = f"arn:aws:iam::{ACCOUNT}:policy/boundary"


class Context:
    """gRPC's, as far as the provider uses it."""


class Driver:
    """Does with a provider what the engine does."""

    def __init__(self, server, **inputs):
        self.provider = aws.Aws()
        given = {"region": REGION, "endpoints": json.dumps([dict.fromkeys(("s3", "iam", "sts", "kms", "eks"), server)]), **inputs}
        checked = self.provider.CheckConfig(provider_pb2.CheckRequest(news=wire.write(given)), Context())
        self.config_problems = [failure.reason for failure in checked.failures]
        self.configuration = given

    def configure(self):
        self.provider.Configure(provider_pb2.ConfigureRequest(args=wire.write(self.configuration)), Context())
        return self

    def check(self, kind, inputs, *, olds=None):
        request = provider_pb2.CheckRequest(urn=urn(kind), news=wire.write(inputs), olds=wire.write(olds or {}), randomSeed=b"seed")
        answer = self.provider.Check(request, Context())
        return wire.read(answer.inputs), [f"{failure.property}: {failure.reason}".removeprefix(": ") for failure in answer.failures]

    def create(self, kind, **inputs):
        checked, problems = self.check(kind, inputs)
        assert problems == []
        answer = self.provider.Create(provider_pb2.CreateRequest(urn=urn(kind), properties=wire.write(checked)), Context())
        return Resource(self, kind, answer.id, checked, wire.read(answer.properties))

    def preview(self, kind, **inputs):
        checked, problems = self.check(kind, inputs)
        assert problems == []
        request = provider_pb2.CreateRequest(urn=urn(kind), properties=wire.write(checked), preview=True)
        return wire.read(self.provider.Create(request, Context()).properties)

    def invoke(self, token, **arguments):
        answer = self.provider.Invoke(provider_pb2.InvokeRequest(tok=token, args=wire.write(arguments)), Context())
        return wire.read(getattr(answer, "return"))


class Resource:
    """One resource in the engine's state."""

    def __init__(self, driver, kind, identifier, inputs, state):
        self.driver, self.kind, self.id, self.inputs, self.state = driver, kind, identifier, inputs, state

    def diff(self, **changed):
        """Which properties an update would change, and which of them would replace the resource."""
        inputs, problems = self.driver.check(self.kind, {**self.inputs, **changed}, olds=self.inputs)
        assert problems == []
        request = provider_pb2.DiffRequest(
            id=self.id, urn=urn(self.kind), olds=wire.write(self.state), news=wire.write(inputs), old_inputs=wire.write(self.inputs)
        )
        answer = self.driver.provider.Diff(request, Context())
        return set(answer.detailedDiff), set(answer.replaces), answer.deleteBeforeReplace

    def update(self, **changed):
        inputs, problems = self.driver.check(self.kind, {**self.inputs, **changed}, olds=self.inputs)
        assert problems == []
        inputs = {name: value for name, value in inputs.items() if value is not None}
        request = provider_pb2.UpdateRequest(
            id=self.id, urn=urn(self.kind), olds=wire.write(self.state), news=wire.write(inputs), old_inputs=wire.write(self.inputs)
        )
        answer = self.driver.provider.Update(request, Context())
        self.inputs, self.state = inputs, wire.read(answer.properties)

    def drift(self):
        """The inputs that a refresh finds changed; None for a resource that is gone."""
        request = provider_pb2.ReadRequest(
            id=self.id, urn=urn(self.kind), inputs=wire.write(self.inputs), properties=wire.write(self.state)
        )
        answer = self.driver.provider.Read(request, Context())
        if not answer.id:
            return None
        now = wire.read(answer.inputs)
        return {name: now.get(name) for name in {*now, *self.inputs} if now.get(name) != self.inputs.get(name)}

    def delete(self):
        request = provider_pb2.DeleteRequest(
            id=self.id, urn=urn(self.kind), properties=wire.write(self.state), old_inputs=wire.write(self.inputs)
        )
        self.driver.provider.Delete(request, Context())


def urn(kind):
    return f"urn:pulumi:test::project::{kind}::thing"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    path = tmp_path_factory.mktemp("kube") / "config"
    cluster = {"name": "here", "cluster": {"server": "https://10.0.0.1:6443", "certificate-authority-data": "Q0E="}}
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    path.write_text(yaml.safe_dump({"clusters": [cluster], "contexts": [context], "current-context": "here"}))
    with local_aws(path, "feast-dev") as address:
        yield address


@pytest.fixture(scope="module")
def driver(server):
    return Driver(server).configure()


@pytest.fixture(scope="module")
def bucket(server):
    client(server, "s3").create_bucket(Bucket="data", CreateBucketConfiguration={"LocationConstraint": REGION})
    return "data"


# --- The provider itself ----------------------------------------------------------------------------------------------


def test_the_account_that_the_program_means_is_accepted(server):
    Driver(server, allowedAccountIds=json.dumps([ACCOUNT])).configure()


@pytest.mark.parametrize("wrong", [{"allowedAccountIds": '["210987654321"]'}, {"forbiddenAccountIds": f'["{ACCOUNT}"]'}])
def test_another_account_is_refused_before_anything_is_made(server, wrong):
    driver = Driver(server, **wrong)
    assert driver.config_problems == []

    with pytest.raises(InvalidInput, match=f"AWS account ID not allowed: {ACCOUNT}"):
        driver.configure()


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"allowedAccountIds": '["12345"]'}, "'12345' is no account id"),
        ({"allowedAccountIds": "[123456789012]"}, "123456789012 is no account id"),
        ({"allowedAccountIds": f'["{ACCOUNT}"]', "forbiddenAccountIds": f'["{ACCOUNT}"]'}, "cannot be given together"),
        ({"defaultTags": '["a"]'}, "must be a map with tags"),
        ({"endpoints": '[{"eks": "https://eks.eu-west-1.amazonaws.com"}]'}, "eks is AWS itself"),
        ({"region": ""}, "is missing: set aws:region"),
    ],
)
def test_a_wrong_provider_is_refused_by_name(server, wrong, reason, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)

    assert any(reason in problem for problem in Driver(server, **wrong).config_problems)


def test_a_service_without_an_endpoint_is_not_looked_for_at_aws(server, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_EKS"):
        monkeypatch.delenv(name, raising=False)
    only_s3 = Driver(server, endpoints=json.dumps([{"s3": server}])).configure()

    with pytest.raises(ProviderError, match=r"no endpoint for eks: .* never to AWS itself"):
        only_s3.invoke("aws:eks/getCluster:getCluster", name="feast-dev")


def test_two_providers_keep_their_tags_and_regions_apart(server):
    first = Driver(server, defaultTags=json.dumps({"tags": {"environment": "dev"}})).configure()
    second = Driver(server, region="eu-central-1", defaultTags=json.dumps({"tags": {"environment": "prod"}})).configure()

    keys = [provider.create(KEY, description="one") for provider in (first, second)]

    assert [key.state["tagsAll"] for key in keys] == [{"environment": "dev"}, {"environment": "prod"}]
    assert [key.state["arn"].split(":")[3] for key in keys] == [REGION, "eu-central-1"]


# --- EKS --------------------------------------------------------------------------------------------------------------


def association(**changed):
    role = f"arn:aws:iam::{ACCOUNT}:role/apply"
    return {"clusterName": "feast-dev", "namespace": "feast", "serviceAccount": "apply", "roleArn": role, **changed}


def test_a_cluster_is_found_with_what_a_kubeconfig_and_a_trust_policy_need(driver):
    found = driver.invoke("aws:eks/getCluster:getCluster", name="feast-dev")

    assert found["arn"] == f"arn:aws:eks:{REGION}:{ACCOUNT}:cluster/feast-dev"
    assert found["endpoint"] == "https://10.0.0.1:6443"
    assert found["certificateAuthorities"] == [{"data": "Q0E="}]
    assert found["status"] == "ACTIVE"
    issuer = found["identities"][0]["oidcs"][0]["issuer"]
    assert issuer.startswith(f"https://oidc.eks.{REGION}.amazonaws.com/id/")


def test_a_cluster_that_is_not_there_is_named_with_its_region(driver):
    with pytest.raises(ProviderError, match=r"reading EKS Cluster \(nowhere\): couldn't find resource in eu-west-1"):
        driver.invoke("aws:eks/getCluster:getCluster", name="nowhere")


def test_an_association_lives_as_its_inputs_say(driver, server):
    made = driver.create(ASSOCIATION, **association(tags={"team": "features"}))
    eks = client(server, "eks")
    where = {"clusterName": "feast-dev", "associationId": made.id}
    assert made.state["associationArn"].endswith(f"podidentityassociation/feast-dev/{made.id}")
    assert made.diff() == (set(), set(), False)
    assert made.drift() == {}

    assert made.diff(roleArn=f"arn:aws:iam::{ACCOUNT}:role/other")[:2] == ({"roleArn"}, set()), "a role is changed in place"
    made.update(roleArn=f"arn:aws:iam::{ACCOUNT}:role/other", tags={"team": "models"})
    live = eks.describe_pod_identity_association(**where)["association"]
    assert live["roleArn"].endswith(":role/other")
    assert live["tags"] == {"team": "models"}

    made.delete()
    assert made.drift() is None
    made.delete()  # what is gone already is fine


@pytest.mark.parametrize("name", ["clusterName", "namespace", "serviceAccount"])
def test_an_association_that_moves_is_replaced(driver, name):
    made = driver.create(ASSOCIATION, **association(serviceAccount=f"moving-{name.lower()}"))

    assert made.diff(**{name: "elsewhere"})[1] == {name}


def test_a_role_changed_by_hand_is_drift_and_so_is_a_tag(driver, server):
    made = driver.create(ASSOCIATION, **association(serviceAccount="drifting"))
    eks = client(server, "eks")
    by_hand = f"arn:aws:iam::{ACCOUNT}:role/by-hand"
    eks.update_pod_identity_association(clusterName="feast-dev", associationId=made.id, roleArn=by_hand)
    eks.tag_resource(resourceArn=made.state["associationArn"], tags={"by": "hand"})

    assert made.drift() == {"roleArn": by_hand, "tags": {"by": "hand"}}


# --- KMS --------------------------------------------------------------------------------------------------------------


def test_a_key_lives_as_its_inputs_say(driver, server):
    kms = client(server, "kms")
    made = driver.create(KEY, description="features", enableKeyRotation=True, deletionWindowInDays=30, tags={"a": "b"})
    assert made.state["arn"] == f"arn:aws:kms:{REGION}:{ACCOUNT}:key/{made.id}"
    assert made.diff() == (set(), set(), False)
    assert made.drift() == {}
    assert kms.get_key_rotation_status(KeyId=made.id)["KeyRotationEnabled"]

    assert made.diff(keyUsage="SIGN_VERIFY")[1] == {"keyUsage"}
    made.update(description="other", policy=TRUST, tags=None)
    assert kms.describe_key(KeyId=made.id)["KeyMetadata"]["Description"] == "other"
    assert kms.list_resource_tags(KeyId=made.id)["Tags"] == []
    assert made.drift() == {}

    made.delete()
    assert kms.describe_key(KeyId=made.id)["KeyMetadata"]["KeyState"] == "PendingDeletion"
    assert made.drift() is None, "a key on its way out is not there any more"
    made.delete()


def test_rotation_switched_off_by_hand_is_drift(driver, server):
    made = driver.create(KEY, enableKeyRotation=True)
    client(server, "kms").disable_key_rotation(KeyId=made.id)

    assert made.drift() == {"enableKeyRotation": None}


def test_a_key_disabled_by_hand_is_drift(driver, server):
    made = driver.create(KEY, description="x")
    client(server, "kms").disable_key(KeyId=made.id)

    assert made.drift() == {"isEnabled": False}


def test_an_alias_points_to_its_key(driver, server):
    keys = [driver.create(KEY, description=str(number)) for number in range(2)]
    made = driver.create(ALIAS, name="alias/features", targetKeyId=keys[0].state["arn"])
    assert made.state["targetKeyArn"] == keys[0].state["arn"]
    assert made.drift() == {}

    client(server, "kms").update_alias(AliasName="alias/features", TargetKeyId=keys[1].id)
    assert made.drift() == {"targetKeyId": keys[1].id}
    made.update(targetKeyId=keys[1].id)
    assert made.drift() == {}
    assert made.diff(name="alias/other")[1] == {"name"}

    made.delete()
    assert made.drift() is None


def test_an_alias_without_a_name_gets_one_that_kms_takes(driver):
    key = driver.create(KEY, description="x")

    assert driver.create(ALIAS, targetKeyId=key.id).id.startswith("alias/thing-")


# --- IAM --------------------------------------------------------------------------------------------------------------


def test_a_role_has_its_permissions_boundary(driver, server):
    iam = client(server, "iam")
    iam.create_policy(PolicyName="boundary", PolicyDocument=READ)
    made = driver.create(ROLE, name="bounded", assumeRolePolicy=TRUST, permissionsBoundary=BOUNDARY)
    assert iam.get_role(RoleName="bounded")["Role"]["PermissionsBoundary"]["PermissionsBoundaryArn"] == BOUNDARY
    assert made.diff() == (set(), set(), False)
    assert made.drift() == {}

    iam.delete_role_permissions_boundary(RoleName="bounded")
    assert made.drift() == {"permissionsBoundary": None}, "a role without its boundary can do more than it may"
    made.update()
    assert made.drift() == {}

    made.update(permissionsBoundary=None)
    assert "PermissionsBoundary" not in iam.get_role(RoleName="bounded")["Role"]


def test_a_boundary_put_on_by_hand_is_drift(driver, server):
    client(server, "iam").create_policy(PolicyName="other", PolicyDocument=READ)
    made = driver.create(ROLE, name="unbounded", assumeRolePolicy=TRUST)
    other = f"arn:aws:iam::{ACCOUNT}:policy/other"
    client(server, "iam").put_role_permissions_boundary(RoleName="unbounded", PermissionsBoundary=other)

    assert made.drift() == {"permissionsBoundary": other}


# --- S3 ---------------------------------------------------------------------------------------------------------------


def test_a_bucket_is_encrypted_with_a_key(driver, server, bucket):
    key = driver.create(KEY, description="features")
    default = {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key.state["arn"]}
    rules = [{"applyServerSideEncryptionByDefault": default, "bucketKeyEnabled": True}]
    made = driver.create(ENCRYPTION, bucket=bucket, rules=rules)

    live = client(server, "s3").get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]

    assert live["ApplyServerSideEncryptionByDefault"] == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key.state["arn"]}
    assert live["BucketKeyEnabled"] is True
    assert made.diff() == (set(), set(), False)
    assert made.drift() == {}


def test_another_key_set_by_hand_is_drift(driver, server, bucket):
    key = driver.create(KEY, description="features")
    rules = [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": key.state["arn"]}}]
    made = driver.create(ENCRYPTION, bucket=bucket, rules=rules)
    weaker = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}
    client(server, "s3").put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=weaker)

    assert made.drift()["rules"][0]["applyServerSideEncryptionByDefault"]["sseAlgorithm"] == "AES256"


@pytest.fixture(scope="module")
def logs(server, bucket):
    s3 = client(server, "s3")
    s3.create_bucket(Bucket="logs", CreateBucketConfiguration={"LocationConstraint": REGION})
    allow = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": ["s3:PutObject"],
        "Resource": "arn:aws:s3:::logs/*",
    }
    s3.put_bucket_policy(Bucket="logs", Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    return "logs"


def test_a_bucket_logs_to_another_one(driver, server, bucket, logs):
    s3 = client(server, "s3")
    made = driver.create(LOGGING, bucket=bucket, targetBucket=logs, targetPrefix="data/")
    assert s3.get_bucket_logging(Bucket=bucket)["LoggingEnabled"] == {"TargetBucket": logs, "TargetPrefix": "data/"}
    assert made.diff() == (set(), set(), False)
    assert made.drift() == {}

    made.update(targetPrefix="")
    assert made.drift() == {}
    s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus={})
    assert made.drift() is None, "logging switched off by hand is logging that is gone"
    made.delete()


def test_a_log_bucket_that_takes_no_logs_is_refused_with_the_reason(driver, bucket, logs):
    with pytest.raises(
        ProviderError, match="PutBucketLogging: InvalidTargetBucketForLogging: The target bucket for logging does not exist"
    ):
        driver.create(LOGGING, bucket=bucket, targetBucket="nowhere", targetPrefix="")


# --- What is there already --------------------------------------------------------------------------------------------

ONLY_ONE = {
    BUCKET: ({"bucket": "only-one"}, "CreateBucket: BucketAlreadyOwnedByYou: "),
    ROLE: ({"name": "only-one", "assumeRolePolicy": TRUST}, "CreateRole: EntityAlreadyExists: Role with name only-one already exists"),
    ALIAS: ({"name": "alias/only-one"}, "CreateAlias: AlreadyExistsException: An alias with the name .*:alias/only-one already exists"),
    ASSOCIATION: (
        association(serviceAccount="only-one"),
        "CreatePodIdentityAssociation: ResourceInUseException: Association already exists: a-",
    ),
}
"""Of these AWS has one by a name, and its provider says so."""

OVERWRITTEN = {
    "aws:s3/bucketVersioning:BucketVersioning": {"versioningConfiguration": {"status": "Enabled"}},
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {"blockPublicAcls": True},
    "aws:s3/bucketOwnershipControls:BucketOwnershipControls": {"rule": {"objectOwnership": "BucketOwnerEnforced"}},
    "aws:s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration": {
        "rules": [{"id": "a", "status": "Enabled", "expiration": {"days": 1}}]
    },
    "aws:s3/bucketPolicy:BucketPolicy": {"policy": READ},
    "aws:s3/bucketObjectv2:BucketObjectv2": {"key": "a", "content": "b"},
    ENCRYPTION: {"rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256"}}]},
    LOGGING: {"targetBucket": "logs", "targetPrefix": ""},
    ROLE_POLICY: {"role": "overwritten", "name": "a", "policy": READ},
}
"""These AWS puts over what is there, and so does its provider."""


def test_of_every_kind_it_is_known_what_a_second_one_is():
    assert {*ONLY_ONE, *OVERWRITTEN} == aws.KINDS.keys() - {KEY}, "keys have no names: there can be any number of them"


@pytest.mark.parametrize("kind", ONLY_ONE)
def test_what_is_there_already_is_an_error_as_on_aws(driver, kind):
    inputs, error = ONLY_ONE[kind]
    if kind == ALIAS:
        inputs = {**inputs, "targetKeyId": driver.create(KEY, description="x").id}
    made = driver.create(kind, **inputs)

    with pytest.raises(ProviderError, match=error):
        driver.create(kind, **inputs, **({"tags": {"taken": "over"}} if aws.KINDS[kind].taggable else {}))
    assert made.drift() == {}, "what is there is somebody's, and stays as it is"


@pytest.mark.parametrize("kind", OVERWRITTEN)
def test_what_is_put_is_put_over_what_is_there(driver, server, bucket, logs, kind):
    if kind == ROLE_POLICY:
        driver.create(ROLE, name="overwritten", assumeRolePolicy=TRUST)
    where = {} if kind == ROLE_POLICY else {"bucket": bucket}

    for _ in range(2):
        assert driver.create(kind, **where, **OVERWRITTEN[kind]).drift() == {}


def test_in_the_region_where_s3_says_nothing_the_provider_does(server):
    at_home = Driver(server, region="us-east-1").configure()
    at_home.create(BUCKET, bucket="at-home")

    with pytest.raises(ProviderError, match="BucketAlreadyExists: at-home"):
        at_home.create(BUCKET, bucket="at-home")


def test_a_bucket_of_somebody_else_is_an_error(driver, server):
    role = {"RoleArn": "arn:aws:iam::210987654321:role/other", "RoleSessionName": "other"}
    keys = client(server, "sts").assume_role(**role)["Credentials"]
    other = boto3.client(
        "s3",
        endpoint_url=server,
        region_name=REGION,
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    other.create_bucket(Bucket="somebody-elses", CreateBucketConfiguration={"LocationConstraint": REGION})

    with pytest.raises(ProviderError, match="CreateBucket: BucketAlreadyExists: "):
        driver.create(BUCKET, bucket="somebody-elses")


def test_only_what_keeps_its_name_goes_before_its_replacement_comes(driver):
    made = driver.create(ROLE, name="moved", assumeRolePolicy=TRUST)

    assert made.diff(path="/elsewhere/") == ({"path"}, {"path"}, True)
    assert made.diff(name="renamed") == ({"name"}, {"name"}, False)
    assert made.diff() == (set(), set(), False), "a replacement by force is not helped: on AWS it fails, too"


# --- Wrong and unknown inputs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "inputs", "problem"),
    [
        (ASSOCIATION, association(roleArn="apply"), "roleArn: 'apply' is no ARN of a role"),
        (ASSOCIATION, association(namespace=None), "namespace: is missing"),
        (ASSOCIATION, association(roles=[]), "roles: is not supported"),
        (KEY, {"deletionWindowInDays": 3}, "deletionWindowInDays: must be a number of days from 7 to 30, not 3"),
        (KEY, {"rotationPeriodInDays": 90}, "rotationPeriodInDays: needs enableKeyRotation"),
        (KEY, {"policy": "{"}, "policy: is not JSON"),
        (KEY, {"tags": {"a": 1}}, "tags.a: must be a text, not 1"),
        (ALIAS, {"name": "features", "targetKeyId": "k"}, "name: 'features' is no name of a key"),
        (ALIAS, {"name": "alias/aws/s3", "targetKeyId": "k"}, "name: 'alias/aws/s3' is not to be had"),
        (ROLE, {"assumeRolePolicy": TRUST, "permissionsBoundary": "b"}, "permissionsBoundary: 'b' is no ARN of a policy"),
        (ROLE, {"assumeRolePolicy": TRUST, "maxSessionDuration": 60}, "maxSessionDuration: must be 3600 to 43200 seconds"),
        (LOGGING, {"bucket": "b", "targetBucket": "l"}, "targetPrefix: is missing"),
        (
            ENCRYPTION,
            {"bucket": "b", "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "kms"}}]},
            "rules[0].applyServerSideEncryptionByDefault.sseAlgorithm: must be one of AES256",
        ),
        (
            ENCRYPTION,
            {"bucket": "b", "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "AES256", "kmsMasterKeyId": "k"}}]},
            "rules[0].applyServerSideEncryptionByDefault.kmsMasterKeyId: needs aws:kms",
        ),
    ],
)
def test_a_wrong_wish_is_refused_with_its_path(driver, kind, inputs, problem):
    _, problems = driver.check(kind, inputs)

    assert [found for found in problems if problem in found], problems


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [
        (ASSOCIATION, association(roleArn=wire.UNKNOWN)),
        (KEY, {"policy": wire.UNKNOWN, "deletionWindowInDays": wire.UNKNOWN, "tags": {"a": wire.UNKNOWN}}),
        (ALIAS, {"name": wire.UNKNOWN, "targetKeyId": wire.UNKNOWN}),
        (ROLE, {"assumeRolePolicy": wire.UNKNOWN, "permissionsBoundary": wire.UNKNOWN}),
        (LOGGING, {"bucket": wire.UNKNOWN, "targetBucket": wire.UNKNOWN, "targetPrefix": wire.UNKNOWN}),
        (
            ENCRYPTION,
            {
                "bucket": wire.UNKNOWN,
                "rules": [{"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": wire.UNKNOWN}}],
            },
        ),
    ],
)
def test_a_preview_takes_what_is_not_known_yet(driver, kind, inputs):
    previewed = driver.preview(kind, **inputs)

    assert {name: previewed[name] for name in inputs} == inputs


def test_keys_given_to_the_provider_are_never_in_a_message(server):
    secret = {"accessKey": wire.Secret("AKIAEXAMPLEKEY"), "secretKey": wire.Secret("a-very-secret-key")}
    driver = Driver(server, **secret, endpoints="no json a-very-secret-key")

    assert driver.config_problems
    assert not [problem for problem in driver.config_problems if "a-very-secret-key" in problem]
