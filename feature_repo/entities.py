"""Entities: the things that features describe, and the key that tells one from another."""

from feast import Entity, ValueType

employee = Entity(
    name="employee_id",
    join_keys=["employee_id"],
    value_type=ValueType.INT64,
    description="One employee; the number that the HR system gives a person and never reuses.",
    owner="people-analytics@example.com",
)
