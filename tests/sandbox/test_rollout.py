"""What `make up` shows of the engine's events."""

from sandbox.rollout import Watch

STACK = "urn:pulumi:local::feast-eks::pulumi:pulumi:Stack::feast-eks-local"
PARENT = "urn:pulumi:local::feast-eks::feast-eks:index:FeatureStore$feast-eks:index:Registry"
JOB = f"{PARENT}$kubernetes:batch/v1:Job::feature-definitions-apply"
SECRET = f"{PARENT}$kubernetes:core/v1:Secret::feast-redis-auth"


def begins(urn, op="create"):
    return {"resourcePreEvent": {"metadata": {"op": op, "urn": urn}}}


def ends(urn, op="create"):
    return {"resOutputsEvent": {"metadata": {"op": op, "urn": urn}}}


def says(urn, message, severity="info", *, ephemeral=True):
    return {"diagnosticEvent": {"urn": urn, "message": message, "severity": severity, "ephemeral": ephemeral}}


def test_it_names_what_is_waited_for_and_why():
    watch = Watch()
    watch.take(begins(STACK))
    watch.take(begins(SECRET))
    watch.take(begins(JOB))
    assert watch.take(says(JOB, "0 of 1 pods succeeded\n")) == ("0 resources done · Job feature-definitions-apply: 0 of 1 pods succeeded")
    watch.take(ends(JOB))
    assert watch.take(says(JOB, "too late")) == "1 resources done · Secret feast-redis-auth"


def test_what_only_holds_others_is_not_waited_for():
    watch = Watch()
    assert watch.take(begins(STACK)) == "0 resources"


def test_unchanged_and_refreshed_resources_are_quiet():
    watch = Watch()
    assert watch.take(begins(JOB, "refresh")) == "0 resources"
    assert watch.take(ends(JOB, "refresh")) == "0 resources"
    assert watch.take(begins(JOB, "same")) == "0 resources"


def test_errors_are_kept_with_the_name_of_their_resource_and_without_markup():
    watch = Watch()
    watch.take(says(JOB, "<{%fg 1%}>Job failed:\n  no_such_column<{%reset%}>\n", "error", ephemeral=False))
    watch.take(says(STACK, "update failed", "error", ephemeral=False))
    assert watch.errors == ["Job feature-definitions-apply: Job failed:", "  no_such_column", "update failed"]


def test_the_outcome_counts_in_words():
    watch = Watch()
    watch.take({"summaryEvent": {"resourceChanges": {"create": 2, "replace": 1, "same": 80}}})
    assert watch.outcome == "2 created, 1 replaced, 80 unchanged"
    watch.take({"summaryEvent": {"resourceChanges": {"same": 83}}})
    assert watch.outcome == "no changes, 83 unchanged"
