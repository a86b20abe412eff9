"""The quota role's pod: no privilege at all."""

from __future__ import annotations

from tests.charts.rendering import NAMESPACE, RELEASE, SHAPES, container, environment, objects, quota_pod, settings, the


def test_it_keeps_to_the_restricted_profile() -> None:
    """No PIDs, no hostPath, no capability: the Pod Security level *restricted* admits it."""
    pod = quota_pod()

    assert pod.keys().isdisjoint({"hostPID", "hostNetwork", "hostIPC", "volumes"})
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["securityContext"]["runAsNonRoot"]
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_it_asks_for_no_gpu_in_any_way() -> None:
    """Neither variables nor mounts nor annotations of the node role reach it."""
    values = {"gpuAccess": "cdi", "mig": {"enabled": True}, "hostDriver": {"privileged": True}}
    deployment = the("Deployment", values, name=f"{RELEASE}-quota")

    assert all(name.startswith("VGPU_EXPORTER_") for name in environment(quota_pod(values)))
    assert "annotations" not in deployment["spec"]["template"]["metadata"]
    assert "add" not in container(quota_pod(values))["securityContext"]["capabilities"]


def test_its_probes_and_ports_are_those_of_the_node_role() -> None:
    """One way to watch both."""
    one = container(quota_pod())

    assert {port["name"]: port["containerPort"] for port in one["ports"]} == {"metrics": 9836, "health": 9837}
    assert one["livenessProbe"]["httpGet"] == one["readinessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}


def test_what_the_user_sets_arrives() -> None:
    """The tenants' label and HAMi's ConfigMap."""
    told = settings(quota_pod({"quota": {"tenantLabel": "example.com/team", "hamiConfig": "hami/device"}}))

    assert told.tenant_label == "example.com/team"  # type: ignore[union-attr]
    assert told.hami_config == ("hami", "device")  # type: ignore[union-attr]


def test_alone_it_leaves_nothing_of_the_node_role_behind() -> None:
    """Quota only: one workload, one account, one set of permissions."""
    values = SHAPES["quota-only"]

    assert objects("DaemonSet", values) == []
    for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Service", "PodMonitor"):
        [one] = objects(kind, values)
        assert one["metadata"]["name"] == f"{RELEASE}-quota"
    [policy] = objects("NetworkPolicy", values)
    assert policy["spec"]["podSelector"]["matchExpressions"][0]["values"] == ["quota"]
    assert policy["metadata"]["namespace"] == NAMESPACE
