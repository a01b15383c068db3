"""Reads feature vectors with plain Feast: no password, no registry, none of the feature repo's code.

In a pod of a namespace that may read features, with `pip install feast==0.67.0` and two stack outputs beside this file:

    pulumi stack output client_feature_store_yaml > feature_store.yaml
    pulumi stack output feature_services --json > feature_services.json
    python client.py attrition_model_v1 employee_id 101 202 303
"""

import json
import sys
from pathlib import Path

from feast import FeatureService, FeatureStore

HERE = Path(__file__).parent


def vectors(service: str, join_key: str, entities: list[int]) -> list[list[object]]:
    """One vector per entity, in the order that the model was trained on; None stands for a value that is not there."""
    contract = json.loads((HERE / "feature_services.json").read_text())[service]
    store = FeatureStore(fs_yaml_file=HERE / "feature_store.yaml")
    # By name only: what belongs to the service, the server knows. `store.get_feature_service` would look into a
    # registry, and a client has none.
    wanted = FeatureService(name=service, features=[])
    rows = [{join_key: entity} for entity in entities]
    # True where features of the service share a name.
    full_names = contract.get("full_feature_names", False)
    answer = store.get_online_features(features=wanted, entity_rows=rows, full_feature_names=full_names).to_dict()
    # By name, so that it does not matter in which order anything in between keeps them.
    return [[answer[name][row] for name, _ in contract["features"]] for row in range(len(entities))]


if __name__ == "__main__":
    for vector in vectors(sys.argv[1], sys.argv[2], [int(entity) for entity in sys.argv[3:]]):
        sys.stdout.write(f"{json.dumps(vector)}\n")
