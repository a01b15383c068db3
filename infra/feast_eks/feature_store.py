"""The feature store: everything, in the order in which data flows through it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pulumi

from feast_eks.addresses import feature_server_url
from feast_eks.contract import read_contract
from feast_eks.definitions import Definitions, FeatureDefinitions, FeatureDefinitionsArgs, read_definitions, run_digest
from feast_eks.feature_server import FeatureServer, FeatureServerArgs
from feast_eks.feature_store_yaml import client_feature_store_yaml, feature_store_yaml
from feast_eks.identities import ONLINE_STORE_AUTH_SECRET, REGISTRY_AUTH_SECRET, Identities, IdentitiesArgs
from feast_eks.materialization import Materialization, MaterializationArgs
from feast_eks.namespace import Namespace, NamespaceArgs
from feast_eks.offline_store import OfflineStore, OfflineStoreArgs, offline_store_environment
from feast_eks.online_store import OnlineStore, OnlineStoreArgs
from feast_eks.registry import Registry, RegistryArgs
from feast_eks.runtime_image import source_tag
from feast_eks.settings import Settings, load_settings, offline_store_credentials
from feast_eks.smoke_test import SmokeTest, SmokeTestArgs


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that is decided before anything is deployed; every part of it is a plain value."""

    settings: Settings
    project_directory: Path
    definitions: Definitions
    image: str
    feature_services: dict[str, dict[str, Any]]
    client_feature_store_yaml: str


def plan_feature_store(project_directory: Path) -> Plan:
    """Read and check the stack file and the feature repo.

    Raises:
        Refusal: naming all that is wrong; nothing has been registered yet.
    """
    settings = load_settings(project_directory)
    feature_repo = project_directory / "feature_repo"
    contract = read_contract(feature_repo)
    return Plan(
        settings=settings,
        project_directory=project_directory,
        definitions=read_definitions(feature_repo, feature_store_yaml(settings, contract)),
        image=settings.runtime_image.reference(default_tag=source_tag(project_directory / "runtime")),
        feature_services=contract.services,
        client_feature_store_yaml=client_feature_store_yaml(contract, feature_server_url(settings.namespace)),
    )


class FeatureStore(pulumi.ComponentResource):
    """A whole feature store in one namespace; once it is there, features are being served."""

    outputs: dict[str, pulumi.Input[Any]]
    """What applications are configured with; known only after the smoke test passed."""

    def __init__(self, name: str, plan: Plan, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("feast-eks:index:FeatureStore", name, {}, opts)
        settings, definitions, image = plan.settings, plan.definitions, plan.image
        child = pulumi.ResourceOptions(parent=self)

        namespace = Namespace("namespace", NamespaceArgs(settings=settings), child)
        identities = Identities(
            "identities",
            IdentitiesArgs(
                namespace=namespace.name,
                protect=settings.protect_data,
                offline_store_credentials=offline_store_credentials(),
            ),
            child,
        )
        offline_store = OfflineStore(
            "offline-store",
            OfflineStoreArgs(settings=settings.offline_store, protect=settings.protect_data, project_directory=plan.project_directory),
            child,
        )
        registry = Registry(
            "registry",
            RegistryArgs(settings=settings.registry, namespace=namespace.name, secrets=identities.secrets, protect=settings.protect_data),
            child,
        )
        online_store = OnlineStore(
            "online-store",
            OnlineStoreArgs(
                settings=settings.online_store, namespace=namespace.name, secrets=identities.secrets, protect=settings.protect_data
            ),
            child,
        )
        reading_history = offline_store_environment(settings.offline_store, offline_store.bucket_name)
        feature_definitions = FeatureDefinitions(
            "feature-definitions",
            FeatureDefinitionsArgs(
                namespace=namespace.name,
                definitions=definitions,
                image=image,
                offline_store_environment=reading_history,
                stores=[offline_store, registry.ready, online_store.ready],
            ),
            child,
        )
        materialization = Materialization(
            "materialization",
            MaterializationArgs(
                settings=settings.materialization,
                namespace=namespace.name,
                definitions=definitions,
                image=image,
                offline_store_environment=reading_history,
                applied=feature_definitions.applied,
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
                offline_store_environment=reading_history,
                server=[feature_server],
            ),
            child,
        )

        outputs = {
            "client_feature_store_yaml": plan.client_feature_store_yaml,
            "feature_server_url": feature_server_url(settings.namespace),
            "feature_services": plan.feature_services,
            "image": image,
            "namespace": settings.namespace,
            "offline_store_uri": offline_store.uri,
            "online_store_secret": ONLINE_STORE_AUTH_SECRET,
            "registry_secret": REGISTRY_AUTH_SECRET,
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
