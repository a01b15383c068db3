"""Data sources: where the history of the feature values lies.

A path is relative: on a laptop to this directory, in the cluster to the bucket of the offline store. There the folder `data/` is
left out, so this file is the object `employee_attrition.parquet`.
"""

from feast import FileSource

# One row per employee and weekly snapshot. `event_timestamp` is when the values were true, `created` is when the row
# was written: of two rows for the same moment, the one that was written later counts.
employee_attrition = FileSource(
    name="employee_attrition",
    path="data/employee_attrition.parquet",
    timestamp_field="event_timestamp",
    created_timestamp_column="created",
    description="Weekly snapshots of every employee, from the HR system.",
)
