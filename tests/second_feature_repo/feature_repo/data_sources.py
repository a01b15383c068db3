"""Where the history lies: a file, a folder of files that grows by one a day, and a file in a folder."""

from feast import Field, FileSource, RequestSource
from feast.types import Float64, String

cards = FileSource(
    name="cards",
    path="data/cards/history.parquet",
    timestamp_field="valid_from",
    created_timestamp_column="written_at",
    # What the bank's system calls it.
    field_mapping={"country_of_issue": "home_country"},
)

merchants = FileSource(
    name="merchants",
    path="data/merchants",
    timestamp_field="event_timestamp",
)

visits = FileSource(
    name="visits",
    path="data/visits.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
)

payment = RequestSource(
    name="payment",
    schema=[Field(name="amount", dtype=Float64), Field(name="country", dtype=String)],
)
