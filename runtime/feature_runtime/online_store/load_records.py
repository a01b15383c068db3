"""What is loaded: for every view, a record in the online store of the schema that its values were loaded with.

It lies beside the values, so that whatever loses them loses the record too, and the next run loads everything again.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from feast import FeatureStore, FeatureView
from feast.infra.online_stores.redis import RedisOnlineStore

from feature_runtime.online_store.sentinels import client_of

KEY = "feast-eks:loaded:{project}:{view}"


@dataclass(frozen=True, kw_only=True)
class LoadRecord:
    """The last load of a view: the digest of its schema then, up to when it loaded, and its newest event time."""

    schema_sha256: str
    end: datetime
    newest_event_time: datetime | None


class LoadRecords:
    """The records of a feature store. Only Redis keeps them; with any other online store nothing counts as loaded."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    @cached_property
    def _client(self) -> Any:
        # On first use: most runs of `apply` do not need the online store.
        online_store = self._store.provider.online_store
        if isinstance(online_store, RedisOnlineStore):
            return client_of(online_store, self._store.config.online_store)
        return None

    def check_reachable(self) -> None:
        """Raise what the client raises when the online store does not answer."""
        if self._client is not None:
            self._client.ping()

    def read(self, view: str) -> LoadRecord | None:
        """The record of a view, None when it was never loaded (or by something that left no record)."""
        text = self._client.get(self._key(view)) if self._client is not None else None
        try:
            fields = json.loads(text) if text else None
            if fields is None:
                return None
            newest = fields["newest_event_time"]
            return LoadRecord(
                schema_sha256=fields["schema_sha256"],
                end=datetime.fromisoformat(fields["end"]),
                newest_event_time=datetime.fromisoformat(newest) if newest else None,
            )
        except (ValueError, KeyError, TypeError):
            return None

    def write(self, view: str, record: LoadRecord) -> None:
        """Keep the record of a finished load."""
        if self._client is None:
            return
        fields = {
            "schema_sha256": record.schema_sha256,
            "end": record.end.isoformat(),
            "newest_event_time": record.newest_event_time.isoformat() if record.newest_event_time else None,
        }
        self._client.set(self._key(view), json.dumps(fields))

    def forget(self, view: str) -> None:
        """Remove the record of a view that is gone."""
        if self._client is not None:
            self._client.delete(self._key(view))

    def _key(self, view: str) -> str:
        return KEY.format(project=self._store.project, view=view)


def schema_sha256(view: FeatureView) -> str:
    """Digest of everything that decides which values of a view lie in the online store; the order of fields does not."""
    source = view.batch_source
    described = {
        "entities": sorted([field.name, str(field.dtype)] for field in view.entity_columns),
        "features": sorted([field.name, str(field.dtype)] for field in view.features),
        "ttl_seconds": view.ttl.total_seconds() if view.ttl else 0,
        "source": [
            source.name,
            str(getattr(source, "path", "")),
            source.timestamp_field,
            source.created_timestamp_column,
            dict(source.field_mapping),
        ]
        if source
        else None,
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()
