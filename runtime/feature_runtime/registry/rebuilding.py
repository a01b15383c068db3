"""Objects of a registry, rebuilt one by one: one that cannot be costs itself alone, and not the list that it is in.

Feast rebuilds functions, and classes of sources, where a registry is listed; one whose module is not here would end
every reader of that registry. Such a view comes back without its function, such a source as `Unreadable`.
"""

from typing import Any

from feast import FeatureView, OnDemandFeatureView, StreamFeatureView
from feast.data_source import DataSource, RequestSource

from feature_runtime.retrying import first_line

REASON = "_cannot_be_rebuilt"


class Unreadable(RequestSource):
    """Stands for a source whose class is not here."""


def why_not_rebuilt(view: Any) -> str:
    """Why a view came back from the registry without its function or its source; empty when it is whole."""
    if reason := getattr(view, REASON, ""):
        return f"its function cannot be rebuilt ({reason})"
    source = getattr(view, "batch_source", None)
    return f"its source cannot be rebuilt ({getattr(source, REASON)})" if isinstance(source, Unreadable) else ""


def _guarded_view(kind: type[Any]) -> None:
    rebuild = kind.from_proto.__func__

    def from_proto(cls: type[Any], proto: Any, skip_udf: bool = False) -> Any:
        if not skip_udf:
            try:
                return rebuild(cls, proto)
            except Exception as error:  # noqa: BLE001  whatever a pickled function does
                view = rebuild(cls, proto, skip_udf=True)
                setattr(view, REASON, first_line(error))
                return view
        return rebuild(cls, proto, skip_udf=True)

    kind.from_proto = classmethod(from_proto)


def _guarded_source() -> None:
    rebuild = DataSource.from_proto

    def from_proto(proto: Any) -> Any:
        try:
            return rebuild(proto)
        except Exception as error:  # noqa: BLE001  whatever its module does when it is imported
            source = Unreadable(name=proto.name, schema=[], description=proto.description, tags=dict(proto.tags), owner=proto.owner)
            source.timestamp_field = proto.timestamp_field
            setattr(source, REASON, first_line(error))
            return source

    DataSource.from_proto = staticmethod(from_proto)


for _kind in (FeatureView, StreamFeatureView, OnDemandFeatureView):
    _guarded_view(_kind)
_guarded_source()
