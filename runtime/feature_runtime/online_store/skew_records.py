"""The records beside the values in the online store, as the skew probe uses them: reads those of loads, writes its own.

Made from the configuration alone: the probe needs no registry.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from feast.infra.online_stores.helpers import get_online_store_from_config
from feast.infra.online_stores.redis import RedisOnlineStore
from feast.repo_config import RepoConfig

from feature_runtime.online_store.load_records import KEY as LOADED_KEY
from feature_runtime.online_store.load_records import LoadRecord, fields_of, moment_of
from feature_runtime.online_store.sentinels import client_of
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import with_retries

SKEW_KEY = "feast-eks:skew:{project}:{service}"


@dataclass(frozen=True, kw_only=True)
class SkewRecord:
    """What the last comparison of a feature service found: when, and the share of values that differed."""

    at: datetime
    ratio: float

    @staticmethod
    def parse(text: bytes | str | None) -> "SkewRecord | None":
        """The record that a text is; None when there is none, or it is not what the probe writes."""
        fields = fields_of(text)
        try:
            return SkewRecord(at=moment_of(fields["at"]), ratio=float(fields["ratio"]))
        except (ValueError, KeyError, TypeError):
            return None


class Records:
    """The records of a feature store; waits at most `seconds` for an online store that is away.

    Raises:
        Refusal: the online store is not Redis, or stays away.
    """

    def __init__(self, config: RepoConfig, *, seconds: float) -> None:
        online_store = get_online_store_from_config(config.online_store)
        if not isinstance(online_store, RedisOnlineStore):
            raise Refusal(f"the online store is {config.online_store.type!r}: only Redis keeps records of what was loaded.")
        self._client: Any = client_of(online_store, config.online_store)
        self._project = config.project
        self._seconds = seconds

    def end_of_load(self, view: str) -> datetime | None:
        """Up to when a view was loaded, None when it never was."""
        key = LOADED_KEY.format(project=self._project, view=view)
        text = with_retries(f"reading the load record of {view}", lambda: self._client.get(key), seconds=self._seconds)
        record = LoadRecord.parse(text)
        return record.end if record else None

    def write_skew(self, service: str, *, at: datetime, ratio: float, compared: int, differing: int) -> None:
        """Write down what was found of a service, for the feature servers to export."""
        key = SKEW_KEY.format(project=self._project, service=service)
        record = json.dumps({"at": at.isoformat(), "ratio": ratio, "compared": compared, "differing": differing})
        with_retries(f"writing the skew record of {service}", lambda: self._client.set(key, record), seconds=self._seconds)
