"""What is told of a deployment: allowed names only, and never a secret."""

from delivery.outputs import summary


def test_only_what_is_on_the_list_is_told():
    text = summary("prod", {"namespace": "feast", "redis_password": "correcthorse", "registry_secret": "feast-postgresql-auth"})
    assert "- namespace: `feast`" in text
    assert "correcthorse" not in text
    assert "registry_secret" not in text


def test_an_output_that_became_secret_is_left_out():
    assert "feature_server_url" not in summary("prod", {"feature_server_url": "[secret]"})


def test_services_are_told_by_size_and_contract():
    text = summary("prod", {"feature_services": {"model_v1": {"features": [["a", "Int64"]], "sha256": "5de61d8994b5909b"}}})
    assert "- serves `model_v1`: 1 feature, contract `5de61d8994b5`" in text


def test_odd_outputs_raise_nothing():
    assert summary("prod", {"feature_services": [1], "namespace": {"a": "`@x`"}})
