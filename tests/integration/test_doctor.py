"""The command `doctor` as a child process, among a real driver library, API server, procfs tree and Prometheus' API."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from typing_extensions import override

from tests.cache_files import CacheFile, Slot, put
from tests.fake_driver import Code, FakeGpu, FakeMemory, FakeProcess
from tests.make import GIB, NODE, cgroup, uid
from tests.program import ROOT
from tests.prometheus_api import PrometheusApi
from tests.quota_world import quota
from tests.world import World, manifest, node

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B = ("GPU-00000000-0000-0000-0000-00000000000" + digit for digit in "ab")
HOST_INIT = "0::/../../../init.scope\n"
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23 03:00:00 UTC 2026\n"
REGISTERED = f'[{{"id":"{A}","index":0,"count":10,"devmem":144384,"devcore":100,"mode":"hami-core","health":true}}]'


@dataclass(frozen=True)
class Diagnosis:
    """What the command printed and how it ended."""

    code: int
    out: str
    err: str

    @property
    def steps(self) -> dict[str, dict[str, str]]:
        """The steps by name, in order."""
        return {step["name"]: step for step in json.loads(self.out)["steps"]}

    @property
    def failing(self) -> list[str]:
        """The names of the steps that failed."""
        return [name for name, step in self.steps.items() if step["verdict"] == "fail"]

    def says(self, name: str) -> tuple[str, str, str]:
        """Return verdict, what was found and the advice of one step."""
        step = self.steps[name]
        return step["verdict"], step["found"], step["advice"]


def doctor(world: World, *flags: str, as_json: bool = True, **environment: str) -> Diagnosis:
    """Run it in that world; `flags` go before the world's own, also the repeatable ones."""
    usual = {
        "--node-name": NODE,
        "--procfs": world.proc.root,
        "--kubeconfig": world.kubeconfig,
        "--hami-containers": world.containers,
        "--health-listen": "",
        "--timeout": 5,
    }
    given = {flag.partition("=")[0] for flag in flags}
    command = [
        *(sys.executable, str(ROOT / "tests" / "doctor_program.py"), world.driver.library, *flags),
        *(f"{name}={value}" for name, value in usual.items() if name not in given),
    ]
    return run([*command, "--json"] if as_json else command, **environment)


def run(command: list[str], **environment: str) -> Diagnosis:
    """Run a command in an environment that says nothing of NVIDIA or of the exporter."""
    hidden = ("KUBERNETES_", "VGPU_", "NVIDIA_", "NODE_NAME")
    outside = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env=outside | {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1"} | environment,
    )
    assert done.returncode in (0, 1), done.stderr
    return Diagnosis(done.returncode, done.stdout, done.stderr)


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> Iterator[World]:
    """Give a node with all that belongs to it: a GPU that a pod uses, a region, HAMi's registration."""
    with World(tmp_path) as world:
        furnish(world)
        yield world


def furnish(world: World) -> None:
    """Have nothing wrong."""
    world.kube.put(node(node_nvidia_register=REGISTERED))
    world.kube.put(manifest("model", A))
    world.proc.put(1, HOST_INIT, comm="systemd")
    world.proc.put(7, cgroup("model", "model/main"))
    version = world.proc.root / "driver" / "nvidia" / "version"
    version.parent.mkdir(parents=True)
    version.write_text(MODULE)
    world.driver.set([gpu(A)])
    put(world.containers, CacheFile(uuids=[A], slots=[Slot(1, [GIB], host_pid=7)]).bytes(), box=f"{uid('model')}_main")


def gpu(uuid: str, **fields: Any) -> FakeGpu:  # noqa: ANN401 - any field of a FakeGpu
    """Return a GPU on which the pod's process runs."""
    defaults: dict[str, Any] = {"memory": FakeMemory(used=GIB), "processes": [FakeProcess(7, GIB)]}
    return FakeGpu(uuid, **(defaults | fields))


# ---------------------------------------------------------------- nothing wrong


