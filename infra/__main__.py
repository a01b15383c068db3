"""A feature store on Kubernetes: settings in, one FeatureStore, outputs out."""

import asyncio
from importlib import import_module
from pathlib import Path

import pulumi

from feast_eks.aws_account import AwsAccount, AwsAccountArgs
from feast_eks.cluster import Cluster, ClusterArgs
from feast_eks.monitoring import required_kinds
from feast_eks.plan import plan_feature_store
from feast_eks.settings import offline_store_credentials, refusals_without_traceback

PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent


async def main() -> None:
    """Providers first, then all that they make."""
    with refusals_without_traceback():
        plan = plan_feature_store(PROJECT_DIRECTORY)

    settings = plan.settings
    account = AwsAccount("aws", AwsAccountArgs(settings=settings, credentials=offline_store_credentials()))
    cluster = Cluster(
        "cluster",
        ClusterArgs(
            settings=settings.cluster, region=settings.aws.region, aws=account.provider, required=required_kinds(settings.monitoring)
        ),
    )
    # The engine starts both providers while the larger part of their SDKs is imported.
    feature_store = await asyncio.to_thread(import_module, "feast_eks.feature_store")
    store = feature_store.FeatureStore(
        "feature-store",
        feature_store.FeatureStoreArgs(plan=plan, cluster=cluster.eks),
        # Nothing is made where the cluster lacks something.
        pulumi.ResourceOptions(providers=[account.provider, cluster.provider], depends_on=[cluster]),
    )
    for name, value in store.outputs.items():
        pulumi.export(name, value)


pulumi.run(main)
