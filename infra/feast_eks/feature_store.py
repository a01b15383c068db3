"""The feature store: everything, in the order in which data flows through it."""

from dataclasses import dataclass
from typing import Any

import pulumi

from feast_eks.accounts import Identities, IdentitiesArgs
from feast_eks.addresses import feature_server_url, grpc_address, online_store_domain
from feast_eks.aws_access import AwsAccess, AwsAccessArgs
from feast_eks.cluster import EksCluster
from feast_eks.definitions import FeatureDefinitions, FeatureDefinitionsArgs, run_digest
from feast_eks.feature_server import FeatureServer, FeatureServerArgs
from feast_eks.identities import APPLY, CHECK, MATERIALIZE, SERVE, SMOKE_TEST, Identity, store_environment
from feast_eks.image_check import ImageCheck, ImageCheckArgs
from feast_eks.materialization import Materialization, MaterializationArgs
from feast_eks.monitoring import Monitoring, MonitoringArgs
from feast_eks.namespace import Namespace, NamespaceArgs
from feast_eks.offline_store import OfflineStore, OfflineStoreArgs, offline_store_environment, sources_environment
from feast_eks.online_store import OnlineStore, OnlineStoreArgs
from feast_eks.plan import Plan
from feast_eks.registry import Registry, RegistryArgs
from feast_eks.settings import offline_store_credentials, online_store_users, registry_administrator
from feast_eks.skew_probe import SkewProbe, SkewProbeArgs
from feast_eks.smoke_test import SmokeTest, SmokeTestArgs
from feast_eks.workload import Object


@dataclass(frozen=True, kw_only=True)
class FeatureStoreArgs:
    """`cluster`: the EKS cluster that pods run in, None where it is another Kubernetes."""

    plan: Plan
    cluster: EksCluster | None


class FeatureStore(pulumi.ComponentResource):
    """A whole feature store in one namespace; once it is there, features are being served."""

    outputs: dict[str, pulumi.Input[Any]]
    """What applications are configured with; known only after the smoke test passed."""

    def __init__(self, name: str, args: FeatureStoreArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:FeatureStore", name, {}, opts)
        plan, settings = args.plan, args.plan.settings
        for warning in plan.warnings:
            pulumi.warn(warning)
        definitions, image, protect = plan.definitions, plan.image, settings.protect_data
        monitored_from = settings.monitoring.namespace if settings.monitoring.enabled else None
        child = pulumi.ResourceOptions(parent=self)

        namespace = Namespace("namespace", NamespaceArgs(settings=settings), child)
        offline_store = OfflineStore(
            "offline-store",
            OfflineStoreArgs(
                settings=settings.offline_store, region=settings.aws.region, protect=protect, project_directory=plan.project_directory
            ),
            child,
        )
        access = AwsAccess(
            "aws-access",
            AwsAccessArgs(
                settings=settings,
                cluster=args.cluster,
                bucket_name=offline_store.bucket_name,
                key_arn=offline_store.key_arn,
                sources=plan.contract.sources,
            ),
            child,
        )
        identities = Identities(
            "identities",
            IdentitiesArgs(
                namespace=namespace.name,
                protect=protect,
                role_arns=access.role_arns,
                offline_store_credentials=offline_store_credentials(),
                registry_administrator=registry_administrator(),
                online_store_users=online_store_users(),
            ),
            child,
        )
        image_check = ImageCheck(
            "image-check",
            ImageCheckArgs(
                image=image,
                run=run_digest(definitions, image),
                pull_seconds=settings.runtime_image.pull_seconds,
                namespace=namespace.name,
            ),
            # Its pod names its service account, nothing shows that it comes first.
            pulumi.ResourceOptions(parent=self, depends_on=[identities]),
        )
        registry = Registry(
            "registry",
            RegistryArgs(
                settings=settings.registry,
                monitored=settings.monitoring.enabled,
                namespace=namespace.name,
                secrets=identities.secrets,
                protect=protect,
            ),
            child,
        )
        online_store = OnlineStore(
            "online-store",
            OnlineStoreArgs(
                settings=settings.online_store,
                monitored_from=monitored_from,
                namespace=namespace.name,
                domain=online_store_domain(settings.namespace),
                secrets=identities.secrets,
                protect=protect,
            ),
            child,
        )

        def reaching_stores(identity: Identity) -> list[Object]:
            offline = offline_store_environment(identity, settings, offline_store.bucket_name, sources=plan.contract.sources)
            return [*store_environment(identity, settings), *offline]

        feature_definitions = FeatureDefinitions(
            "feature-definitions",
            FeatureDefinitionsArgs(
                settings=settings.registry,
                namespace=namespace.name,
                definitions=definitions,
                image=image,
                environment=reaching_stores(APPLY),
                reading_environment=[
                    *store_environment(CHECK, settings, from_primary=True),
                    *sources_environment(settings, offline_store.bucket_name),
                ],
                margin_seconds=settings.materialization.margin_seconds,
                after=[image_check, offline_store, identities, *access.granted, *registry.ready, *online_store.ready],
            ),
            child,
        )
        materialization = Materialization(
            "materialization",
            MaterializationArgs(
                settings=settings.materialization,
                contract=plan.contract,
                namespace=namespace.name,
                definitions=definitions,
                image=image,
                environment=reaching_stores(MATERIALIZE),
                applied=feature_definitions.applied,
            ),
            child,
        )
        if settings.skew_probe.enabled:
            SkewProbe(
                "skew-probe",
                SkewProbeArgs(
                    settings=settings.skew_probe,
                    namespace=namespace.name,
                    definitions=definitions,
                    image=image,
                    environment=reaching_stores(MATERIALIZE),
                    loaded=materialization.loaded,
                ),
                child,
            )
        feature_server = FeatureServer(
            "feature-server",
            FeatureServerArgs(
                settings=settings.feature_server,
                namespace=namespace.name,
                definitions=definitions,
                image=image,
                environment=reaching_stores(SERVE),
                loaded=materialization.loaded,
            ),
            child,
        )
        smoke_test = SmokeTest(
            "smoke-test",
            SmokeTestArgs(
                settings=settings.smoke_test,
                server_settings=settings.feature_server,
                namespace=namespace.name,
                definitions=definitions,
                image=image,
                environment=reaching_stores(SMOKE_TEST),
                server=[feature_server],
            ),
            child,
        )
        if settings.monitoring.enabled:
            Monitoring(
                "monitoring",
                MonitoringArgs(settings=settings, contract=plan.contract, namespace=namespace.name, applied=[feature_definitions.applied]),
                child,
            )

        outputs = {
            "client_feature_store_yaml": plan.client_feature_store_yaml,
            "feature_server_url": feature_server_url(settings.namespace),
            "feature_services": plan.feature_services,
            "grpc_address": grpc_address(settings.namespace),
            "image": image,
            "namespace": settings.namespace,
            "offline_store_uri": offline_store.uri,
            # Of those who may only read.
            "online_store_secret": SERVE.secret_name,
            "registry_secret": CHECK.secret_name,
            "revision": run_digest(definitions, image),
        }
        # An application that reads an output gets a store that has been seen working.
        self.outputs = {key: _after(smoke_test.passed, value) for key, value in outputs.items()}
        self.register_outputs(self.outputs)


def _after(proof: pulumi.CustomResource, value: pulumi.Input[Any]) -> pulumi.Input[Any]:
    """The value, held back until the resource is there; a preview shows it at once, since a reviewer wants to read it."""
    return value if pulumi.runtime.is_dry_run() else pulumi.Output.all(value, proof.id).apply(_first)


def _first(values: list[Any]) -> Any:
    return values[0]
