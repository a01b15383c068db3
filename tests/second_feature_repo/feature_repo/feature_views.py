"""What is known of a card, of a merchant, and of a card at a merchant."""

from datetime import timedelta

from data_sources import cards, merchants, visits
from entities import card, merchant
from feast import FeatureView, Field
from feast.types import Array, Bool, Float32, Float64, Int32, Int64, String, UnixTimestamp

card_features = FeatureView(
    name="card_features",
    entities=[card],
    ttl=timedelta(days=30),
    source=cards,
    schema=[
        Field(name="card_id", dtype=String),
        Field(name="credit_limit", dtype=Int64),
        Field(name="home_country", dtype=String),
        Field(name="is_virtual", dtype=Bool),
        Field(name="opened_at", dtype=UnixTimestamp),
        Field(name="recent_amounts", dtype=Array(Float32)),
        Field(name="recent_countries", dtype=Array(String)),
    ],
)

merchant_features = FeatureView(
    name="merchant_features",
    entities=[merchant],
    ttl=timedelta(days=90),
    source=merchants,
    schema=[
        Field(name="merchant_id", dtype=Int64),
        Field(name="category", dtype=String),
        Field(name="chargeback_rate", dtype=Float32),
        Field(name="complaints", dtype=Int32),
    ],
)

visit_features = FeatureView(
    name="visit_features",
    entities=[card, merchant],
    # For ever: whoever bought something here once did.
    ttl=timedelta(0),
    source=visits,
    schema=[
        Field(name="card_id", dtype=String),
        Field(name="merchant_id", dtype=Int64),
        Field(name="visits", dtype=Int64),
        Field(name="spent", dtype=Float64),
        Field(name="last_visit", dtype=UnixTimestamp),
    ],
)
