"""A feature store on Kubernetes: settings in, one FeatureStore, outputs out."""

from pathlib import Path

import pulumi

from feast_eks.cluster import Cluster
from feast_eks.feature_store import FeatureStore, plan_feature_store
from feast_eks.settings import refusals_without_traceback

PROJECT_DIRECTORY = Path(__file__).resolve().parent.parent

with refusals_without_traceback():
    plan = plan_feature_store(PROJECT_DIRECTORY)

cluster = Cluster("cluster", plan.settings.cluster)
store = FeatureStore("feature-store", plan, pulumi.ResourceOptions(providers=[cluster.provider]))

for name, value in store.outputs.items():
    pulumi.export(name, value)
