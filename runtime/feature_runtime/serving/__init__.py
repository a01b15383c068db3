"""The feature server, from the registry to the wire.

What can be asked: `describing` (registry and contract as plain data) → `plan` of `question`s; `reloading` keeps it up to date.
What is asked: `http`, `connection`, `grpc_service` → `requests` (strict) → `keys` → `online_store`, `cluster`.
What is answered: `values` (stored bytes), `on_demand` (computed), `answer` (order and statuses); `server` connects all of it.
What is seen of it: `metrics`, `freshness`.

From `plan` to `answer` nothing imports Feast or touches the network: plain data in, plain data out.
"""