def test_a_sound_node_passes_every_step(world: World) -> None:
    """With nothing wrong every step passes, in a fixed order, and the exit code is 0."""
    found = doctor(world)

    assert found.code == 0
    assert json.loads(found.out)["verdict"] == "pass"
    assert list(found.steps) == [
        "driver", "gpu-access", "gpus", "procfs", "host-pid", "cgroups", "api-server", "clock", "permissions", "node",
        "pods", "grants", "regions", "hami-release", "attribution",
    ]  # fmt: skip
    assert [step for step in found.steps.values() if step["verdict"] != "pass" or step["advice"]] == []
    assert found.says("driver")[1] == (f"driver 580.159.04 answers through {world.driver.library}, lists 1 GPU")
    assert found.says("cgroups")[1] == "1 of 2 processes are in pods: cgroup v2, systemd, containerd"
    assert found.says("hami-release")[1] == "HAMi 2.8.2 or newer by the Node's annotation"
    assert found.says("attribution")[1] == "1 container to show: 1024 of 1024 MiB in use"
    assert found.err == ""


def test_people_read_a_line_a_step_and_a_last_line_that_sums_up(world: World) -> None:
    """Without --json each step is a line with mark and word, what to do is beneath, and no colour is piped."""
    world.driver.set([gpu(A, errors={"*": Code.GPU_IS_LOST})])

    found = doctor(world, as_json=False)

    lines = found.out.splitlines()
    assert lines[0].startswith("✔ pass  driver: ")
    assert lines[2].startswith("✘ fail  gpus: GPU 0: ")
    assert "dmesg" in lines[3]
    assert lines[-1].startswith("1 fail (gpus), ")
    assert "\x1b" not in found.out
    assert found.code == 1


def test_the_settings_of_the_pod_are_those_of_its_environment_and_file(world: World, tmp_path: Path) -> None:
    """What `node` would take from variables and the file, doctor takes from there too."""
    file = tmp_path / "config.yaml"
    file.write_text(f"kubeconfig: {world.kubeconfig}\nhealth-listen: ''\n")

    found = run(
        [sys.executable, str(ROOT / "tests" / "doctor_program.py"), world.driver.library, "--json"],
        NODE_NAME=NODE,
        VGPU_EXPORTER_CONFIG=str(file),
        VGPU_EXPORTER_PROCFS=str(world.proc.root),
        VGPU_EXPORTER_HAMI_CONTAINERS=str(world.containers),
    )

    assert (found.code, json.loads(found.out)["verdict"]) == (0, "pass")


# ---------------------------------------------------------------- the driver


def test_no_library_asks_for_gpu_access_by_env(tmp_path: Path) -> None:
    """Without any NVML library, and nothing that asks for one, gpuAccess: env is the advice; the rest is looked at."""
    with World(tmp_path, installed=False) as world:
        furnish(world)
        found = doctor(world)

    assert found.failing == ["driver", "gpu-access"]
    assert "no NVIDIA driver library" in found.says("driver")[1]
    assert found.says("gpu-access")[1] == "nothing in this pod asks for the driver"
    assert found.says("gpu-access")[2].startswith("Set gpuAccess: env with runtimeClassName: nvidia; gpuAccess: cdi")
    assert found.says("attribution") == ("warn", "not checked", "Mend driver first.")
    assert found.says("pods")[0] == "pass"


def test_no_library_although_asked_for_names_the_runtime_class(tmp_path: Path) -> None:
    """Where NVIDIA_VISIBLE_DEVICES is set in vain the runtime is to blame, and other modes are named."""
    with World(tmp_path, installed=False) as world:
        furnish(world)
        found = doctor(world, NVIDIA_VISIBLE_DEVICES="all")

    assert "NVIDIA_VISIBLE_DEVICES=all is set" in found.says("gpu-access")[1]
    assert found.says("gpu-access")[2].startswith("Set runtimeClassName: nvidia")


def test_no_kernel_module_is_told_before_any_gpu_access(tmp_path: Path) -> None:
    """Where the node's kernel has no module no gpuAccess helps, and that is said."""
    with World(tmp_path, installed=False) as world:
        furnish(world)
        (world.proc.root / "driver" / "nvidia" / "version").unlink()
        found = doctor(world, NVIDIA_VISIBLE_DEVICES="all")

    assert found.says("gpu-access")[2].startswith("No gpuAccess helps before the driver is installed on the node")


