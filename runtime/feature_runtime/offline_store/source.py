"""The source of a feature view: its schema and its rows, read as materialization will read them.

Only files (parquet, local or on S3) are looked into; other kinds of sources are left to Feast.
"""

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError
from feast import FeatureView, FileSource
from feast.data_format import ParquetFormat
from pyarrow.fs import FSSpecHandler, PyFileSystem

from feature_runtime.offline_store.column_types import fits
from feature_runtime.progress import say
from feature_runtime.refusal import Refusal
from feature_runtime.retrying import first_line
from feature_runtime.settings import has_aws_role

# An endpoint that does not answer is an error within a minute, not after botocore's five.
S3_CLIENT = {"connect_timeout": 5, "read_timeout": 30, "retries": {"max_attempts": 3, "mode": "standard"}}


class ViewSource:
    """The file that one feature view is loaded from."""

    def __init__(self, view: FeatureView, repo: Path) -> None:
        source = view.batch_source
        assert isinstance(source, FileSource)
        self._view = view
        self._source = source
        self.uri = FileSource.get_uri_for_file_path(repo, source.path)
        # Feast maps column to feature; to find a feature's column is the other way round.
        self._columns = {feature: column for column, feature in source.field_mapping.items()}

    @staticmethod
    def readable(view: FeatureView) -> bool:
        """Whether this view's source is a file that can be looked into."""
        source = view.batch_source
        return isinstance(source, FileSource) and isinstance(source.file_format, ParquetFormat | None)

    def schema(self) -> pa.Schema:
        """The file's columns and types; reads nothing else.

        Raises:
            Refusal: not there, not allowed, no parquet, or the store does not answer.
        """
        return self.dataset().schema

    def problems(self) -> list[str]:
        """What the view asks for and the file does not have, one line per column.

        Raises:
            Refusal: the file cannot be read.
        """
        source, schema = self._source, self.schema()
        problems = []
        for column, purpose in (
            (source.timestamp_field, "the event timestamp"),
            (source.created_timestamp_column, "the created timestamp"),
        ):
            if not column:
                continue
            if column not in schema.names:
                problems.append(f"it has no column {column!r} ({purpose})")
            elif not pa.types.is_timestamp(schema.field(column).type):
                problems.append(f"its column {column!r} ({purpose}) is {schema.field(column).type}, not a timestamp")
        for field in [*self._view.entity_columns, *self._view.features]:
            column = self.column(field.name)
            if column not in schema.names:
                problems.append(f"it has no column {column!r} (field {field.name!r}, {field.dtype})")
            elif not fits(schema.field(column).type, str(field.dtype)):
                found = schema.field(column).type
                problems.append(f"its column {column!r} is {found}, which does not fit the field's type {field.dtype}")
        return problems

    def column(self, field: str) -> str:
        """The column that holds a field."""
        return str(self._columns.get(field, field))

    def newest_time(self, at: datetime) -> datetime | None:
        """The greatest event timestamp up to `at`; None when there is no row."""
        newest = self._newest_time(at)
        return _utc(newest.cast(pa.timestamp("us", newest.type.tz), safe=False).as_py()) if newest is not None else None

    def within(self, start: datetime, end: datetime) -> pc.Expression:
        """Rows whose event timestamp may lie between the two, as far as the column's resolution tells."""
        field = pc.field(self._source.timestamp_field)
        return (field >= self._moment(start)) & (field <= self._moment(end))

    def _newest_time(self, at: datetime) -> pa.Scalar | None:
        field = self._source.timestamp_field
        newest = None
        try:
            scanner = self.dataset().scanner(
                columns=[field], filter=pc.field(field) <= self._moment(at), batch_readahead=1, fragment_readahead=1
            )
            for batch in scanner.to_batches():
                found = pc.max(batch.column(field))
                if found.is_valid and (newest is None or pc.greater(found, newest).as_py()):
                    newest = found
        except UNREADABLE as error:
            raise self.refusal(error) from None
        return newest

    def _moment(self, at: datetime) -> pa.Scalar:
        kind = self.dataset().schema.field(self._source.timestamp_field).type
        # A column without a time zone is in UTC, as Feast takes it; a coarser one cannot tell the parts of its unit.
        return pa.scalar(at if kind.tz else at.replace(tzinfo=None), pa.timestamp("us", kind.tz)).cast(kind, safe=False)

    def dataset(self) -> ds.Dataset:
        """The file(s) as rows to be scanned in batches, whatever store they lie in.

        Raises:
            Refusal: not there, not allowed, no parquet, or the store does not answer.
        """
        options: dict[str, Any] = {}
        if self.uri.startswith("s3://"):
            options = {"config_kwargs": S3_CLIENT, "use_listings_cache": False}
            if self._source.s3_endpoint_override:
                options["client_kwargs"] = {"endpoint_url": self._source.s3_endpoint_override}
        deadline = time.monotonic() + (NEW_RIGHT_SECONDS if has_aws_role() else 0)
        while True:
            try:
                filesystem, path = fsspec.url_to_fs(self.uri, **options)
                if not filesystem.exists(path):
                    raise FileNotFoundError(self.uri)
                return ds.dataset(path, filesystem=PyFileSystem(FSSpecHandler(filesystem)), format="parquet")
            except UNREADABLE as error:
                if not isinstance(error, PermissionError) or time.monotonic() > deadline:
                    raise self.refusal(error) from None
                say(f"the source {self._source.name!r} may not be read yet: {first_line(error)}; trying again")
                time.sleep(PAUSE_SECONDS)

    def refusal(self, error: BaseException) -> Refusal:
        """What went wrong while the source was read, and the remedy."""
        name = self._source.name
        if isinstance(error, FileNotFoundError):
            return Refusal(f"the source {name!r} has no file at {self.uri}. Put the data there, or correct the source's path.")
        if isinstance(error, PermissionError | NoCredentialsError):
            return Refusal(
                f"the source {name!r} at {self.uri} may not be read: {first_line(error)}. "
                "Give this pod's identity read access to the bucket."
            )
        return Refusal(
            f"the source {name!r} at {self.uri} cannot be read: {first_line(error)}. "
            "It must be a parquet file that this pod can reach and read."
        )


NEW_RIGHT_SECONDS = 40
"""How long AWS may take to know a new right of a role everywhere; it says seconds."""

PAUSE_SECONDS = 4

UNREADABLE = (OSError, pa.ArrowException, BotoCoreError, ClientError)


def source_problems(views: Iterable[FeatureView], repo: Path) -> list[tuple[str, str, str]]:
    """(view, its source's address, what that lacks), for every source that can be looked into."""
    readable = [(view.name, ViewSource(view, repo)) for view in views if ViewSource.readable(view)]
    return [(name, source.uri, problem) for name, source in readable for problem in source.problems()]


def check_sources(views: Iterable[FeatureView], repo: Path) -> None:
    """Refuse views whose source lacks a column or has it in another type; every problem of every view at once."""
    problems = [f"feature view {name!r}, source {uri}: {problem}" for name, uri, problem in source_problems(views, repo)]
    if problems:
        raise Refusal(
            f"the source does not have what the definitions ask for: {'; '.join(problems)}. "
            "Add the column to the data first, or take the field out.",
            problems=problems,
        )


def _utc(moment: datetime) -> datetime:
    moment = getattr(moment, "to_pydatetime", lambda: moment)()
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
