"""Every rule: stock `feast apply` lets the edit through, and the gate does not."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from feature_runtime.definitions.describing import contract_of_definitions
from feature_runtime.definitions.feature_repo import load_definitions
from feature_runtime.gate import reference
from feature_runtime.gate.comparison import Snapshot
from feature_runtime.gate.rule import RULES

DEFINITIONS, STORE = "definitions.py", "feature_store.yaml"
BREAKING, WARNING, INFO = "breaking", "warning", "info"


def d(old, new):
    return (DEFINITIONS, old, new)


def y(old, new):
    return (STORE, old, new)


FARE = 'features=[stats[["rating", "trips", "embedding"]], profile[["city", "age"]], priced]'
FARE_DESCRIPTION = 'description="What the fare model reads.",'
STATS_DESCRIPTION = 'description="Of every driver.",'
SPARE = """spare = FeatureView(
    name="spare",
    entities=[driver],
    ttl=timedelta(days=7),"""
TRIPS = 'Field(name="trips", dtype=Int64)'
PERMISSION = """from feast.permissions.permission import Permission
from feast.permissions.policy import RoleBasedPolicy
readers = Permission(name="readers", name_patterns=["stats"], policy=RoleBasedPolicy(roles=["reader"]))
"""
SPARE2 = 'spare2 = FeatureView(name="spare2", entities=[driver], ttl=None, source=trips_file, schema=[Field(name="driver_id", dtype=Int64), Field(name="idle", dtype=Int64)])\n'
WHOLE = 'whole_v1 = FeatureService(name="whole_v1", features=[profile], description="All of a view.", owner="pricing")\n'
STATS_TTL = '    ttl=timedelta(days=7),\n    source=trips_file,\n    schema=[\n        Field(name="driver_id", dtype=Int64),\n        Field(name="rating"'


def ttl(new):
    return d(STATS_TTL, STATS_TTL.replace("timedelta(days=7)", new))


def fare(new):
    return d(FARE, FARE.replace('stats[["rating", "trips", "embedding"]], profile[["city", "age"]], priced', new))


CASES = {
    "service removed": ("F001", "services.whole_v1", BREAKING, [d(WHOLE, "")]),
    "feature left out": (
        "F002",
        "services.fare_v1.trips",
        BREAKING,
        [fare('stats[["rating", "embedding"]], profile[["city", "age"]], priced')],
    ),
    "feature inserted": (
        "F003",
        "services.fare_v1.unused",
        BREAKING,
        [fare('stats[["rating", "unused", "trips", "embedding"]], profile[["city", "age"]], priced')],
    ),
    "feature inserted through a whole view": (
        "F003",
        "services.whole_v1.name",
        BREAKING,
        [d('Field(name="city", dtype=String)', 'Field(name="name", dtype=String),\n        Field(name="city", dtype=String)')],
    ),
    "feature appended": (
        "F004",
        "services.fare_v1.idle",
        BREAKING,
        [fare('stats[["rating", "trips", "embedding"]], profile[["city", "age"]], priced, spare[["idle"]]')],
    ),
    "feature appended with append_ok": (
        "F004",
        "services.fare_v1.idle",
        WARNING,
        [
            fare('stats[["rating", "trips", "embedding"]], profile[["city", "age"]], priced, spare[["idle"]]'),
            d(FARE_DESCRIPTION, f'{FARE_DESCRIPTION} tags={{"append_ok": "true"}},'),
        ],
    ),
    "feature appended through a whole view": (
        "F004",
        "services.whole_v1.name",
        BREAKING,
        [
            d(
                'Field(name="tags", dtype=Array(String))',
                'Field(name="tags", dtype=Array(String)),\n        Field(name="name", dtype=String)',
            )
        ],
    ),
    "order within a view": (
        "F005",
        "services.fare_v1",
        BREAKING,
        [fare('stats[["trips", "rating", "embedding"]], profile[["city", "age"]], priced')],
    ),
    "order of views": (
        "F005",
        "services.fare_v1",
        BREAKING,
        [fare('profile[["city", "age"]], stats[["rating", "trips", "embedding"]], priced')],
    ),
    "order through a whole view": (
        "F005",
        "services.whole_v1",
        BREAKING,
        [
            d(
                'Field(name="city", dtype=String),\n        Field(name="age", dtype=Int64)',
                'Field(name="age", dtype=Int64),\n        Field(name="city", dtype=String)',
            )
        ],
    ),
    "whole view": (
        "F006",
        "services.fare_v1",
        WARNING,
        [fare('stats[["rating", "trips", "embedding"]], spare, profile[["city", "age"]], priced')],
    ),
    "alias": (
        "F007",
        "services.fare_v1.city",
        BREAKING,
        [fare('stats[["rating", "trips", "embedding"]], profile[["city", "age"]].with_name("payer"), priced')],
    ),
    "join key map": (
        "F007",
        "services.fare_v1",
        BREAKING,
        [
            fare(
                'stats[["rating", "trips", "embedding"]], profile[["city", "age"]].with_join_key_map({"customer_id": "payer_id"}), priced'
            ),
        ],
    ),
    "another entity's feature appended": (
        "F008",
        "services.whole_v1",
        BREAKING,
        [
            d(
                "features=[profile], description=",
                'features=[profile, stats[["rating"]]], tags={"append_ok": "true"}, description=',
            )
        ],
    ),
    "feature removed from a view": (
        "F010",
        "views.profile.tags",
        BREAKING,
        [d(',\n        Field(name="tags", dtype=Array(String)),', ",")],
    ),
    "unused feature removed": ("F010", "views.stats.unused", WARNING, [d('        Field(name="unused", dtype=Float64),\n', "")]),
    "feature added to a view": ("F011", "views.stats.more", INFO, [d(TRIPS, f'{TRIPS},\n        Field(name="more", dtype=Int64)')]),
    "feature renamed": (
        "F012",
        "views.stats.trips",
        BREAKING,
        [d(TRIPS, 'Field(name="rides", dtype=Int64)'), fare('stats[["rating", "rides", "embedding"]], profile[["city", "age"]], priced')],
    ),
    "unused feature renamed": ("F012", "views.spare.idle", WARNING, [d('name="idle"', 'name="idling"')]),
    "type changed": ("F013", "views.stats.trips", BREAKING, [d(TRIPS, 'Field(name="trips", dtype=String)')]),
    "type of an on-demand view's input": (
        "F013",
        "views.stats.rating",
        BREAKING,
        [d('Field(name="rating", dtype=Float32)', 'Field(name="rating", dtype=Float64)'), fare('stats[["trips", "embedding"]], priced')],
    ),
    "type changed with retype_ok": (
        "F013",
        "views.stats.trips",
        WARNING,
        [d(TRIPS, 'Field(name="trips", dtype=Float64)'), d(STATS_DESCRIPTION, f'{STATS_DESCRIPTION} tags={{"retype_ok": "true"}},')],
    ),
    "vector length": ("F014", "views.stats.embedding", BREAKING, [d("vector_length=4", "vector_length=8")]),
    "vector metric": ("F014", "views.stats.embedding", BREAKING, [d('vector_search_metric="L2"', 'vector_search_metric="COSINE"')]),
    "transformation's code": ("F015", "views.priced", WARNING, [d("* 1.5", "+ 1.5")]),
    "default of a feature": ("F015", "views.stats.trips", WARNING, [d(TRIPS, 'Field(name="trips", dtype=Int64, tags={"default": "0"})')]),
    "request data": ("F016", "views.priced", BREAKING, [d('Field(name="distance", dtype=Float64)', 'Field(name="distance", dtype=Int64)')]),
    "another input": (
        "F017",
        "views.priced",
        WARNING,
        [d('sources=[stats[["rating"]], asked]', 'sources=[stats[["trips"]], asked]'), d('inputs["rating"]', 'inputs["trips"]')],
    ),
    "join key": (
        "F020",
        "entities.driver",
        BREAKING,
        [
            d('join_keys=["driver_id"]', 'join_keys=["chauffeur_id"]'),
            d(STATS_TTL, STATS_TTL.replace("driver_id", "chauffeur_id")),
            d('schema=[Field(name="driver_id"', 'schema=[Field(name="chauffeur_id"'),
        ],
    ),
    "type of an entity": (
        "F021",
        "entities.driver",
        BREAKING,
        [
            d("value_type=ValueType.INT64", "value_type=ValueType.STRING"),
            d(STATS_TTL, STATS_TTL.replace('"driver_id", dtype=Int64', '"driver_id", dtype=String')),
            d('schema=[Field(name="driver_id", dtype=Int64)', 'schema=[Field(name="driver_id", dtype=String)'),
        ],
    ),
    "entities of a view": (
        "F022",
        "views.spare",
        BREAKING,
        [
            d(SPARE, SPARE.replace("[driver]", "[driver, customer]")),
            d(
                'schema=[Field(name="driver_id", dtype=Int64), Field(name="idle"',
                'schema=[Field(name="driver_id", dtype=Int64), Field(name="customer_id", dtype=String), Field(name="idle"',
            ),
        ],
    ),
    "entity removed": (
        "F023",
        "entities.customer",
        BREAKING,
        [
            d('customer = Entity(name="customer"', 'client = Entity(name="client"'),
            d("entities=[customer]", "entities=[client]"),
        ],
    ),
    "serialization of keys": (
        "F030",
        "stores.entity_key_serialization_version",
        BREAKING,
        [y("serialization_version: 3", "serialization_version: 2")],
    ),
    "project renamed": ("F031", "project", BREAKING, [y("project: rides", "project: drives")]),
    "type of the online store": (
        "F032",
        "stores.online_store",
        BREAKING,
        [y("  type: redis\n", "  type: sqlite\n  path: data/online.db\nnobody_reads:\n")],
    ),
    "database of the online store": ("F032", "stores.online_store", BREAKING, [y(",password=", ",db=3,password=")]),
    "taken offline": ("F033", "views.profile", BREAKING, [d("ttl=timedelta(days=30),", "ttl=timedelta(days=30), online=False,")]),
    "service of an offline view": (
        "F033",
        "services.idle_v1",
        BREAKING,
        [d(SPARE, SPARE + " online=False,"), d(WHOLE, f'{WHOLE}idle_v1 = FeatureService(name="idle_v1", features=[spare[["idle"]]])\n')],
    ),
    "input from an offline view": (
        "F033",
        "services.fare_v1",
        BREAKING,
        [
            d(SPARE, SPARE + " online=False,"),
            d('sources=[stats[["rating"]], asked]', 'sources=[stats[["rating"]], spare[["idle"]], asked]'),
        ],
    ),
    "disabled": ("F033", "views.profile", BREAKING, [d("ttl=timedelta(days=30),", "ttl=timedelta(days=30), enabled=False,")]),
    "view renamed": ("F034", "views.stats", BREAKING, [d('    name="stats",', '    name="statistics",')]),
    "unused view removed": ("F034", "views.spare", WARNING, [d('    name="spare",', '    name="sparely",')]),
    "pinned to a version": ("F035", "views.spare", BREAKING, [d(SPARE, SPARE + ' version="v0",')]),
    "ttl shortened": ("F040", "views.stats", WARNING, [ttl("timedelta(days=3)")]),
    "ttl shorter than the schedule": ("F040", "views.stats", BREAKING, [ttl("timedelta(hours=30)")]),
    "ttl extended": ("F041", "views.stats", WARNING, [ttl("timedelta(days=14)")]),
    "ttl for ever": ("F041", "views.stats", WARNING, [ttl("timedelta(0)")]),
    "ttl None": ("F042", "views.stats", BREAKING, [ttl("None")]),
    "ttl None of a new view": ("F042", "views.spare2", WARNING, [d(WHOLE, f"{SPARE2}{WHOLE}")]),
    "keys fade": ("F043", "stores.key_ttl_seconds", BREAKING, [y("key_ttl_seconds: 1000000", "key_ttl_seconds: 90000")]),
    "another file": ("F050", "sources.customers_file", WARNING, [d("data/customers.parquet", "data/clients.parquet")]),
    "another bucket": ("F050", "sources.customers_file", BREAKING, [d("data/customers.parquet", "s3://theirs/customers.parquet")]),
    "another source": (
        "F050",
        "sources.customers_file",
        WARNING,
        [d("source=trips_file,\n    schema=[Field", "source=customers_file,\n    schema=[Field")],
    ),
    "time of events": (
        "F051",
        "sources.trips_file",
        BREAKING,
        [d('timestamp_field="event_timestamp", created', 'timestamp_field="seen", created')],
    ),
    "time of writing": ("F051", "sources.trips_file", BREAKING, [d(', created_timestamp_column="created"', "")]),
    "mapping of columns": (
        "F051",
        "sources.customers_file",
        BREAKING,
        [d('customers.parquet", timestamp', 'customers.parquet", field_mapping={"town": "city"}, timestamp')],
    ),
    "kind of a source": (
        "F052",
        "sources.customers_file",
        WARNING,
        [
            d(
                'customers_file = FileSource(name="customers_file", path="data/customers.parquet",',
                "from feast.infra.offline_stores.contrib.postgres_offline_store.postgres_source import PostgreSQLSource\n"
                'customers_file = PostgreSQLSource(name="customers_file", table="customers",',
            )
        ],
    ),
    "column that the source lacks": (
        "F053",
        "views.spare",
        BREAKING,
        [d('Field(name="idle", dtype=Int64)', 'Field(name="idle", dtype=Int64), Field(name="mood", dtype=String)')],
    ),
    "description": ("F060", "views.stats", INFO, [d("Of every driver.", "Of each driver.")]),
    "owner": ("F060", "entities.customer", INFO, [d('description="Who pays.", owner="sales"', 'description="Who pays.", owner="finance"')]),
    "undocumented": (
        "F061",
        "services.fare_v2",
        WARNING,
        [d(WHOLE, f'{WHOLE}fare_v2 = FeatureService(name="fare_v2", features=[stats[["rating"]]])\n')],
    ),
    "bad name": (
        "F062",
        "services.FareV2",
        WARNING,
        [d(WHOLE, f'{WHOLE}fare_v2 = FeatureService(name="FareV2", features=[stats[["rating"]]])\n')],
    ),
    "bad name of a feature": (
        "F062",
        "views.stats.idle-hours",
        WARNING,
        [d(TRIPS, f'{TRIPS},\n        Field(name="idle-hours", dtype=Int64)')],
    ),
    "name of a feature in other case": (
        "F062",
        "views.stats.Trips",
        BREAKING,
        [d(TRIPS, f'{TRIPS},\n        Field(name="Trips", dtype=Int64)')],
    ),
    "unversioned service": (
        "F065",
        "services.fare",
        WARNING,
        [d(WHOLE, f'{WHOLE}fare = FeatureService(name="fare", features=[stats[["rating"]]])\n')],
    ),
}

UNKNOWN_TO_STOCK = {"F030", "F031", "F032", "F042", "F043", "F006"}
"""What a registry that stock Feast wrote does not tell: found against git, and against registries that our apply wrote."""


@pytest.mark.parametrize("case", CASES)
def test_stock_feast_applies_the_edit_and_the_gate_finds_it(case, edited, base, registered, findings):
    rule, place, severity, edits = CASES[case]
    edited.edit(*edits)
    new = edited.snapshot()
    problems = edited.source_problems() if rule == "F053" else ()
    found = findings(base, new, source_problems=problems)
    assert found.get((rule, place)) == severity, found
    code, raised = edited.feast_apply()
    assert code == 0, f"stock Feast finds it too:\n{raised}"
    if rule in UNKNOWN_TO_STOCK:
        return
    live = findings(registered, new, source_problems=problems)
    assert live.get((rule, place)) == severity, f"against the registry of stock Feast: {live}"


def test_a_view_of_another_kind_is_named(copied, base, findings):
    copied["views"]["spare"]["kind"] = "stream"
    assert findings(base, Snapshot(contract=copied))["F035", "views.spare"] == BREAKING


def test_a_new_minor_version_of_feast_is_told(base, findings):
    older = replace(base, contract=base.contract | {"feast_version": "0.66"})
    assert findings(older, base) == {("F064", "feast_version"): WARNING}


def test_every_rule_has_a_test():
    assert {rule for rule, *_ in CASES.values()} | {"F063", "F064"} == set(RULES)


def test_the_documentation_has_the_table_of_the_rules(repository):
    page = (repository / "docs" / "changing-features.md").read_text()
    assert page == reference.written_into(page), "python -m feature_runtime.gate.reference docs/changing-features.md"
    assert set(re.findall(r"^\| (F\d{3}) \|", page, re.MULTILINE)) == set(RULES)


def test_every_code_of_a_waiver_is_documented(repository):
    page = (repository / "docs" / "changing-features.md").read_text()
    for code in ("W001", "W002", "W003", "W004"):
        assert code in page


def test_nothing_changed_is_no_finding(base, registered, findings, edited):
    assert findings(base, base) == {}
    assert findings(base, edited.snapshot()) == {}
    assert findings(registered, base) == {}


def test_a_first_deployment_breaks_nothing(base, findings):
    assert BREAKING not in findings(Snapshot(), base).values()


def test_a_first_deployment_breaks_nobody_whatever_names_and_ttls_it_has(edited, findings):
    named = d(TRIPS, f'{TRIPS},\n        Field(name="Trips", dtype=Int64),\n        Field(name="mean radius (cm)", dtype=Int64)')
    service = d(WHOLE, f'{WHOLE}fare_v2 = FeatureService(name="Fare-V2", features=[stats[["rating"]]])\n')
    new = edited.edit(ttl("None"), named, service, d('name="trips_file"', 'name="data/Trips 1.parquet"')).snapshot()
    found = findings(Snapshot(), new)
    assert BREAKING not in found.values()
    named = {place for rule, place in found if rule == "F062"}
    assert named == {"services.Fare-V2", "views.stats.Trips", "views.stats.trips", "views.stats.mean radius (cm)"}
    assert found["F042", "views.stats"] == WARNING
    assert not {rule for rule, _ in findings(new, new)} & {"F062", "F042"}


def test_no_name_of_a_source_breaks_anybody(edited, base, findings):
    found = findings(base, edited.edit(d('name="trips_file"', 'name="data/Trips 1.parquet"')).snapshot())
    assert BREAKING not in found.values()


@pytest.mark.parametrize(
    ("since", "severity"),
    [("2020-01-01", WARNING), ((datetime.now(UTC).date() - timedelta(days=3)).isoformat(), BREAKING), ("long ago", BREAKING)],
)
def test_a_service_that_was_deprecated_long_enough_may_go(base, copied, findings, since, severity):
    copied["services"]["whole_v1"]["tags"] = {"deprecated_at": since}
    removed = {**base.contract, "services": {"fare_v1": base.contract["services"]["fare_v1"]}}
    assert findings(Snapshot(contract=copied), Snapshot(contract=removed))["F001", "services.whole_v1"] == severity


@pytest.mark.parametrize("holder", [("on_demand_views", "priced"), ("services", "fare_v1")])
def test_other_code_breaks_who_is_not_trained_again(edited, copied, findings, holder):
    copied[holder[0]][holder[1]]["tags"] = {"training_frozen": "true"}
    new = edited.edit(d("* 1.5", "+ 1.5")).snapshot()
    assert findings(Snapshot(contract=copied), new)["F015", "views.priced"] == BREAKING


def test_comments_and_layout_of_a_transformation_are_not_its_code(edited, base, findings):
    edited.edit(d("    out = pd.DataFrame()\n", "    # Distance times rate.\n\n    out = pd.DataFrame( )\n"))
    assert findings(base, edited.snapshot()) == {}


OFFLINE = (
    SPARE.replace("spare", "history")
    + """
    online=False,
    source=trips_file,
    schema=[Field(name="driver_id", dtype=Int64), Field(name="ages_ago", dtype=Int64)],
)
"""
)


def test_a_new_service_of_a_view_that_never_was_online_breaks_nobody(edited, base, findings):
    service = 'history_v1 = FeatureService(name="history_v1", features=[history[["ages_ago"]]])\n'
    found = findings(base, edited.edit(d(SPARE, OFFLINE + SPARE), d(WHOLE, WHOLE + service)).snapshot())
    assert BREAKING not in found.values()
    grown = edited.edit(fare('stats[["rating", "trips", "embedding"]], profile[["city", "age"]], priced, history[["ages_ago"]]'))
    assert findings(base, grown.snapshot())["F033", "services.fare_v1"] == BREAKING


def test_a_view_that_somebody_counts_on_is_in_use_though_no_service_has_it(copied, base, findings):
    copied["views"]["spare"]["tags"] = {"lifecycle": "production"}
    views = {name: view for name, view in base.contract["views"].items() if name != "spare"}
    assert findings(Snapshot(contract=copied), Snapshot(contract=base.contract | {"views": views}))["F034", "views.spare"] == BREAKING


COMPUTED = 'priced_v1 = FeatureService(name="priced_v1", features=[priced], description="A price.", owner="pricing")\n'
INPUTS = 'sources=[stats[["rating"]], asked]'


@pytest.mark.parametrize(
    "inputs",
    [
        'sources=[stats[["rating"]], profile[["age"]], asked]',
        'sources=[stats[["rating"]].with_join_key_map({"driver_id": "chauffeur_id"}), asked]',
    ],
    ids=["another entity", "another name of the key"],
)
def test_an_on_demand_view_that_starts_or_stops_to_need_a_key_breaks_who_asks_for_it(edited, findings, inputs):
    one_use = fare('stats[["rating", "trips", "embedding"]], profile[["city", "age"]]')
    before = edited.edit(one_use, d(WHOLE, WHOLE + COMPUTED)).snapshot()
    after = edited.edit(d(INPUTS, inputs)).snapshot()
    code, raised = edited.feast_apply()
    assert code == 0, f"stock Feast finds it too:\n{raised}"
    breaking = {("F008", "services.priced_v1")}
    for old, new in ((before, after), (after, before), (edited.registered(), before)):
        found = findings(old, new)
        assert {place for place, severity in found.items() if severity == BREAKING} == breaking, found


def test_what_an_on_demand_view_reads_by_another_key_means_something_else(edited, findings):
    inputs = INPUTS.replace(", asked", '.with_join_key_map({"driver_id": "chauffeur_id"}), asked')
    before = edited.edit(fare('stats[["rating"]]')).snapshot()
    assert findings(before, edited.edit(d(INPUTS, inputs)).snapshot()) == {("F017", "views.priced"): WARNING}


def test_permissions_may_go_since_nothing_enforced_them(base, findings):
    before = replace(base, contract=base.contract | {"permissions": {"readers": {"actions": ["READ_ONLINE"]}}})
    assert findings(before, base) == {("F063", "permissions.readers"): INFO}


def test_permissions_that_stock_feast_applied_are_found_in_the_registry(edited, findings, base):
    code, raised = edited.edit(d(WHOLE, WHOLE + PERMISSION)).feast_apply()
    assert code == 0, raised
    assert findings(edited.registered(), base)["F063", "permissions.readers"] == INFO


def test_an_old_revision_may_have_permissions(edited, findings, base):
    before = edited.edit(d(WHOLE, WHOLE + PERMISSION)).directory
    contract = contract_of_definitions(before, load_definitions(before, only_compared=True))
    assert findings(replace(base, contract=contract), base) == {("F063", "permissions.readers"): INFO}


def test_a_project_that_another_one_of_the_registry_would_double_is_named(base, findings):
    found = findings(Snapshot(other_projects={"rides_old": frozenset({"stats"}), "other": frozenset({"x"})}), base)
    assert found["F031", "project"] == BREAKING


def test_what_waits_for_a_deprecation_in_words_is_not_deprecated(base, findings):
    assert findings(base, replace(base, contract=base.contract | {"services": {}}))["F001", "services.fare_v1"] == BREAKING