def test_a_driver_that_is_not_loaded(world: World) -> None:
    """The library answers that no driver is loaded: without /dev/nvidiactl the devices are what is missing."""
    world.driver.set([], errors={"nvmlInitWithFlags": Code.DRIVER_NOT_LOADED})

    found = doctor(world)

    assert found.failing == ["driver", "gpu-access"]
    assert "`nvidia-smi` on the node itself must work" in found.says("driver")[2]
    assert "hostDriver.privileged: true" in found.says("gpu-access")[2]


def test_a_library_of_another_version_than_the_module(world: World) -> None:
    """After an upgrade of the driver both versions' story is told, and what to restart."""
    world.driver.set([], errors={"nvmlInitWithFlags": Code.LIB_RM_VERSION_MISMATCH})

    found = doctor(world)

    assert found.failing == ["driver"]
    assert "the kernel module is 570.86.15" in found.says("driver")[1]
    assert "delete this pod: it still has the old library" in found.says("driver")[2]


def test_one_lost_gpu_of_two(world: World) -> None:
    """A lost GPU fails its step by name; driver and attribution of the other are fine."""
    world.driver.set([gpu(A), FakeGpu(B, errors={"*": Code.GPU_IS_LOST})])

    found = doctor(world)

    assert found.failing == ["gpus"]
    assert "GPU 1" in found.says("gpus")[1]
    assert "GPU 0" not in found.says("gpus")[1]
    assert "Xid" in found.says("gpus")[2]
    assert found.says("attribution")[0] == "pass"


def test_a_call_that_hangs_holds_nothing_up(world: World, tmp_path: Path) -> None:
    """While one GPU's calls never return the command ends in time and says which GPU hangs."""
    block = tmp_path / "block"
    block.touch()
    world.driver.set([gpu(A), FakeGpu(B, hangs={"nvmlDeviceGetMemoryInfo_v2": block})])

    begun = time.monotonic()
    found = doctor(world, "--timeout=1")

    assert time.monotonic() - begun < 10
    assert found.failing == ["gpus"]
    assert found.says("gpus")[1] == f"GPU 1 ({B}): the driver has not answered for 1 s"
    assert found.says("gpus")[2].startswith("A call hangs in the driver")
    assert found.says("attribution")[0] == "pass"


def test_a_driver_that_hangs_from_the_start(world: World, tmp_path: Path) -> None:
    """While NVML's own start never returns the other steps are still done."""
    block = tmp_path / "block"
    block.touch()
    world.driver.set([gpu(A)], hangs={"nvmlInitWithFlags": block})

    found = doctor(world, "--timeout=1")

    assert found.failing == ["driver"]
    assert found.says("driver")[1] == "the driver has not answered for 1 s"
    assert found.says("grants")[0] == "pass"


def test_hamis_library_in_the_exporter_itself(world: World, tmp_path: Path) -> None:
    """With libvgpu.so preloaded nothing that NVML says is believed, and the label that mends it is named."""
    library = tmp_path / "libvgpu.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "/dev/null"], check=True)

    found = doctor(world, LD_PRELOAD=str(library))

    assert found.failing == ["driver"]
    assert "hami.io/webhook=ignore" in found.says("driver")[2]
    assert "/etc/ld.so.preload" in found.says("driver")[2]


# ---------------------------------------------------------------- /proc


def test_no_host_pid_namespace_where_a_gpu_is_in_use(world: World) -> None:
    """Memory in use, and no process listed: the exporter lacks hostPID, whatever /proc shows."""
    world.driver.set([gpu(A, processes=[])])

    found = doctor(world)

    assert found.failing == ["host-pid"]
    assert found.says("host-pid")[2].startswith("Set hostPID: true")
    assert found.says("cgroups") == ("warn", "not checked", "Mend host-pid first.")
    assert found.says("attribution") == ("warn", "not checked", "Mend host-pid first.")


