"""Which columns of a source can hold which of Feast's types."""

from feature_runtime.value_types.columns import accepts as fits

__all__ = ["fits"]
