"""Who may do what: permissions in Kubernetes, accounts, the network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.charts.rendering import NAMESPACE, RELEASE, node_pod, objects, quota_pod, rendered, the

if TYPE_CHECKING:
    from tests.charts.rendering import Json

QUOTA = f"{RELEASE}-quota"


def permissions(role: Json) -> set[tuple[str, str]]:
    """Return every verb and resource of a role, all of the core API group."""
    assert all(rule["apiGroups"] == [""] for rule in role["rules"])
    return {(verb, resource) for rule in role["rules"] for verb in rule["verbs"] for resource in rule["resources"]}


def test_the_node_role_may_watch_pods_and_read_nodes() -> None:
    """Nothing that changes anything, and no Secret."""
    assert permissions(the("ClusterRole")) == {("list", "pods"), ("watch", "pods"), ("get", "nodes")}


def test_the_quota_role_may_watch_pods_namespaces_and_quotas() -> None:
    """A kind that it could not list would blind one source; anything more would be too much."""
    kinds = ("pods", "namespaces", "resourcequotas")

    assert permissions(the("ClusterRole", name=QUOTA)) == {(verb, kind) for verb in ("list", "watch") for kind in kinds}


def test_the_quota_role_reads_one_config_map_if_it_is_told_to() -> None:
    """That ConfigMap by name, in its own namespace; without the value there is no such role."""
    values = {"quota": {"hamiConfig": "hami-system/device"}}
    [role], [binding] = objects("Role", values), objects("RoleBinding", values)

    assert role["metadata"]["namespace"] == binding["metadata"]["namespace"] == "hami-system"
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["device"], "verbs": ["get"]}
    ]
    assert binding["subjects"][0]["namespace"] == NAMESPACE
    assert objects("Role") == objects("RoleBinding") == []


def test_each_role_has_an_account_of_its_own_with_its_own_permissions() -> None:
    """The binding, the account and the pod name the same one; the token is mounted by the pod's own word only."""
    for name, pod in ((RELEASE, node_pod()), (QUOTA, quota_pod())):
        binding = the("ClusterRoleBinding", name=name)
        assert binding["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}]
        assert binding["roleRef"]["name"] == name
        assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == (name, True)
        assert the("ServiceAccount", name=name)["automountServiceAccountToken"] is False


@pytest.mark.parametrize(("given", "expected"), [({"name": "mine"}, "mine"), ({"create": False}, "default")])
def test_a_users_own_account_is_bound_and_none_is_made(given: Json, expected: str) -> None:
    """Neither a named account nor the namespace's default is the chart's to make."""
    values = {"serviceAccount": given, "quota": {"enabled": False}}

    assert objects("ServiceAccount", values) == []
    assert node_pod(values)["serviceAccountName"] == expected
    assert the("ClusterRoleBinding", values)["subjects"][0]["name"] == expected


def test_without_rbac_there_are_no_roles() -> None:
    """Whoever manages permissions elsewhere gets none from here."""
    kinds = {one["kind"] for one in rendered({"rbac": {"create": False}, "quota": {"hamiConfig": "a/b"}})}

    assert kinds.isdisjoint({"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"})


# ---------------------------------------------------------------- the network


def peers(port: int, values: Json | None = None) -> list[Any]:
    """Return who may reach a port: None for a rule without peers, which is everybody."""
    rules = the("NetworkPolicy", values)["spec"]["ingress"]
    return [rule.get("from") for rule in rules if {"port": port, "protocol": "TCP"} in rule["ports"]]


def monitoring(*names: str) -> Json:
    """Return the peer that is all pods of these namespaces."""
    named = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": [*names]}
    return {"namespaceSelector": {"matchExpressions": [named]}}


def test_only_the_monitoring_namespace_may_scrape() -> None:
    """On by default, for both roles; what the pods themselves reach is left open."""
    policy = the("NetworkPolicy")["spec"]

    assert peers(9836) == [[monitoring("monitoring")]]
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/name": "vgpu-tenant-exporter",
        "app.kubernetes.io/instance": RELEASE,
    }
    assert policy["podSelector"]["matchExpressions"] == [
        {"key": "app.kubernetes.io/component", "operator": "In", "values": ["node", "quota"]}
    ]


def test_the_health_port_is_open() -> None:
    """The kubelet and `helm test` have no address that a policy could name."""
    assert peers(9837) == [None]


def test_further_peers_may_scrape_if_they_are_named() -> None:
    """Other namespaces, and anything that a NetworkPolicy can say."""
    extra = {"ipBlock": {"cidr": "10.0.0.0/8"}}
    values = {"networkPolicy": {"monitoringNamespaces": ["a", "b"], "extraFrom": [extra]}}

    assert peers(9836, values) == [[monitoring("a", "b"), extra]]


def test_nobody_named_is_nobody() -> None:
    """A rule with an empty list of peers would admit everybody."""
    assert peers(9836, {"networkPolicy": {"monitoringNamespaces": []}}) == []


def test_the_policy_can_be_left_out() -> None:
    """Then the namespace's own rules hold."""
    assert objects("NetworkPolicy", {"networkPolicy": {"enabled": False}}) == []
