"""Predicts with a model of `train.py`: vectors from the feature server, refused unless they are what the model was trained on.

    python predict.py model.joblib http://feature-server.feast:6566 employee_id 101 202 303

A model file is code: load only your own.
"""

import json
import sys
import urllib.error
import urllib.request

import joblib
import numpy as np

CONTRACT_HEADER = "feast-contract"
PRECONDITION_FAILED = 412
REQUEST_SECONDS = 5


def vectors(server: str, contract: dict, join_key: str, entities: list[int]) -> np.ndarray:
    """One row per entity, the features in the order that the model was trained on; NaN for a value that is not there."""
    full_names = contract.get("full_feature_names", False)
    asked = {"feature_service": contract["feature_service"], "entities": {join_key: entities}, "full_feature_names": full_names}
    body = json.dumps(asked).encode()
    headers = {"Content-Type": "application/json", CONTRACT_HEADER: contract["sha256"]}
    request = urllib.request.Request(f"{server}/get-online-features", data=body, headers=headers)  # noqa: S310  the caller's own server
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:  # noqa: S310
            served = response.headers.get(CONTRACT_HEADER)
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == PRECONDITION_FAILED:
            sys.exit(f"the model was trained on another contract than the server serves: {json.load(error)['detail']}")
        sys.exit(f"the feature server refuses: HTTP {error.code}: {error.read().decode()}")
    # A server that does not know the header would answer all the same.
    if served != contract["sha256"]:
        sys.exit(f"the server does not say that it serves the contract {contract['sha256']}, but {served}")
    names = [f"{view}__{name}" if full_names else name for view, name, _ in contract["features"]]
    if answer["metadata"]["feature_names"] != [join_key, *names]:
        sys.exit(f"the server answers {answer['metadata']['feature_names']}, not {[join_key, *names]}")
    columns = [result["values"] for result in answer["results"][1:]]
    return np.array(columns, dtype="float64").T


if __name__ == "__main__":
    trained = joblib.load(sys.argv[1])
    asked = [int(entity) for entity in sys.argv[4:]]
    rows = vectors(sys.argv[2], trained["contract"], sys.argv[3], asked)
    for entity, probability in zip(asked, trained["model"].predict_proba(rows)[:, 1], strict=True):
        sys.stdout.write(f"{json.dumps({sys.argv[3]: entity, 'probability': round(float(probability), 6)})}\n")
