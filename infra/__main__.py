"""A feature store on Kubernetes: settings in, one FeatureStore, outputs out."""

import asyncio
from pathlib import Path

import pulumi

from feast_eks.aws_account import AwsAccount, AwsAccountArgs
from feast_eks.cluster import Cluster, ClusterArgs
from feast_eks.monitoring import required_kinds
from feast_eks.plan import plan_feature_store
from feast_eks.settings import offline_store_credentials, refusals_without_traceback

PROJECT = Path(__file__).resolve().parent.parent


async def main() -> None:
    """Providers first, then all that they make."""
    with refusals_without_traceback():
        plan = plan_feature_store(PROJECT)
    settings = plan.settings
    account = AwsAccount("aws", AwsAccountArgs(settings=settings, credentials=offline_store_credentials()))
    kinds = required_kinds(settings.monitoring)
    cluster_args = ClusterArgs(settings=settings.cluster, region=settings.aws.region, aws=account.provider, required=kinds)
    cluster = Cluster("cluster", cluster_args)
    # The SDK sends nothing before the program waits. The engine starts both providers while the rest of their SDKs is imported.
    await asyncio.sleep(0.05)
    from feast_eks.feature_store import FeatureStore, FeatureStoreArgs  # noqa: PLC0415

    store = FeatureStore(
        "feature-store",
        FeatureStoreArgs(plan=plan, cluster=cluster.eks),
        pulumi.ResourceOptions(providers=[account.provider, cluster.provider], depends_on=[cluster]),  # or it lacks something
    )
    for name, value in store.outputs.items():
        pulumi.export(name, value)


pulumi.run(main)
