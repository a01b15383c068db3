"""Two entities, batch views, an on-demand view with request data, and services across them."""

from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, RequestSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64, description="Who drives.", owner="fleet")
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING, description="Who pays.", owner="sales")

trips_file = FileSource(name="trips_file", path="data/trips.parquet", timestamp_field="event_timestamp", created_timestamp_column="created")
customers_file = FileSource(name="customers_file", path="data/customers.parquet", timestamp_field="event_timestamp")

stats = FeatureView(
    name="stats",
    entities=[driver],
    ttl=timedelta(days=7),
    source=trips_file,
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="rating", dtype=Float32),
        Field(name="trips", dtype=Int64),
        Field(name="unused", dtype=Float64),
        Field(name="embedding", dtype=Array(Float32), vector_index=True, vector_length=4, vector_search_metric="L2"),
    ],
    description="Of every driver.",
    owner="fleet",
)
spare = FeatureView(
    name="spare",
    entities=[driver],
    ttl=timedelta(days=7),
    source=trips_file,
    schema=[Field(name="driver_id", dtype=Int64), Field(name="idle", dtype=Int64)],
    description="In no service.",
    owner="fleet",
)
profile = FeatureView(
    name="profile",
    entities=[customer],
    ttl=timedelta(days=30),
    source=customers_file,
    schema=[
        Field(name="customer_id", dtype=String),
        Field(name="city", dtype=String),
        Field(name="age", dtype=Int64),
        Field(name="tags", dtype=Array(String)),
    ],
    description="Of every customer.",
    owner="sales",
)
asked = RequestSource(name="asked", schema=[Field(name="distance", dtype=Float64)])


@on_demand_feature_view(
    name="priced",
    sources=[stats[["rating"]], asked],
    schema=[Field(name="price", dtype=Float64)],
    mode="pandas",
    description="What a trip costs.",
    owner="sales",
)
def priced(inputs: pd.DataFrame) -> pd.DataFrame:
    out = pd.DataFrame()
    out["price"] = inputs["distance"] * inputs["rating"] * 1.5
    return out


fare_v1 = FeatureService(
    name="fare_v1",
    features=[stats[["rating", "trips", "embedding"]], profile[["city", "age"]], priced],
    description="What the fare model reads.",
    owner="pricing",
)
whole_v1 = FeatureService(name="whole_v1", features=[profile], description="All of a view.", owner="pricing")
