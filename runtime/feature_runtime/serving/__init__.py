"""The feature server, from the registry to the wire.

What can be asked: `registry_snapshot` (registry and contract as plain data) → `drafting` → `plan` of `question`s; `reloading` keeps it
up to date.
What is asked: `http`, `connection`, `message`; `grpc_service`, `grpc_health` → `body` → `requests` (strict; else `refused`) → `key_bytes` →
`redis_reader`, `cluster`.
What is answered: `decoding` and `quick_decoding` (stored bytes), `on_demand`, `functions` and `on_demand_values` (computed;
`function_check` tries them), `answer` (order and statuses); `server` connects all of it.
What is seen of it: `metrics`, `freshness`.

From `plan` to `answer` nothing imports Feast or touches the network: plain data in, plain data out.
"""
