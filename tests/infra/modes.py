"""Settings in each mode that the feature store has, for whoever looks at what follows from them."""

from feast_eks.contract import Contract
from feast_eks.settings import Settings, parse_settings
from tests.infra.engine import AUTHORITY, PROJECT

DAY = 24 * 3600
CONTRACT = Contract(
    project="employee_attrition",
    services={"attrition_model_v1": {"features": [["tenure", "Float32"]], "sha256": "0" * 64}},
    ttl_seconds={"employee_features": 7 * DAY},
    freshness_seconds={"employee_features": 7 * DAY},
    sources=("employee_attrition.parquet",),
)

GOOD = {
    "cluster": {"eks_name": "somewhere"},
    "runtime_image": {"repository": "registry.example.com/feature-runtime", "tag": "1"},
}

MODES = {
    "standalone": {},
    "highly-available": {"registry": {"mode": "replication"}, "online_store": {"mode": "sentinel", "replicas": 3}},
    "external": {
        "registry": {
            "mode": "external",
            "external": {
                "host": "feast.abc123.eu-west-1.rds.amazonaws.com",
                "read_host": "feast-replica.abc123.eu-west-1.rds.amazonaws.com",
                "ca_certificate": AUTHORITY,
            },
        },
        "online_store": {
            "mode": "external",
            "external": {"hosts": ["master.feast.abc123.euw1.cache.amazonaws.com:6379"], "ca_certificate": AUTHORITY},
        },
    },
    "external-cluster": {
        "online_store": {
            "mode": "external",
            "external": {"type": "cluster", "hosts": ["clustercfg.feast.abc123.euw1.cache.amazonaws.com:6379"]},
        }
    },
    "irsa": {"workload_identity": "irsa"},
    "s3-compatible": {
        "cluster": {"kube_context": "somewhere"},
        "workload_identity": "static",
        "offline_store": {"endpoint_url": "https://s3.example.com:9000", "encryption": "s3"},
        "monitoring": {"enabled": False},
    },
}

SECRETS = {
    "offline_store_credentials": {"access_key_id": "AKEY", "secret_access_key": "canary-s3"},
    "registry_admin": {"username": "dbadmin", "password": "canary-admin"},
    "online_store_users": {
        name: {"username": f"{name}-user", "password": f"canary-{name}"} for name in ("apply", "materialize", "feature-server")
    },
}


def secrets_of(values: dict) -> dict:
    """The secrets that these values need, and no other."""
    needed = {
        "offline_store_credentials": values.get("workload_identity") == "static",
        "registry_admin": values.get("registry", {}).get("mode") == "external",
        "online_store_users": values.get("online_store", {}).get("mode") == "external",
    }
    return {key: SECRETS[key] for key, is_needed in needed.items() if is_needed}


def settings(mode: str = "standalone", **changes) -> Settings:
    """The settings of a mode, with some changed."""
    values = GOOD | MODES[mode] | changes
    return parse_settings(values, "dev", PROJECT, secret_keys=secrets_of(values).keys())


def config_of(mode: str = "standalone", **changes) -> dict:
    """The `config` of a stack file in a mode."""
    values = GOOD | MODES[mode] | changes
    return {f"feast-eks:{key}": value for key, value in (values | secrets_of(values)).items()}
