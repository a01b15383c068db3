"""What each model receives: across all views and both keys, of one card alone, computed only, of two cards at once."""

from feast import FeatureService
from feature_views import card_features, merchant_features, visit_features
from on_demand_feature_views import merchant_trust, payment_features

fraud_model_v1 = FeatureService(
    name="fraud_model_v1",
    features=[
        visit_features[["spent", "visits"]],
        payment_features[["share_of_limit", "is_abroad"]],
        card_features[["recent_amounts", "recent_countries", "is_virtual", "home_country", "opened_at"]],
        merchant_features[["category", "chargeback_rate"]],
        merchant_trust,
    ],
)

limit_model_v1 = FeatureService(
    name="limit_model_v1",
    features=[card_features[["credit_limit", "home_country", "recent_amounts"]]],
)

checkout_model_v1 = FeatureService(
    name="checkout_model_v1",
    # Its sources' own features are no part of what the model receives.
    features=[payment_features[["known_countries", "route"]]],
)

transfer_model_v1 = FeatureService(
    name="transfer_model_v1",
    # The same view for two cards. Feast cannot compare a service that has a view both with an alias and without.
    features=[
        card_features.with_name("payer")[["home_country", "credit_limit"]],
        card_features.with_name("payee").with_join_key_map({"card_id": "payee_id"})[["is_virtual", "opened_at"]],
    ],
)
