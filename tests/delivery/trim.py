"""Cut an event log of the real engine down to what a fixture needs: `python tests/delivery/trim.py EVENTS > FIXTURE`.

Leaves out what did not change, debug messages, the configuration, outputs and positions in source files. What is left is as the engine wrote it.
"""

import json
import sys
from pathlib import Path

KEPT = ("policyEvent", "resourcePreEvent", "diagnosticEvent", "errorEvent", "summaryEvent", "preludeEvent")
STATE = ("type", "urn", "custom", "protect", "retainOnDelete", "inputs")


def trimmed(event):
    event = {kind: event[kind] for kind in KEPT if kind in event}
    if "preludeEvent" in event:
        event["preludeEvent"] = {"config": {}}
    if event.get("diagnosticEvent", {}).get("severity") == "debug":
        return {}
    if metadata := event.get("resourcePreEvent", {}).get("metadata"):
        if metadata["op"] == "same":
            return {}
        for side in ("old", "new"):
            if metadata["op"] == "create-replacement":
                metadata.pop(side, None)  # the `replace` of the same resource says it again
            if metadata.get(side):
                metadata[side] = {key: metadata[side][key] for key in STATE if key in metadata[side]}
        metadata.pop("provider", None)
    return event


for line in Path(sys.argv[1]).read_text().splitlines():
    if event := trimmed(json.loads(line)):
        sys.stdout.write(json.dumps(event, separators=(",", ":")) + "\n")