def test_no_host_pid_namespace_on_an_idle_node(world: World) -> None:
    """Nothing is in use, but PID 1 is in the exporter's own container."""
    world.driver.set([FakeGpu(A)])
    world.proc.put(1, "0::/\n", comm="vgpu-exporter")

    found = doctor(world)

    assert found.failing == ["host-pid"]
    assert found.says("host-pid")[1] == "PID 1 is a container's process ('vgpu-exporter')"


def test_a_procfs_that_is_none(world: World) -> None:
    """--procfs names a directory without a procfs."""
    found = doctor(world, "--procfs=/usr")

    assert found.failing == ["procfs"]
    assert found.says("procfs")[2] == "--procfs must name the host's: /proc with hostPID."


@pytest.mark.parametrize("hidden", ["invisible (hidepid=2)", "unreadable (hidepid=1"])
def test_a_procfs_that_hides_processes(world: World, hidden: str) -> None:
    """Where PID 1 cannot be seen, or not be read, hidepid is named, with both ways out."""
    stat = world.proc.root / "1" / "stat"
    stat.unlink()
    if "unreadable" in hidden:
        stat.mkdir()

    found = doctor(world)

    assert found.failing == ["procfs"]
    assert hidden in found.says("procfs")[1]
    assert "without hidepid" in found.says("procfs")[2]
    assert "supplementalGroups" in found.says("procfs")[2]


def test_a_cgroup_of_a_shape_that_nobody_knows(world: World) -> None:
    """A process in Kubernetes' cgroups whose pod cannot be told is shown, and asks for a report."""
    world.proc.put(9, "0::/kubepods.slice/some-new-shape\n")

    found = doctor(world)

    assert found.says("cgroups")[0] == "warn"
    assert "9 ('0::/kubepods.slice/some-new-shape" in found.says("cgroups")[1]
    assert "vgpu-exporter capture" in found.says("cgroups")[2]
    assert found.code == 0


# ---------------------------------------------------------------- the cluster


def test_an_api_server_that_cannot_be_reached(world: World) -> None:
    """Nobody listens: one step fails, and what rests on it is not checked."""
    world.kube.refuse()

    found = doctor(world)

    assert found.failing == ["api-server"]
    assert found.says("api-server")[2].startswith("Check the address, DNS, NetworkPolicies and the certificate")
    for name in ("clock", "permissions", "node", "pods", "grants"):
        assert found.says(name) == ("warn", "not checked", "Mend api-server first.")
    assert found.says("gpus")[0] == "pass"


def test_an_api_server_that_never_answers(world: World) -> None:
    """A connection that says nothing costs one step's time, no more."""
    world.kube.hang(verb="create")

    found = doctor(world, "--timeout=1")

    assert found.failing == ["api-server"]


def test_a_token_that_is_not_valid(world: World) -> None:
    """The API server does not know us: the token is named."""
    world.kube.kubeconfig(world.kubeconfig, token="wrong")  # noqa: S106 - it opens nothing

    found = doctor(world)

    assert found.failing == ["api-server"]
    assert "HTTP 401" in found.says("api-server")[1]
    assert found.says("api-server")[2].startswith("The token is not valid")


@pytest.mark.parametrize(
    ("resource", "verbs", "unseen"),
    [("pods", "list pods, watch pods", ["pods", "grants"]), ("nodes", "get nodes", ["node"])],
)
def test_a_role_that_lacks_a_permission(world: World, resource: str, verbs: str, unseen: list[str]) -> None:
    """What RBAC forbids is said in the words of a ClusterRole, once."""
    world.kube.forbidden.add(resource)

    found = doctor(world)

    assert found.failing == ["permissions"]
    assert found.says("permissions")[1:] == (
        f"the API server forbids: {verbs}",
        f"Give the service account a ClusterRole that allows: {verbs}, as the chart does.",
    )
    for name in unseen:
        assert found.says(name) == ("warn", "not checked", "Mend permissions first.")


def test_a_node_name_that_no_node_has(world: World) -> None:
    """--node-name is wrong: that is the one failure."""
    found = doctor(world, "--node-name=node-z")

    assert found.failing == ["node"]
    assert found.says("node")[1] == "the cluster has no Node node-z"
    assert "spec.nodeName" in found.says("node")[2]
    assert found.says("pods") == ("warn", "not checked", "Mend node first.")


