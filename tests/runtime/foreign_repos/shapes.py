"""Feature repos as people write them, each a shape that differs from the example's in one respect or two.

A shape is the files of its repo, the data beside them (path to columns), and the entities that are asked for.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

IMPORTS = """\
import os
from datetime import timedelta
from pathlib import Path

import pandas as pd
from feast import BatchFeatureView, Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float32, Float64, Int32, Int64, String

"""

NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
TIMES = [NOW - timedelta(hours=hours) for hours in (30, 20, 2)]


@dataclass(frozen=True)
class Shape:
    files: dict[str, str]
    data: dict[str, dict[str, list[Any]]]
    entities: dict[str, list[Any]]


def one(definitions: str, data: dict[str, dict[str, list[Any]]], **entities: list[Any]) -> Shape:
    return Shape({"definitions.py": IMPORTS + definitions}, data, entities)


SHAPES = {
    "two keys": one(
        """
shop = Entity(name="shop", join_keys=["shop_id"], value_type=ValueType.STRING)
article = Entity(name="article", join_keys=["article_id"], value_type=ValueType.INT64)
stock_level = FeatureView(
    name="stock_level", entities=[shop, article], ttl=timedelta(days=5),
    schema=[Field(name="pieces", dtype=Int64), Field(name="price", dtype=Float64)],
    source=FileSource(path="data/stock.parquet", timestamp_field="counted_at"),
)
reorder = FeatureService(name="reorder", features=[stock_level])
""",
        {
            "data/stock.parquet": {
                "shop_id": ["a", "a", "b"],
                "article_id": [7, 8, 7],
                "counted_at": TIMES,
                "pieces": [3, 0, 12],
                "price": [1.5, 2.25, 0.1],
            }
        },
        shop_id=["a", "b", "b"],
        article_id=[8, 7, 99],
    ),
    "a path above the repo, from where the file lies": one(
        """
DATA = Path(__file__).resolve().parents[1] / "lake" / "trips.parquet"
taxi = Entity(name="taxi", join_keys=["plate"])
trips = FeatureView(
    name="trips", entities=[taxi], ttl=timedelta(days=9),
    schema=[Field(name="plate", dtype=String), Field(name="trips_today", dtype=Int64)],
    source=FileSource(path=str(DATA), timestamp_field="ts"),
)
svc = FeatureService(name="tip_model", features=[trips[["trips_today"]]])
""",
        {"../lake/trips.parquet": {"plate": ["x1", "x2", "x1"], "ts": TIMES, "trips_today": [1, 2, 3]}},
        plate=["x1", "x2"],
    ),
    "blanks and brackets in names": one(
        """
flower = Entity(name="flower", join_keys=["flower_id"], value_type=ValueType.INT64)
flowers = FeatureView(
    name="flowers", entities=[flower], ttl=timedelta(days=9),
    schema=[Field(name="leaf length (cm)", dtype=Float32), Field(name="leaf width (cm)", dtype=Float32)],
    source=FileSource(path="data/flowers.parquet", timestamp_field="ts"),
)
svc = FeatureService(name="flower_model", features=[flowers])
""",
        {
            "data/flowers.parquet": {
                "flower_id": [1, 2, 3],
                "ts": TIMES,
                "leaf length (cm)": [5.1, 4.9, 6.0],
                "leaf width (cm)": [1.0, 2.5, 3.5],
            }
        },
        flower_id=[1, 3, 4],
    ),
    "hyphens in names": one(
        """
person = Entity(name="person", join_keys=["person-id"], value_type=ValueType.INT64)
habits = FeatureView(
    name="daily_habits", entities=[person], ttl=timedelta(days=9),
    schema=[Field(name="sleep-hours", dtype=Float64), Field(name="steps", dtype=Int64)],
    source=FileSource(name="habits-file", path="data/habits.parquet", timestamp_field="ts"),
)
svc = FeatureService(name="coach-v1", features=[habits])
""",
        {"data/habits.parquet": {"person-id": [1, 2, 3], "ts": TIMES, "sleep-hours": [7.5, 8.0, 6.25], "steps": [10, 20, 30]}},
        **{"person-id": [2, 3]},
    ),
    "no feature service": one(
        """
city = Entity(name="city", join_keys=["city_id"], value_type=ValueType.INT64)
air = FeatureView(
    name="air", entities=[city], ttl=timedelta(days=9), schema=[Field(name="pm25", dtype=Float64), Field(name="alert", dtype=Bool)],
    source=FileSource(path="data/air.parquet", timestamp_field="ts"),
)
""",
        {"data/air.parquet": {"city_id": [1, 2, 3], "ts": TIMES, "pm25": [12.5, 80.0, 3.0], "alert": [False, True, False]}},
        city_id=[1, 2],
    ),
    "a push source and a short ttl": one(
        """
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
clicks_file = FileSource(path="data/clicks.parquet", timestamp_field="ts")
clicks = FeatureView(
    name="clicks", entities=[user], ttl=timedelta(hours=6), schema=[Field(name="clicks", dtype=Int64)],
    source=PushSource(name="clicks_push", batch_source=clicks_file),
)
svc = FeatureService(name="ranker", features=[clicks])
""",
        {"data/clicks.parquet": {"user_id": [5, 6, 7], "ts": [NOW - timedelta(hours=1)] * 3, "clicks": [1, 2, 3]}},
        user_id=[5, 7],
    ),
    "no entity": one(
        """
