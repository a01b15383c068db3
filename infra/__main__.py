"""A feature store on Kubernetes: settings in, one FeatureStore, outputs out."""

import asyncio
from pathlib import Path

import pulumi

from feast_eks.aws_account import AwsAccount, AwsAccountArgs
from feast_eks.cluster import Cluster, ClusterArgs
from feast_eks.monitoring import required_kinds
from feast_eks.plan import plan_feature_store
from feast_eks.settings import offline_store_credentials, refusals_without_traceback

PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent
ASKING_SECONDS = 0.05
"""The SDK sends nothing while the program does anything else than to wait."""


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
    # Once it is asked to, the engine starts both providers while the larger part of their SDKs is imported.
    await asyncio.sleep(ASKING_SECONDS)
    from feast_eks.feature_store import FeatureStore, FeatureStoreArgs  # noqa: PLC0415

    store = FeatureStore(
        "feature-store",
        FeatureStoreArgs(plan=plan, cluster=cluster.eks),
        # Nothing is made where the cluster lacks something.
        pulumi.ResourceOptions(providers=[account.provider, cluster.provider], depends_on=[cluster]),
    )
    for name, value in store.outputs.items():
        pulumi.export(name, value)


pulumi.run(main)