def test_no_pod_on_the_node(world: World) -> None:
    """A Node without any pod is suspicious: ours would be there."""
    world.kube.delete("team", "model")

    found = doctor(world)

    assert found.says("pods")[:2] == ("warn", f"the API server knows no pod on {NODE}")
    assert found.code == 0


def test_a_pods_annotation_that_cannot_be_read(world: World) -> None:
    """The pod is named whose device annotation does not decode; what it holds a terminal would obey is escaped."""
    spoiled = manifest("broken", A, namespace="te\x1b[2Jam")
    spoiled["metadata"]["annotations"]["hami.io/vgpu-devices-allocated"] = f"{A},NVIDIA,many,30:;"
    world.kube.put(spoiled)

    found = doctor(world)
    shown = doctor(world, as_json=False)

    assert found.failing == ["grants"]
    assert found.says("grants")[1] == "device annotations that cannot be read: te\x1b[2Jam/broken"
    assert "create the pod anew" in found.says("grants")[2]
    assert "te\\x1b[2Jam/broken" in shown.out
    assert "\x1b" not in shown.out + found.out


def test_a_registration_that_cannot_be_read(world: World) -> None:
    """HAMi's annotation on the Node is named if it does not decode."""
    world.kube.put(node(node_nvidia_register="a,b,c:"))

    found = doctor(world)

    assert found.failing == ["node"]
    assert "hami.io/node-nvidia-register cannot be read" in found.says("node")[1]
    assert "device plugin" in found.says("node")[2]


@pytest.mark.parametrize(("ahead", "verdict", "word"), [(60, "warn", "behind"), (-300, "fail", "ahead of")])
def test_a_clock_that_is_wrong(world: World, ahead: float, verdict: str, word: str) -> None:
    """The API server's Date tells that the node's clock is off; from two minutes on data counts as stale."""
    world.kube.ahead = ahead

    found = doctor(world)

    told = re.fullmatch(r"this node's clock is ([0-9]+) s (.+) the API server's", found.says("clock")[1])
    assert told is not None
    assert (found.says("clock")[0], told[2]) == (verdict, word)
    assert abs(float(told[1]) - abs(ahead)) <= 2
    assert found.says("clock")[2].startswith("Synchronise the node's clock")


def test_without_kubernetes_only_the_machine_is_looked_at(world: World) -> None:
    """With --no-kubernetes nobody asks the API server, and nothing fails for it."""
    found = doctor(world, "--no-kubernetes")

    assert found.failing == []
    assert found.says("api-server")[0] == "warn"
    assert world.kube.requests == []


# ---------------------------------------------------------------- HAMi


def test_regions_that_are_not_there(world: World) -> None:
    """Without HAMi's directory its figures are absent, and the mount is named; the rest is well."""
    found = doctor(world, "--hami-containers=/nowhere/containers")

    assert found.says("regions")[0] == "warn"
    assert "no /nowhere/containers" in found.says("regions")[1]
    assert "hamiPath" in found.says("regions")[2]
    assert found.code == 0


def test_regions_that_cannot_be_read(world: World) -> None:
    """What should be HAMi's directory and is none fails."""
    file = world.directory / "file"
    file.touch()

    found = doctor(world, f"--hami-containers={file}")

    assert found.failing == ["regions"]
    assert "cannot be read as a directory" in found.says("regions")[1]


def test_regions_of_a_layout_that_nobody_knows(world: World) -> None:
    """A layout newer than ours is told by pod, and asks for a report."""
    put(world.containers, b"\0" * 3_000_000, box=f"{uid('model')}_main")

    found = doctor(world)

    assert found.says("regions")[0] == "warn"
    assert found.says("regions")[1].startswith(f"region_unsupported: {uid('model')}_main/a.cache")
    assert "vgpu-exporter capture" in found.says("regions")[2]


