"""All that is decided before anything is deployed."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feast_eks.addresses import ONLINE_STORE_CA_FILE, REGISTRY_CA_FILE, feature_server_url
from feast_eks.contract import Contract, read_contract
from feast_eks.definitions import Definitions, read_definitions
from feast_eks.feature_store_yaml import client_feature_store_yaml, fading_views, feature_store_yaml
from feast_eks.refusal import Problem, Refusal
from feast_eks.runtime_image import source_tag
from feast_eks.settings import Settings, load_settings


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be deployed; every part of it is a plain value."""

    settings: Settings
    project_directory: Path
    contract: Contract
    definitions: Definitions
    image: str
    client_feature_store_yaml: str
    warnings: tuple[str, ...] = ()
    """What is deployed as it is, and may not be what is wanted."""

    @property
    def feature_services(self) -> dict[str, dict[str, Any]]:
        """What models receive: service to `{"features": [[name, dtype], …], "sha256": …}`."""
        return self.contract.services


def plan_feature_store(project_directory: Path) -> Plan:
    """Read and check the stack file and the feature repo.

    Raises:
        Refusal: naming all that is wrong; nothing has been registered yet.
    """
    settings = load_settings(project_directory)
    feature_repo = project_directory / settings.feature_repo
    contract = read_contract(feature_repo, bucket=settings.offline_store.bucket_name)
    _refuse_what_does_not_fit(settings, contract)
    return Plan(
        settings=settings,
        project_directory=project_directory,
        contract=contract,
        definitions=read_definitions(feature_repo, feature_store_yaml(settings, contract), _certificates(settings, project_directory)),
        image=settings.runtime_image.reference(default_tag=source_tag(project_directory / "runtime")),
        client_feature_store_yaml=client_feature_store_yaml(contract, feature_server_url(settings.namespace)),
        warnings=tuple(fading_views(settings.materialization, contract)),
    )


def _refuse_what_does_not_fit(settings: Settings, contract: Contract) -> None:
    known = ", ".join(sorted(contract.join_keys))
    problems = [
        Problem(
            path=f"smoke_test.entities.{key}",
            value=repr(values),
            rule=f"a join key of the feature repo, which has {known}",
            remedy="correct the key, or leave smoke_test.entities out",
        )
        for key, values in settings.smoke_test.entities.items()
        if key not in contract.join_keys
    ]
    problems += [
        Problem(
            path=f"feature_repo/, source {name}, path",
            value=repr(place),
            rule="a path relative to the feature repo, or an address such as s3://…: pods have no other files",
            remedy="write e.g. data/sales.parquet, which is sales.parquet in the offline store's bucket, and run `make lock`",
        )
        for name, place in sorted(contract.local_files.items())
    ]
    if problems:
        raise Refusal("stack file and feature definitions", problems)


def _certificates(settings: Settings, project_directory: Path) -> Mapping[str, str]:
    """The certificate authorities of external stores, by the name under which pods find them beside the definitions."""
    files = {REGISTRY_CA_FILE: settings.registry.ca_certificate, ONLINE_STORE_CA_FILE: settings.online_store.ca_certificate}
    return {name: (project_directory / path).read_text(encoding="utf-8", errors="replace") for name, path in files.items() if path}
