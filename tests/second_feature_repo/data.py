"""Writes the history that the second feature repo reads, as fresh as today: `python -m tests.second_feature_repo.data DIRECTORY`."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

CARDS = (*(f"card-{number:03}" for number in range(40)), "kärtchen ☂", "0042")
MERCHANTS = (-3, 0, 7, 7_000_000_000, *range(100, 130))
DAYS = 20
COUNTRIES = ("CH", "DE", "FR", "IT")

UTC_TIME = pa.timestamp("us", tz="UTC")
CARD_SCHEMA = pa.schema(
    {
        "card_id": pa.string(),
        "valid_from": UTC_TIME,
        "written_at": UTC_TIME,
        "credit_limit": pa.int64(),
        "country_of_issue": pa.string(),
        "is_virtual": pa.bool_(),
        "opened_at": UTC_TIME,
        "recent_amounts": pa.list_(pa.float32()),
        "recent_countries": pa.list_(pa.string()),
        "colour": pa.string(),
    }
)
MERCHANT_SCHEMA = pa.schema(
    {
        "merchant_id": pa.int64(),
        "event_timestamp": UTC_TIME,
        "category": pa.string(),
        "chargeback_rate": pa.float32(),
        "complaints": pa.int32(),
    }
)
VISIT_SCHEMA = pa.schema(
    {
        "card_id": pa.string(),
        "merchant_id": pa.int64(),
        "event_timestamp": UTC_TIME,
        "created": UTC_TIME,
        "visits": pa.int64(),
        "spent": pa.float64(),
        "last_visit": UTC_TIME,
    }
)


def write(directory: Path, today: datetime | None = None) -> None:
    """Below `directory`: cards/history.parquet, merchants/ with two files, visits.parquet; the newest rows are a day old."""
    newest = (today or datetime.now(UTC)).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
    times = [newest - timedelta(days=days) for days in range(DAYS)]
    merchants = [_merchant(merchant, when) for when in times for merchant in MERCHANTS]
    _write(directory / "cards" / "history.parquet", CARD_SCHEMA, [_card(card, when) for when in times for card in CARDS])
    _write(directory / "merchants" / "old.parquet", MERCHANT_SCHEMA, merchants[len(merchants) // 2 :])
    _write(directory / "merchants" / "new.parquet", MERCHANT_SCHEMA, merchants[: len(merchants) // 2])
    _write(directory / "visits.parquet", VISIT_SCHEMA, [_visit(number, when) for when in times[::5] for number in range(len(CARDS))])


def _card(card: str, when: datetime) -> dict[str, Any]:
    # Values follow from the key and the day, so that a mix-up shows.
    seed = CARDS.index(card) * 100 + when.timetuple().tm_yday
    return {
        "card_id": card,
        "valid_from": when,
        "written_at": when + timedelta(hours=1),
        "credit_limit": 1_000 + seed,
        "country_of_issue": None if seed % 11 == 0 else COUNTRIES[seed % 4],
        "is_virtual": seed % 2 == 0,
        "opened_at": when - timedelta(days=seed % 3_000, seconds=seed),
        "recent_amounts": [] if seed % 7 == 0 else [round(seed / 7, 2), 0.1 + seed % 5, -float(seed)],
        "recent_countries": list(COUNTRIES[: seed % 5]),
        "colour": "blue" if seed % 3 else "gold",
    }


def _merchant(merchant: int, when: datetime) -> dict[str, Any]:
    seed = MERCHANTS.index(merchant) * 100 + when.timetuple().tm_yday
    return {
        "merchant_id": merchant,
        "event_timestamp": when,
        "category": f"category {seed % 9}",
        "chargeback_rate": (seed % 100) / 1_000,
        "complaints": seed % 13,
    }


def _visit(number: int, when: datetime) -> dict[str, Any]:
    seed = number * 100 + when.timetuple().tm_yday
    return {
        "card_id": CARDS[number],
        "merchant_id": MERCHANTS[number % len(MERCHANTS)],
        "event_timestamp": when,
        "created": when,
        "visits": seed % 50,
        "spent": seed / 3,
        "last_visit": when - timedelta(minutes=seed),
    }


def _write(path: Path, schema: pa.Schema, records: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(records, schema=schema), path)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