weather = FeatureView(
    name="weather", entities=[], ttl=timedelta(days=9), schema=[Field(name="rain", dtype=Float64)],
    source=FileSource(path="data/weather.parquet", timestamp_field="ts"),
)
town = Entity(name="town", join_keys=["town_id"], value_type=ValueType.INT64)
towns = FeatureView(
    name="towns", entities=[town], ttl=timedelta(days=9), schema=[Field(name="people", dtype=Int64)],
    source=FileSource(path="data/towns.parquet", timestamp_field="ts"),
)
svc = FeatureService(name="umbrella", features=[weather, towns])
""",
        {
            "data/weather.parquet": {"ts": TIMES, "rain": [0.0, 1.0, 2.5]},
            "data/towns.parquet": {"town_id": [1, 2, 3], "ts": TIMES, "people": [10, 20, 30]},
        },
        town_id=[1, 3],
    ),
    "an on-demand view of two views": one(
        """
account = Entity(name="account", join_keys=["account_id"], value_type=ValueType.INT64)
balance = FeatureView(
    name="balance", entities=[account], ttl=timedelta(days=9), schema=[Field(name="amount", dtype=Float64)],
    source=FileSource(path="data/balance.parquet", timestamp_field="ts"),
)
spending = FeatureView(
    name="spending", entities=[account], ttl=timedelta(days=9), schema=[Field(name="spent", dtype=Float64)],
    source=FileSource(path="data/spending.parquet", timestamp_field="ts"),
)
payment = RequestSource(name="payment", schema=[Field(name="price", dtype=Float64)])

@on_demand_feature_view(
    sources=[balance, spending, payment], schema=[Field(name="left_over", dtype=Float64), Field(name="amount", dtype=Float64)]
)
def after_payment(inputs: pd.DataFrame) -> pd.DataFrame:
    result = pd.DataFrame()
    result["left_over"] = inputs["amount"] - inputs["spent"] - inputs["price"]
    result["amount"] = inputs["amount"]
    return result

svc = FeatureService(name="fraud", features=[spending, after_payment])
""",
        {
            "data/balance.parquet": {"account_id": [1, 2, 3], "ts": TIMES, "amount": [100.0, 50.0, 7.0]},
            "data/spending.parquet": {"account_id": [1, 2, 3], "ts": TIMES, "spent": [1.0, 2.0, 3.5]},
        },
        account_id=[1, 2],
    ),
    "no schema": one(
        """
machine = Entity(name="machine", join_keys=["machine_id"], value_type=ValueType.INT64)
readings = FeatureView(
    name="readings", entities=[machine], ttl=timedelta(days=9),
    source=FileSource(path="data/readings.parquet", timestamp_field="ts"),
)
svc = FeatureService(name="maintenance", features=[readings])
""",
        {"data/readings.parquet": {"machine_id": [1, 2, 3], "ts": TIMES, "heat": [70.5, 81.0, 64.25], "hours": [100, 200, 300]}},
        machine_id=[1, 2],
    ),
    "a folder beside the repo, by dots, and whole numbers of pandas": one(
        """
pupil = Entity(name="pupil", join_keys=["pupil_id"], value_type=ValueType.INT64)
marks = FeatureView(
    name="marks", entities=[pupil], ttl=timedelta(days=9), schema=[Field(name="best", dtype=Int32), Field(name="tests", dtype=Int64)],
    source=FileSource(path="../school/marks.parquet", timestamp_field="ts"),
)
svc = FeatureService(name="school", features=[marks])
""",
        {"../school/marks.parquet": {"pupil_id": [1, 2, 3], "ts": TIMES, "best": [1, 2, 3], "tests": [4.0, 5.0, 6.0]}},
        pupil_id=[1, 2],
    ),
    "a batch view that is only trained on": one(
        """
driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
shifts = BatchFeatureView(
    name="shifts", entities=[driver], ttl=timedelta(days=9), schema=[Field(name="hours", dtype=Float64)], mode="python", online=False,
    source=FileSource(path="data/shifts.parquet", timestamp_field="ts"), udf=lambda frame: frame, udf_string="lambda frame: frame",
)
ratings = FeatureView(
    name="ratings", entities=[driver], ttl=timedelta(days=9), schema=[Field(name="stars", dtype=Float32)],
    source=FileSource(path="data/ratings.parquet", timestamp_field="ts"),
)
svc = FeatureService(name="served", features=[ratings])
""",
        {
            "data/shifts.parquet": {"driver_id": [1, 2, 3], "ts": TIMES, "hours": [8.0, 7.5, 9.0]},
            "data/ratings.parquet": {"driver_id": [1, 2, 3], "ts": TIMES, "stars": [4.5, 3.0, 5.0]},
        },
        driver_id=[1, 2],
    ),
}
