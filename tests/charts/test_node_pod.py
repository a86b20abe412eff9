"""The node role's pods: as little as they need, the GPU by each of four ways, the lesser modes."""

from __future__ import annotations

import pytest

from exporter.config import HAMI_CONTAINERS
from exporter.sources.driver import LIBRARY_PATHS
from tests.charts.rendering import SHAPES, Json, container, environment, node_pod, settings, the

WAYS = ("env", "volumeMounts", "cdi", "hostDriver")


def of_the_runtime(pod: Json) -> dict[str, str]:
    """Return the variables that are no settings of ours: what NVIDIA's container runtime is told."""
    return {name: text for name, text in environment(pod).items() if not name.startswith("VGPU_EXPORTER_")}


def mounts(pod: Json) -> dict[str, str]:
    """Return the host's paths that the container sees, by where it sees them."""
    paths = {volume["name"]: volume["hostPath"]["path"] for volume in pod.get("volumes", []) if "hostPath" in volume}
    found = {mount["mountPath"]: paths.get(mount["name"]) for mount in container(pod).get("volumeMounts", [])}
    return {inside: outside for inside, outside in found.items() if outside}


def annotated(values: Json) -> dict[str, str]:
    """Return the annotations of the pods."""
    found: dict[str, str] = the("DaemonSet", values)["spec"]["template"]["metadata"].get("annotations", {})
    return found


def test_it_goes_beyond_the_restricted_profile_in_two_points_only() -> None:
    """The host's PIDs and one read-only directory; nothing else that Pod Security calls privileged or baseline."""
    pod = node_pod()
    context = pod["securityContext"] | container(pod)["securityContext"]

    assert pod["hostPID"] is True
    assert mounts(pod) == {"/usr/local/vgpu": "/usr/local/vgpu"}
    assert pod.keys().isdisjoint({"hostNetwork", "hostIPC", "initContainers"})
    assert all("hostPort" not in port for port in container(pod)["ports"])
    assert context == {
        "runAsNonRoot": True,
        "runAsUser": 65534,
        "runAsGroup": 65534,
        "fsGroup": 65534,
        "seccompProfile": {"type": "RuntimeDefault"},
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_kubelet_asks_the_health_port_whether_the_process_lives() -> None:
    """Both probes: neither a broken driver nor TLS and passwords must fail them."""
    one = container(node_pod())
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}

    assert ports == {"metrics": 9836, "health": 9837}
    for probe in (one["livenessProbe"], one["readinessProbe"]):
        assert probe["httpGet"] == {"path": "/healthz", "port": "health"}


def test_a_rollout_takes_a_tenth_of_the_nodes_at_a_time() -> None:
    """A thousand nodes are updated in ten steps, not in a thousand."""
    strategy = the("DaemonSet")["spec"]["updateStrategy"]

    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "10%"}}


def test_the_pod_knows_its_node_and_nothing_of_the_services() -> None:
    """The node's name is of the downward API; no variable tells of other Services."""
    pod = node_pod()
    [name] = (one for one in container(pod)["env"] if one["name"] == "NODE_NAME")

    assert name["valueFrom"] == {"fieldRef": {"fieldPath": "spec.nodeName"}}
    assert pod["enableServiceLinks"] is False


# ---------------------------------------------------------------- the driver


def test_env_asks_the_runtime_for_all_gpus_and_the_driver_library_alone() -> None:
    """`utility` is NVML; no CUDA library is mounted."""
    assert of_the_runtime(node_pod()) == {"NVIDIA_VISIBLE_DEVICES": "all", "NVIDIA_DRIVER_CAPABILITIES": "utility"}


def test_volume_mounts_ask_by_a_mount() -> None:
    """As NVIDIA's device plugin asks a toolkit that does not believe the variable."""
    pod = node_pod({"gpuAccess": "volumeMounts"})

    assert mounts(pod)["/var/run/nvidia-container-devices/all"] == "/dev/null"
    assert environment(pod)["NVIDIA_VISIBLE_DEVICES"] == "/var/run/nvidia-container-devices"


def test_cdi_asks_by_annotations_alone() -> None:
    """A runtime's and that of NVIDIA's NRI plugin, which names the container."""
    values = {"gpuAccess": "cdi"}

    assert annotated(values) == {
        "cdi.k8s.io/vgpu-tenant-exporter": "nvidia.com/gpu=all",
        f"nvidia.cdi.k8s.io/container.{container(node_pod(values))['name']}": "nvidia.com/gpu=all",
    }
    assert of_the_runtime(node_pod(values)) == {}


