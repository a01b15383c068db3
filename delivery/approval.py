"""What was approved is what is deployed.

Between a preview that somebody approves and the update hours may pass. So the preview is made again just before the
update, and what it would do is compared: the same operations on the same resources, with the same values.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from delivery.preview import Change, Preview

Intent = dict[str, Any]
"""Maps each resource's URN to the operation and a digest of what it changes."""


def intent(preview: Preview) -> Intent:
    """What a preview would do, without any value of it."""
    return {change.urn: {"operation": change.operation, "values": _digest(change)} for change in preview.changes}


def differences(approved: Intent, now: Intent) -> list[str]:
    """What the second would do otherwise than the first, one line each; empty if it is the same."""
    return [
        _difference(urn, approved.get(urn), now.get(urn))
        for urn in sorted(approved.keys() | now.keys())
        if approved.get(urn) != now.get(urn)
    ]


def read_intent(path: Path) -> Intent:
    """The intent in a file.

    Raises:
        ValueError: the file holds none. Nothing is approved by a file that says nothing.
    """
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no approved changes: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(value, dict) for value in found.values()):
        raise ValueError(f"{path} holds no approved changes")
    return found


def _difference(urn: str, approved: Any, now: Any) -> str:
    name = urn.rpartition("::")[2]
    if approved is None:
        return f"{name}: {now.get('operation')}, which nobody approved"
    if now is None:
        return f"{name}: {approved.get('operation')} was approved and is no longer needed"
    if approved.get("operation") != now.get("operation"):
        return f"{name}: {approved.get('operation')} was approved, now it is {now.get('operation')}"
    return f"{name}: {now.get('operation')} with other values than were approved"


def _digest(change: Change) -> str:
    told = [[found.path, found.old, found.new] for found in change.properties]
    return hashlib.sha256(json.dumps([told, change.forced_by, change.unprotected]).encode()).hexdigest()[:16]
