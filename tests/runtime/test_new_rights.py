"""AWS takes seconds to know a new right everywhere: a pod with a role waits for it, and is told when it does not come."""

from datetime import timedelta

import fsspec
import pytest
from feast import Entity, FeatureView, Field, FileSource
from feast.types import Int64

from feature_runtime.offline_store import source
from feature_runtime.refusal import Refusal


@pytest.fixture
def view(tmp_path):
    batch = FileSource(name="rows", path=str(tmp_path / "rows.parquet"), timestamp_field="event_timestamp")
    return FeatureView(
        name="view",
        entities=[Entity(name="a", join_keys=["a"])],
        ttl=timedelta(days=1),
        schema=[Field(name="n", dtype=Int64)],
        source=batch,
    )


@pytest.fixture
def denied(monkeypatch):
    """Denies the first so many questions, and counts them."""
    asked = []
    monkeypatch.setattr(source, "PAUSE_SECONDS", 0.01)

    def deny(times):
        real = fsspec.url_to_fs

        def url_to_fs(*arguments, **options):
            asked.append(arguments)
            if len(asked) <= times:
                raise PermissionError("Forbidden")
            return real(*arguments, **options)

        monkeypatch.setattr(fsspec, "url_to_fs", url_to_fs)
        return asked

    return deny


def test_a_right_that_is_not_known_yet_is_waited_for(view, denied, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_WORKLOAD_IDENTITY", "pod_identity")
    asked = denied(2)
    with pytest.raises(Refusal, match="has no file at"):  # it got as far as looking
        source.ViewSource(view, tmp_path).problems()
    assert len(asked) == 3


def test_a_right_that_does_not_come_is_named(view, denied, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_WORKLOAD_IDENTITY", "pod_identity")
    monkeypatch.setattr(source, "NEW_RIGHT_SECONDS", 0.05)
    denied(1_000_000)
    with pytest.raises(Refusal, match="may not be read: PermissionError: Forbidden") as refused:
        source.ViewSource(view, tmp_path).problems()
    assert refused.value.exit_code == 1, "its Job ends, with this reason"


def test_a_key_that_may_not_read_is_not_waited_for(view, denied, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_WORKLOAD_IDENTITY", raising=False)
    asked = denied(1_000_000)
    with pytest.raises(Refusal, match="may not be read"):
        source.ViewSource(view, tmp_path).problems()
    assert len(asked) == 1