def test_the_host_driver_comes_to_a_place_where_the_program_looks() -> None:
    """One directory, not the host's whole root; and no privilege that nobody asked for."""
    pod = node_pod({"gpuAccess": "hostDriver", "hostDriver": {"libraryDir": "/opt/driver/lib"}})
    [inside] = (inside for inside, outside in mounts(pod).items() if outside == "/opt/driver/lib")

    assert f"{inside}/libnvidia-ml.so.1" in LIBRARY_PATHS
    assert "privileged" not in container(pod)["securityContext"]


def test_a_privileged_host_driver_is_privileged_and_still_nobody() -> None:
    """Kubernetes refuses `privileged` with privilege escalation ruled out; the uid stays."""
    pod = node_pod({"gpuAccess": "hostDriver", "hostDriver": {"privileged": True}})
    context = container(pod)["securityContext"]

    assert (context["privileged"], context["allowPrivilegeEscalation"]) == (True, True)
    assert context["readOnlyRootFilesystem"]
    assert pod["securityContext"]["runAsUser"] == 65534


@pytest.mark.parametrize("way", WAYS)
def test_only_a_privileged_host_driver_is_privileged(way: str) -> None:
    """The switch of one mode does not reach into the others."""
    if way != "hostDriver":
        values = {"gpuAccess": way, "hostDriver": {"privileged": True}}
        assert container(node_pod(values))["securityContext"]["allowPrivilegeEscalation"] is False


def test_mig_adds_one_capability_and_its_variable() -> None:
    """SYS_ADMIN is what the toolkit wants to see; everything else stays dropped."""
    pod = node_pod({"mig": {"enabled": True}})

    assert container(pod)["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["SYS_ADMIN"]}
    assert environment(pod)["NVIDIA_MIG_MONITOR_DEVICES"] == "all"
    assert "add" not in container(node_pod())["securityContext"]["capabilities"]


# ---------------------------------------------------------------- HAMi's regions, the host's PIDs


def test_regions_come_to_where_the_program_looks_whatever_their_path_on_the_host() -> None:
    """HAMi's `gpuHookPath` changes the host's path only; both directories lie below the mount."""
    pod = node_pod({"hamiPath": "/opt/hami/vgpu"})

    assert mounts(pod) == {"/usr/local/vgpu": "/opt/hami/vgpu"}
    assert all(path.startswith("/usr/local/vgpu/") for path in HAMI_CONTAINERS)
    assert settings(pod).hami_containers == HAMI_CONTAINERS  # type: ignore[union-attr]


def test_the_lesser_mode_needs_nothing_of_the_host() -> None:
    """Without the host's PIDs and HAMi's directory there is no hostPath, and the program does not look for regions."""
    pod = node_pod(SHAPES["node-only"])

    assert pod["hostPID"] is False
    assert "volumes" not in pod
    assert settings(pod).hami_containers == ()  # type: ignore[union-attr]


# ---------------------------------------------------------------- values that go through


def test_what_the_user_sets_arrives() -> None:
    """Runtime class, priority, tolerations, node selector, environment, volumes, flags, image."""
    pod = node_pod(
        {
            "runtimeClassName": "nvidia",
            "priorityClassName": "system-node-critical",
            "tolerations": [{"operator": "Exists"}],
            "nodeSelector": {"gpu": None, "pool": "a"},
            "affinity": {"nodeAffinity": {}},
            "extraEnv": [{"name": "A", "value": "b"}],
            "extraArgs": ["--log-level=debug"],
            "extraVolumes": [{"name": "x", "emptyDir": {}}],
            "extraVolumeMounts": [{"name": "x", "mountPath": "/x"}],
            "imagePullSecrets": [{"name": "s"}],
            "global": {"imagePullSecrets": [{"name": "t"}], "imageRegistry": "registry.example"},
            "image": {"digest": "sha256:" + "0" * 64},
            "interval": "2s",
            "tenantPodLabel": "example.com/team",
            "podLabelAllowList": ["a", "b/c"],
        }
    )
    told = settings(pod)

    assert (pod["runtimeClassName"], pod["priorityClassName"]) == ("nvidia", "system-node-critical")
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "a"}
    assert pod["affinity"] == {"nodeAffinity": {}}
    assert pod["imagePullSecrets"] == [{"name": "s"}, {"name": "t"}]
    assert environment(pod)["A"] == "b"
    assert container(pod)["volumeMounts"][-1] == {"name": "x", "mountPath": "/x"}
    assert container(pod)["image"] == f"registry.example/vgpu-tenant-exporter@sha256:{'0' * 64}"
    assert (told.interval, told.pod_labels, told.log_level) == (2, ("a", "b/c"), "debug")  # type: ignore[union-attr]


def test_a_default_of_kubernetes_own_maps_can_be_dropped() -> None:
    """OpenShift chooses uid and groups: null takes ours away, and nothing fills them in again."""
    pod = node_pod(SHAPES["openshift"])

    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
