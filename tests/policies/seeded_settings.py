"""What somebody wrote into a stack file."""

from tests.policies.seeded import Chosen

RANGE = {"location": "oci://registry-1.docker.io/bitnamicharts/redis", "version": ">=22"}
NO_VERSION = {"location": "oci://registry-1.docker.io/bitnamicharts/redis"}

ADMINISTRATOR = {"feast-eks:registry_admin": {"username": "admin", "password": "feast123"}}
USERS = {
    "feast-eks:online_store_users": {
        identity: {"username": identity, "password": "feast123"} for identity in ("apply", "materialize", "feature-server")
    }
}

SETTINGS = (
    Chosen(
        id="recipe-standalone-redis-in-prod",
        what="the tutorial's single Redis, in production",
        key="online_store",
        value={"mode": "standalone"},
        caught_by="redis-ha-prod",
    ),
    Chosen(
        id="recipe-single-postgresql-in-prod",
        what="the tutorial's single PostgreSQL, in production",
        key="registry.mode",
        value="standalone",
        caught_by="postgres-ha-prod",
    ),
    Chosen(
        id="recipe-latest-runtime",
        what="deployed the runtime as latest",
        key="runtime_image.tag",
        value="latest",
        caught_by="runtime_image.tag",
    ),
    Chosen(
        id="recipe-latest-store",
        what="took the newest Redis image",
        key="online_store.image.tag",
        value="latest",
        caught_by="online_store.image.tag",
    ),
    Chosen(
        id="recipe-password-in-a-setting",
        what="wrote the database password into the stack file",
        key="registry.password",
        value="feast123",
        caught_by="registry.password",
    ),
    Chosen(
        id="recipe-redis-auth-off",
        what="switched the Redis password off, as the tutorial does",
        key="online_store.auth",
        value={"enabled": False},
        caught_by="online_store.auth",
    ),
    Chosen(
        id="recipe-chart-from-anywhere",
        what="installed the chart without a version",
        key="online_store.chart",
        value=NO_VERSION,
        caught_by="online_store.chart.version",
    ),
    Chosen(
        id="chart-version-range", what="let the chart float", key="online_store.chart", value=RANGE, caught_by="online_store.chart.version"
    ),
    Chosen(id="tag-in-prod", what="deployed by tag", key="runtime_image", value={"tag": "1.2.3"}, caught_by="runtime_image.repository"),
    Chosen(
        id="runtime-by-tag-in-prod",
        what="forgot the digest of the runtime",
        key="runtime_image",
        value={"repository": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/feature-runtime", "tag": "1.2.3"},
        caught_by="image-digest",
    ),
    Chosen(
        id="store-image-by-tag-in-prod",
        what="bumped PostgreSQL by tag",
        key="registry.image",
        value={"repository": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/postgresql", "tag": "17.6"},
        caught_by="image-digest",
    ),
    Chosen(
        id="frozen-archive-in-prod",
        what="used Bitnami's archive in production",
        key="registry.image",
        value={"repository": "docker.io/bitnamilegacy/postgresql", "digest": f"sha256:{'a' * 64}"},
        caught_by="image-registry-allowed",
    ),
    Chosen(
        id="image-of-a-stranger",
        what="tried somebody's image",
        key="runtime_image.repository",
        value="ghcr.io/somebody/feast",
        caught_by="image-registry-allowed",
    ),
    Chosen(
        id="look-alike-registry",
        what="mistyped the registry's host",
        key="runtime_image.repository",
        value="123456789012.dkr.ecr.eu-west-1.amazonaws.com.example.io/feature-runtime",
        caught_by="image-registry-allowed",
    ),
    Chosen(
        id="digest-cut-off",
        what="pasted half a digest",
        key="runtime_image.digest",
        value="sha256:88cfa0fa",
        caught_by="runtime_image.digest",
    ),
    Chosen(
        id="data-unprotected-in-prod",
        what="switched the protection off to get past an error",
        key="protect_data",
        value=False,
        caught_by="stateful-protected",
    ),
    Chosen(
        id="bucket-unprotected-in-prod",
        what="switched the protection off to get past an error",
        key="protect_data",
        value=False,
        caught_by="s3-not-destroyable",
    ),
    Chosen(
        id="passwords-unprotected-in-prod",
        what="switched the protection off to get past an error",
        key="protect_data",
        value=False,
        caught_by="aws-data-protected",
    ),
    Chosen(id="one-server-in-prod", what="saved a pod", key="feature_server.min_replicas", value=1, caught_by="replicas-hpa-consistent"),
    Chosen(
        id="no-room-to-scale", what="fixed the replicas", key="feature_server.max_replicas", value=2, caught_by="replicas-hpa-consistent"
    ),
    Chosen(
        id="more-fewest-than-most",
        what="raised one bound only",
        key="feature_server.min_replicas",
        value=50,
        caught_by="feature_server.min_replicas",
    ),
    Chosen(
        id="workers-of-old",
        what="kept the workers of the server before",
        key="feature_server.workers",
        value=2,
        caught_by="feature_server.workers",
    ),
    Chosen(
        id="bodies-without-memory",
        what="let requests be larger, same memory",
        key="feature_server.max_body_kib",
        value=32768,
        caught_by="feature_server.memory_mib",
    ),
    Chosen(
        id="probe-longer-than-its-gap",
        what="probed every hour with an hour's deadline",
        key="skew_probe.schedule",
        value="0 * * * *",
        caught_by="skew_probe.deadline_minutes",
    ),
    Chosen(
        id="percent-for-a-ratio",
        what="wrote five percent as 5",
        key="skew_probe.tolerated_ratio",
        value=5,
        caught_by="skew_probe.tolerated_ratio",
    ),
    Chosen(id="even-sentinels", what="one Redis node more", key="online_store.replicas", value=4, caught_by="online_store.replicas"),
    Chosen(id="two-sentinels", what="one Redis node less", key="online_store.replicas", value=2, caught_by="online_store.replicas"),
    Chosen(
        id="no-schedule",
        what="wrote the schedule in words",
        key="materialization.schedule",
        value="every night",
        caught_by="materialization.schedule",
    ),
    Chosen(
        id="run-longer-than-its-gap",
        what="hourly runs with a deadline of two hours",
        key="materialization.schedule",
        value="0 * * * *",
        caught_by="materialization.deadline_minutes",
    ),
    Chosen(id="typo-in-a-key", what="wrote replica for replicas", key="online_store.replica", value=3, caught_by="online_store.replica"),
    Chosen(id="number-as-text", what="quoted a number", key="registry.storage_gib", value="20", caught_by="registry.storage_gib"),
    Chosen(
        id="two-clusters", what="left the local context in", key="cluster.kube_context", value="minikube", caught_by="cluster.kube_context"
    ),
    Chosen(id="no-cluster", what="removed the cluster", key="cluster", value={}, caught_by="cluster.eks_name"),
    Chosen(id="system-namespace", what="deployed into kube-system", key="namespace", value="kube-system", caught_by="namespace"),
    Chosen(id="default-namespace", what="deployed into default", key="namespace", value="default", caught_by="namespace"),
    Chosen(
        id="long-lived-key-in-aws", what="gave pods an access key", key="workload_identity", value="static", caught_by="workload_identity"
    ),
    Chosen(
        id="amazons-own-key-in-prod",
        what="dropped the KMS key",
        key="offline_store.encryption",
        value="s3",
        caught_by="s3-encryption-kms",
    ),
    Chosen(
        id="key-of-another-region",
        what="named a key elsewhere",
        key="offline_store.kms_key_arn",
        value="arn:aws:kms:us-east-1:123456789012:key/11111111-2222-3333-4444-555555555555",
        caught_by="offline_store.kms_key_arn",
    ),
    Chosen(id="nobody-logs-access", what="removed the log bucket", key="offline_store.log_bucket", value=None, caught_by="s3-logging"),
    Chosen(
        id="made-up-data-in-prod",
        what="uploaded the sample over the history",
        key="offline_store.sample_data",
        value="feature_repo/data/employee_attrition.parquet",
        caught_by="offline_store.sample_data",
    ),
    Chosen(id="account-left-open", what="left the account open", key="aws.account_id", value=None, caught_by="account-region-pinned"),
    Chosen(
        id="account-as-a-number", what="did not quote the account", key="aws.account_id", value=123456789012, caught_by="aws.account_id"
    ),
    Chosen(
        id="roles-without-a-boundary",
        what="removed the permissions boundary",
        key="aws.permissions_boundary_arn",
        value=None,
        caught_by="iam-permissions-boundary",
    ),
    Chosen(id="untagged", what="removed the tags", key="tags", value={"environment": "prod"}, caught_by="required-tags"),
    Chosen(
        id="external-database-in-the-clear",
        what="switched TLS off to get connected",
        key="registry",
        value={"mode": "external", "external": {"host": "db.example.org", "tls": False}},
        also=ADMINISTRATOR,
        caught_by="external-stores-tls",
    ),
    Chosen(
        id="external-redis-in-the-clear",
        what="switched TLS off to get connected",
        key="online_store",
        value={"mode": "external", "external": {"hosts": ["cache.example.org:6379"], "tls": False}},
        also=USERS,
        caught_by="external-stores-tls",
    ),
    Chosen(
        id="recipe-wrong-database-host",
        what="named the database feast-postgres, as the tutorial does",
        key="registry",
        value={"mode": "external", "external": {"host": "feast-postgres"}},
        also=ADMINISTRATOR,
        caught_by="feast-store-hosts-resolve",
    ),
    Chosen(
        id="password-in-a-host",
        what="pasted a whole database URL as host",
        key="registry",
        value={"mode": "external", "external": {"host": "postgresql://feast:feast123@db.example.org/feast"}},
        also=ADMINISTRATOR,
        caught_by="registry.external.host",
    ),
    Chosen(
        id="external-without-an-address",
        what="chose an external Redis and named none",
        key="online_store",
        value={"mode": "external"},
        also=USERS,
        caught_by="online_store.external",
    ),
)
