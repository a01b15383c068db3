"""What is loaded: for every view, a record in the online store of the schema that its values were loaded with, and how far.

It lies beside the values and is the only watermark. So whatever loses the values loses the record too, a store that comes
back older comes back with the record of that time, and in both cases the next run loads what is missing.
"""

import hashlib
import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from feast import FeatureStore, FeatureView
from feast.infra.online_stores.redis import RedisOnlineStore

from feature_runtime.online_store.sentinels import client_of
from feature_runtime.refusal import Refusal

KEY = "feast-eks:loaded:{project}:{view}"
CLAIM = "loading"
"""The field of a record that says which load is under way, and how many pieces it has written."""


@dataclass(frozen=True, kw_only=True)
class LoadRecord:
    """The last load of a view: the digest of its schema then, up to when it loaded, and its newest event time."""

    schema_sha256: str
    end: datetime
    newest_event_time: datetime

    @staticmethod
    def parse(text: bytes | str | None) -> "LoadRecord | None":
        """The record that a text is; None when there is none, or it is not what a load writes."""
        fields = fields_of(text)
        try:
            return LoadRecord(
                schema_sha256=str(fields["schema_sha256"]),
                end=moment_of(fields["end"]),
                newest_event_time=moment_of(fields["newest_event_time"]),
            )
        except (ValueError, KeyError, TypeError):
            return None

    def fields(self) -> dict[str, str]:
        """What `parse` reads."""
        return {
            "schema_sha256": self.schema_sha256,
            "end": self.end.isoformat(),
            "newest_event_time": self.newest_event_time.isoformat(),
        }


def fields_of(text: bytes | str | None) -> dict[str, Any]:
    """The fields of a record; none when it is no JSON object."""
    try:
        fields = json.loads(text) if text else None
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def moment_of(text: str) -> datetime:
    """A moment of a record; raises ValueError or TypeError when it is none, or has no time zone."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


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

    def claim(self, view: str, check: Callable[[], None]) -> "Claim":
        """The record of a view as it is now, for one load that will write the next one as long as `check` does not refuse."""
        key = KEY.format(project=self._store.project, view=view)
        found = self._client.get(key) if self._client is not None else None
        return Claim(self._client, key, found, check)

    def forget(self, view: str) -> None:
        """Remove the record of a view that is gone."""
        if self._client is not None:
            self._client.delete(KEY.format(project=self._store.project, view=view))


class Claim:
    """One load's hold on the record of its view.

    The load writes its mark into the record before its first value, and another one behind each batch of values, on the
    same connection. A record that is not as the load left it tells, before more is written, that another load has begun
    or that Redis has lost what it had confirmed. This holds without any lock, and needs nothing but GET and SET.
    """

    def __init__(self, client: Any, key: str, found: bytes | None, check: Callable[[], None]) -> None:
        self._client = client
        self._key = key
        self._check = check
        self._found = self._confirmed = self._sent = found
        self._token = secrets.token_hex(8)
        self._marks = 0
        self.record = LoadRecord.parse(found)
        self.unfinished = CLAIM in fields_of(found)
        """Whether a load before this one did not end, or still runs."""

    def check(self) -> None:
        """Make the claim, or make sure that it stands.

        Raises:
            Refusal: the load's lock is lost, another load has begun or ended since, or Redis came back older.
        """
        self._check()
        if self._client is None:
            return
        # What was sent last may have arrived though its reply did not.
        found = self._client.get(self._key)
        if found not in (self._confirmed, self._sent):
            raise Refusal(
                f"the load record {self._key} is not as this run left it: another run has begun to load the same view, or the online "
                "store has lost what was written. This run stops, so that nothing older replaces what is newer. Run `materialize` again."
            )
        self._confirmed = found
        if found == self._found:
            self._client.set(*self.mark())
            self.confirm()

    def mark(self) -> tuple[str, bytes]:
        """Key and value to set behind the next values."""
        self._marks += 1
        before = self.record.fields() if self.record else {}
        self._sent = json.dumps(before | {CLAIM: f"{self._token} {self._marks}"}).encode()
        return self._key, self._sent

    def confirm(self) -> None:
        """Redis has confirmed the last mark; from now on it must be there."""
        self._confirmed = self._sent

    def finish(self, record: LoadRecord) -> None:
        """Write the record of the load that is done; raises Refusal as `check` does."""
        self.check()
        if self._client is None:
            return
        self._sent = json.dumps(record.fields()).encode()
        self._client.set(self._key, self._sent)
        self.confirm()


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
