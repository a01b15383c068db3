"""What is computed while a payment waits: from what the request says, and from what is known already."""

import pandas as pd
from data_sources import payment
from feast import Field
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float64, Int64, String
from feature_views import card_features, merchant_features


@on_demand_feature_view(
    mode="python",
    sources=[payment, card_features],
    schema=[
        Field(name="is_abroad", dtype=Bool),
        Field(name="share_of_limit", dtype=Float64),
        Field(name="known_countries", dtype=Int64),
        Field(name="route", dtype=String),
    ],
)
def payment_features(inputs):
    def share(amount, limit):
        if amount < 0:
            raise ValueError("a payment is not negative")
        return amount / limit if limit else None

    homes, countries = inputs["home_country"], inputs["country"]
    return {
        "is_abroad": [None if home is None else home != country for home, country in zip(homes, countries, strict=True)],
        "share_of_limit": [share(*pair) for pair in zip(inputs["amount"], inputs["credit_limit"], strict=True)],
        "known_countries": [len(set(known or [])) for known in inputs["recent_countries"]],
        "route": [f"{home}>{country}" for home, country in zip(homes, countries, strict=True)],
    }


@on_demand_feature_view(
    mode="pandas",
    sources=[merchant_features],
    schema=[Field(name="trust", dtype=Float64)],
)
def merchant_trust(inputs: pd.DataFrame) -> pd.DataFrame:
    complaints = pd.to_numeric(inputs["complaints"]).astype("float64")
    trust = pd.DataFrame()
    trust["trust"] = (1.0 - pd.to_numeric(inputs["chargeback_rate"]).astype("float64")) / (1.0 + complaints)
    return trust
