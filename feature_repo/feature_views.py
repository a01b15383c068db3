"""Feature views: which columns of a source are features, of which entity, and for how long a value stays valid."""

from datetime import timedelta

from data_sources import employee_attrition
from entities import employee
from feast import FeatureView, Field
from feast.types import Float32, Int64

employee_features = FeatureView(
    name="employee_features",
    entities=[employee],
    # A snapshot is taken every week. Who has no newer one has left: training must not use the old values, and the
    # online store lets them fade.
    ttl=timedelta(days=7),
    online=True,
    source=employee_attrition,
    description="Where an employee stands, as of each weekly snapshot.",
    owner="people-analytics@example.com",
    # The nightly run fails when the source has had no row for so long: a snapshot may be a day late.
    tags={"freshness_hours": "192"},
    schema=[
        # The join key is listed so that Feast need not open the file to learn its type.
        Field(name="employee_id", dtype=Int64),
        Field(name="tenure", dtype=Float32, description="Years with the company."),
        Field(name="salary_band", dtype=Int64, description="Pay grade, 1 (lowest) to 5."),
        Field(name="overtime", dtype=Int64, description="1 if the employee works overtime regularly, else 0."),
        Field(name="promotion_stagnation", dtype=Float32, description="Years since the last promotion."),
        Field(name="career_velocity", dtype=Float32, description="Promotions per year with the company."),
        Field(name="overall_satisfaction", dtype=Float32, description="Mean of the surveys, 1 (worst) to 4."),
    ],
)
