"""Feature services: the features that one model version receives, in exactly this order.

A service lists its features one by one. If it named the whole view, a field added for the next model would silently
change the input of this one. A model that needs other features gets a new service (`attrition_model_v2`).
"""

from feast import FeatureService
from feature_views import employee_features

attrition_model_v1 = FeatureService(
    name="attrition_model_v1",
    features=[
        employee_features[
            [
                "tenure",
                "salary_band",
                "overtime",
                "promotion_stagnation",
                "career_velocity",
                "overall_satisfaction",
            ]
        ]
    ],
    description="What the attrition classifier, version 1, was trained on.",
    owner="people-analytics@example.com",
)
