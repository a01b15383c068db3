"""Charts rendered for a cluster by whoever previews a pull request: what they look up, and with which rights that works."""

import re
import textwrap
from pathlib import Path

import pytest
import yaml

from tests.sandbox.charts import Helm, production_values_of
from tests.sandbox.data_stores import Stores, restricted_namespace
from tests.waiting import wait_until

PAGE = Path(__file__).resolve().parents[2] / "docs" / "pull-requests.md"
NAMESPACE = "chart-lookups"
GROUP = "chart-lookups-previewers"
PASSWORDS = {"postgres-password": "a", "password": "b", "replication-password": "c"}


def documented_role() -> dict:
    """The Role of previews as the page has it."""
    (role,) = (
        document
        for block in re.findall(r"^ *```yaml\n(.*?)^ *```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        for document in yaml.safe_load_all(textwrap.dedent(block))
        if document.get("kind") == "Role" and document["metadata"]["name"] == "feast-eks-preview"
    )
    return role


class Previews(Stores):
    """Renders the charts with the rights of a group that has `view` and one Role."""

    def may_get(self, *secrets: str) -> None:
        role = documented_role()
        role["metadata"] |= {"namespace": self.namespace}
        role["rules"][0]["resourceNames"] = list(secrets)
        self.apply(role)
        can = ("auth", "can-i", "get", "--as=previewer", f"--as-group={GROUP}")
        for secret in SECRETS:  # a change of rights takes a moment
            answer = "yes" if secret in secrets else "no"
            wait_until(lambda name=secret, said=answer: self.kubectl(*can, f"secret/{name}", check=False).startswith(said), secret)

    def render(self, chart: str):
        helm = Helm(self._cloud, self.namespace)
        return helm.template(chart, production_values_of(chart), "--dry-run=server", "--kube-as-user=previewer", f"--kube-as-group={GROUP}")


SECRETS = documented_role()["rules"][0]["resourceNames"]


@pytest.fixture(scope="module")
def previews(cloud):
    """A namespace with the Secrets of the stores, in which the group may look at what is no Secret."""
    with restricted_namespace(Previews(cloud, NAMESPACE)) as cluster:
        subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": GROUP}]
        reference = {"apiGroup": "rbac.authorization.k8s.io"}
        bindings = [
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "RoleBinding",
                "metadata": {"name": name, "namespace": NAMESPACE},
                "roleRef": reference | {"kind": kind, "name": name},
                "subjects": subjects,
            }
            for kind, name in (("ClusterRole", "view"), ("Role", documented_role()["metadata"]["name"]))
        ]
        passwords = [cluster.secret("feast-postgresql-auth", PASSWORDS), cluster.secret("feast-redis-auth", {"redis-password": "d"})]
        cluster.apply(*passwords, *bindings)
        yield cluster


@pytest.mark.parametrize("chart", ["redis", "postgresql"])
def test_the_documented_rights_of_previews_suffice(previews, chart):
    previews.may_get(*SECRETS)
    rendered = previews.render(chart)
    assert rendered.returncode == 0, rendered.stderr


@pytest.mark.parametrize("secret", SECRETS)
def test_without_one_of_them_no_preview_shows_postgresql(previews, secret):
    """As with the real chart, which looks up a Secret of its own name though the values name another."""
    previews.may_get(*(each for each in SECRETS if each != secret))
    refused = previews.render("postgresql")
    assert refused.returncode != 0
    assert f'secrets "{secret}" is forbidden' in refused.stderr
    assert previews.render("redis").returncode == 0, "the Redis chart looks up no Secret"


def test_a_secret_that_lacks_a_password_is_refused_with_its_key(previews):
    previews.may_get(*SECRETS)
    previews.kubectl(
        "patch", "secret", "feast-postgresql-auth", "--type=json", "-p", '[{"op": "remove", "path": "/data/replication-password"}]'
    )
    refused = previews.render("postgresql")
    assert 'the secret "feast-postgresql-auth" does not contain the key "replication-password"' in refused.stderr