def test_the_device_plugins_image_tells_the_release(world: World) -> None:
    """The tag of HAMi's own pod says its release; one that registers otherwise does not fit."""
    plugin = manifest("hami-device-plugin-x")
    plugin["metadata"]["labels"]["app.kubernetes.io/component"] = "hami-device-plugin"
    plugin["spec"]["containers"][0]["image"] = "docker.test:5000/projecthami/hami:v2.8.3"
    world.kube.put(plugin)
    sound = doctor(world)
    world.kube.put(node(node_nvidia_register=f"{A},10,144384,100,NVIDIA-H200,0,true,0,hami-core:"))
    mixed = doctor(world)

    assert sound.says("hami-release")[1] == "HAMi 2.8.3 by its device plugin's image, the Node's annotation"
    assert mixed.says("hami-release")[0] == "warn"
    assert "2.5.0 to 2.7.1 by the Node's annotation" in mixed.says("hami-release")[1]


def test_use_that_cannot_be_placed_is_told_with_its_reason(world: World) -> None:
    """A process of a pod that the API server does not know shows in the last step, with what that means."""
    world.proc.put(8, cgroup("gone", "gone/main"))
    world.driver.set([gpu(A, processes=[FakeProcess(7, GIB), FakeProcess(8, GIB)], memory=FakeMemory(used=2 * GIB))])

    found = doctor(world)

    assert found.says("attribution")[0] == "warn"
    assert found.says("attribution")[1].startswith("pod_unknown: ")
    assert "its use is unknown_pod" in found.says("attribution")[2]


# ---------------------------------------------------------------- the exporter and Prometheus


def test_the_exporter_beside_it_is_asked_whether_it_is_ready(world: World) -> None:
    """Doctor asks /readyz of the exporter whose settings it has; where none runs that is said."""
    world.start("--health-listen=127.0.0.1:0")
    world.wait_for(lambda: world.get("/readyz")[0] == 200)
    beside = doctor(world, f"--health-listen=127.0.0.1:{world.port}")
    world.end()
    alone = doctor(world, f"--health-listen=127.0.0.1:{world.port}")

    assert beside.says("exporter") == ("pass", f"127.0.0.1:{world.port}/readyz: ready", "")
    assert alone.says("exporter")[:2] == ("warn", f"no exporter answers at 127.0.0.1:{world.port}")


def test_a_prometheus_that_has_everything(world: World) -> None:
    """With our series under the tenants' labels, our rules, and no alert about us, all passes."""
    with PrometheusApi() as prometheus:
        found = doctor(world, f"--prometheus={prometheus.url}")

    assert found.code == 0
    aspects = ("", "-labels", "-scrapes", "-rules", "-alerts")
    assert [name for name in found.steps if name.startswith("prom")] == [f"prometheus{aspect}" for aspect in aspects]
    assert json.loads(found.out)["verdict"] == "pass"
    assert any(f'node="{NODE}"' in query for query in prometheus.queries)


def test_a_prometheus_whose_scrape_labels_overwrite_the_tenants(world: World) -> None:
    """Where the namespace became exported_namespace honorLabels is what mends it."""
    with PrometheusApi(overwritten=3) as prometheus:
        found = doctor(world, f"--prometheus={prometheus.url}")

    assert found.failing == ["prometheus-labels"]
    assert "honorLabels: true" in found.says("prometheus-labels")[2]


def test_a_prometheus_that_scrapes_twice_without_rules_while_an_alert_fires(world: World) -> None:
    """Two targets, no rules and a firing alert are warnings, each with its way out; another node's alert is none."""
    firing = [{"alertname": "VgpuExporterBlind", "node": NODE}, {"alertname": "VgpuSampleGaps", "node": "other"}]
    with PrometheusApi(targets=2, rules=False, firing=firing) as prometheus:
        found = doctor(world, f"--prometheus={prometheus.url}")

    assert found.code == 0
    assert "Keep one of PodMonitor, ServiceMonitor" in found.says("prometheus-scrapes")[2]
    assert "PrometheusRule" in found.says("prometheus-rules")[2]
    assert found.says("prometheus-alerts")[1] == "firing about the exporter: VgpuExporterBlind"


