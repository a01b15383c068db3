"""Data sources: where the history of the feature values lies.

The same definition works in two places. On a laptop it reads the parquet file beside it (`data/`). In the cluster the
environment names the bucket of the offline store, and the file of the same name is read from there.
"""

import os

from feast import FileSource

FILE = "employee_attrition.parquet"

bucket = os.environ.get("OFFLINE_STORE_BUCKET")

# One row per employee and weekly snapshot. `event_timestamp` is when the values were true, `created` is when the row
# was written: of two rows for the same moment, the one that was written later counts.
employee_attrition = FileSource(
    name="employee_attrition",
    path=f"s3://{bucket}/{FILE}" if bucket else f"data/{FILE}",
    # Only S3-compatible stores need an endpoint; on AWS the variable is unset and the region decides.
    s3_endpoint_override=os.environ.get("OFFLINE_STORE_ENDPOINT_URL") if bucket else None,
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
    description="Weekly snapshots of every employee, from the HR system.",
)
