"""Where the history lies: a file, a folder of files that grows by one a day, and a file in a folder."""

import os

from feast import Field, FileSource, RequestSource
from feast.types import Float64, String

bucket = os.environ.get("OFFLINE_STORE_BUCKET")
root = f"s3://{bucket}" if bucket else "data"
endpoint = os.environ.get("OFFLINE_STORE_ENDPOINT_URL") if bucket else None

cards = FileSource(
    name="cards",
    path=f"{root}/cards/history.parquet",
    s3_endpoint_override=endpoint,
    timestamp_field="valid_from",
    created_timestamp_column="written_at",
    # What the bank's system calls it.
    field_mapping={"country_of_issue": "home_country"},
)

merchants = FileSource(
    name="merchants",
    path=f"{root}/merchants",
    s3_endpoint_override=endpoint,
    timestamp_field="event_timestamp",
)

visits = FileSource(
    name="visits",
    path=f"{root}/visits.parquet",
    s3_endpoint_override=endpoint,
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
)

payment = RequestSource(
    name="payment",
    schema=[Field(name="amount", dtype=Float64), Field(name="country", dtype=String)],
)
