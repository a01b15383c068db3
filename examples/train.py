"""Trains a small model on a file of `feature-runtime train-set`, and keeps with it the contract that the file was made by.

    pip install scikit-learn pyarrow pandas
    python train.py train-set.parquet left model.joblib

`left` is the label: a column of the file with what the model shall learn, true or false.
"""

import json
import sys
from pathlib import Path

import joblib
import pyarrow.parquet as pq
from sklearn.ensemble import HistGradientBoostingClassifier

CONTRACT_KEY = b"feature_contract"


def train(train_set: Path, label: str) -> dict[str, object]:
    """The model, and the contract: the service to ask for vectors, its features in order, and their sha256."""
    table = pq.read_table(train_set)
    contract = json.loads(table.schema.metadata[CONTRACT_KEY])
    full_names = contract.get("full_feature_names", False)
    names = [f"{view}__{name}" if full_names else name for view, name, _ in contract["features"]]
    # In the contract's order, and without names: what a server answers is a list of numbers. A value that is not there
    # is NaN, which this kind of model takes.
    vectors = table.select(names).to_pandas().astype("float64").to_numpy()
    model = HistGradientBoostingClassifier(max_iter=50, random_state=0).fit(vectors, table[label].to_numpy())
    return {"model": model, "contract": contract}


if __name__ == "__main__":
    trained = train(Path(sys.argv[1]), sys.argv[2])
    joblib.dump(trained, sys.argv[3])
    sys.stdout.write(f"{json.dumps(trained['contract'])}\n")