def test_a_prometheus_without_our_series(world: World) -> None:
    """Nothing of this node is scraped: targets and their selecting labels are named."""
    with PrometheusApi(series=0, targets=0) as prometheus:
        found = doctor(world, f"--prometheus={prometheus.url}")

    assert found.failing == ["prometheus"]
    assert "PodMonitor needs the labels that Prometheus selects by" in found.says("prometheus")[2]


class _Dripping(BaseHTTPRequestHandler):
    """Answers with a header that never ends, a byte now and then."""

    @override
    def handle(self) -> None:
        with contextlib.suppress(OSError):
            self.wfile.write(b"HTTP/1.1 200 OK\r\nX: ")
            while True:
                self.wfile.write(b"x")
                time.sleep(0.1)


def test_who_answers_without_an_end_holds_nothing_up(world: World) -> None:
    """Whatever listens in the place of exporter and Prometheus, and drips, costs a step's time each."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Dripping) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        begun = time.monotonic()
        found = doctor(world, "--timeout=1", f"--health-listen={address}", f"--prometheus=http://{address}")
        server.shutdown()

    assert time.monotonic() - begun < 10
    assert found.says("exporter")[1] == f"no exporter answers at {address}"
    assert found.says("prometheus")[:2] == ("fail", "Prometheus has not answered for 1 s")


def test_a_prometheus_that_is_none_and_no_password_is_shown(world: World) -> None:
    """What answers something else, or nobody, fails that step; the address's password stays out of sight."""
    other = doctor(world, f"--prometheus={world.kube.url.replace('//', '//me:s3cret@')}")
    nobody = doctor(world, "--prometheus=http://me:s3cret@127.0.0.1:1")

    assert other.failing == nobody.failing == ["prometheus"]
    assert "s3cret" not in other.out + other.err + nobody.out + nobody.err


# ---------------------------------------------------------------- the quota role


def quota_doctor(world: World, *flags: str) -> Diagnosis:
    """Run it for the quota role."""
    command = [sys.executable, "-m", "exporter", "doctor", "--role=quota", f"--kubeconfig={world.kubeconfig}"]
    return run([*command, "--health-listen=", "--timeout=5", "--json", *flags])


def test_a_sound_quota_role(world: World) -> None:
    """For the quota role the API server, its permissions and the quotas are looked at, and no GPU."""
    world.kube.put(quota("gpus", {"limits.nvidia.com/gpumem": "20000"}))

    found = quota_doctor(world)

    assert (found.code, json.loads(found.out)["verdict"]) == (0, "pass")
    assert list(found.steps) == ["api-server", "clock", "permissions", "quotas"]


@pytest.mark.parametrize("resource", ["resourcequotas", "namespaces", "pods"])
def test_a_quota_role_that_lacks_a_permission(world: World, resource: str) -> None:
    """Each kind that the quota role watches is asked for, and named if it is forbidden."""
    world.kube.forbidden.add(resource)

    found = quota_doctor(world)

    assert found.failing == ["permissions"]
    assert found.says("permissions")[1] == f"the API server forbids: list {resource}, watch {resource}"


def test_a_hami_configuration_that_is_not_there(world: World) -> None:
    """--hami-config that names no ConfigMap is told."""
    found = quota_doctor(world, "--hami-config=kube-system/nothing")

    assert found.failing == ["hami-config"]
    assert "NAMESPACE/NAME" in found.says("hami-config")[2]


def test_a_flag_of_the_other_role_is_refused() -> None:
    """A flag that the role does not have is wrong use, not silently without effect."""
    command = [sys.executable, "-m", "exporter", "doctor", "--role=quota", "--interval=1s"]

    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=30)

    assert (done.returncode, done.stderr) == (2, "vgpu-exporter: --interval is no flag of the role quota\n")


def test_an_address_of_prometheus_that_is_none_is_refused() -> None:
    """Without http:// or https:// it is wrong use, before anything is looked at."""
    command = [sys.executable, "-m", "exporter", "doctor", "--node-name=n", "--prometheus=prometheus:9090"]

    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=30)

    assert done.returncode == 2
    assert "--prometheus: 'prometheus:9090' is not an address such as http://prometheus:9090" in done.stderr
