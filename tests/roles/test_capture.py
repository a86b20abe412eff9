"""The capture role among real parts: what it writes, what it does not give away, and how it ends."""

from __future__ import annotations

import gzip
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from exporter import cli
from exporter.errors import ExporterError
from exporter.roles import capture as role
from exporter.roles.capture import CaptureSettings, Rhythm, record
from exporter.sampler import Sampler, Sources
from exporter.sources.nvml import NvmlGpus
from exporter.sources.pods import WatchedPods
from exporter.sources.procfs import ProcFs
from exporter.sources.recorded import Player, load
from exporter.sources.regions import Regions
from tests.cache_files import GOOD, CacheFile, Slot, put
from tests.fake_driver import FakeDriver, FakeGpu, FakeInstance, FakeMemory, FakeProcess, FakeSample
from tests.kube_server import KubeServer
from tests.make import GIB, MIB, NODE, cgroup, cid, uid
from tests.program import ROOT
from tests.waiting import until
from tests.world import ProcTree, manifest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from exporter.capture import Capture
    from exporter.snapshot import Snapshot

A, B = ("GPU-00000000-0000-0000-0000-00000000000" + digit for digit in "ab")
BRISK: Final = Rhythm(interval=0.1, pods_every=0.1, driver_within=5)
#: Ample: a recording that a test ends as soon as it holds what the test is about.
LONG: Final = 20.0

#: `vgpu-exporter` with another driver library: `python -c PROGRAM LIBRARY [arguments]`.
PROGRAM: Final = """
import sys
from functools import partial
from exporter import cli
from exporter.roles import capture
capture.record = partial(capture.record, library_paths=[sys.argv[1]], rhythm=capture.Rhythm(0.1, 0.1, 20))
sys.exit(cli.main(sys.argv[2:]))
"""


class Node:
    """The parts of a node on which the pod `model` uses 1 GiB of one GPU, and a process of the host 64 MiB."""

    def __init__(self, directory: Path, kube: KubeServer) -> None:
        self.driver = FakeDriver(directory)
        self.proc = ProcTree(directory / "proc")
        self.containers = directory / "containers"
        self.kube = kube
        self.kubeconfig = str(kube.kubeconfig(directory / "kubeconfig"))
        self.out = directory / "out" / "node.jsonl.gz"
        self.out.parent.mkdir()
        self.kube.put(manifest("model", A))
        self.proc.put(7, cgroup("model", "model/main"))
        self.proc.put(8, "0::/user.slice/user-1000.slice/session-3.scope\n")
        self.driver.set([gpu(A, {7: GIB, 8: 64 * MIB})])

    def settings(self, **changes: Any) -> CaptureSettings:  # noqa: ANN401  any of the settings
        """Return settings for a recording that ends when the test says so."""
        defaults: dict[str, Any] = {
            "out": self.out, "seconds": LONG, "redact": True, "node": NODE, "procfs": str(self.proc.root),
            "hami_containers": (str(self.containers),), "kubeconfig": self.kubeconfig, "kubernetes": True,
        }  # fmt: skip
        return CaptureSettings(**(defaults | changes))

    def record(self, **changes: Any) -> Capture:  # noqa: ANN401  any of the settings
        """Record, and load what was recorded."""
        record(self.settings(**changes), [self.driver.library], rhythm=BRISK)
        return load(self.out)

    def passes(self) -> int:
        """Return how often the GPUs were read so far."""
        return len(self.driver.calls("nvmlDeviceGetUtilizationRates"))

    @property
    def raw(self) -> bytes:
        """What the file holds, decompressed."""
        return gzip.decompress(self.out.read_bytes())

    def lines(self, kind: str) -> list[dict[str, Any]]:
        """Return the file's lines of one kind."""
        return [line for line in map(json.loads, self.raw.splitlines()) if line["kind"] == kind]

    def flags(self, *more: str) -> list[str]:
        """Return the arguments of a recording by command line."""
        paths = (f"--out={self.out}", f"--procfs={self.proc.root}", f"--hami-containers={self.containers}")
        return ["capture", *paths, f"--kubeconfig={self.kubeconfig}", f"--node-name={NODE}", *more]


def gpu(uuid: str, listed: dict[int, int], **fields: Any) -> FakeGpu:  # noqa: ANN401  any field of a FakeGpu
    """Return a GPU on which each process has its bytes and 20 % of the SMs."""
    defaults: dict[str, Any] = {
        "memory": FakeMemory(used=sum(listed.values())),
        "processes": [FakeProcess(pid, used) for pid, used in listed.items()],
        "samples": [FakeSample(pid, 20) for pid in listed],
        "utilization": 40,
    }
    return FakeGpu(uuid, **(defaults | fields))


@pytest.fixture(name="node")
def _node(tmp_path: Path) -> Iterator[Node]:
    """Give a node."""
    with KubeServer() as kube:
        yield Node(tmp_path, kube)


@pytest.fixture(name="command")
def _command(node: Node, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Give the command line, on the node's driver; it returns the exit code."""
    monkeypatch.setattr(role, "record", partial(record, library_paths=[node.driver.library], rhythm=BRISK))
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield lambda *more: cli.main(node.flags(*more))
    root.handlers[:] = handlers
    root.setLevel(level)


@contextmanager
def meanwhile(*steps: Callable[[], object]) -> Iterator[None]:
    """Take one step after another while something is recorded; what is false is tried again; then end the recording."""

    def run() -> None:
        for step in steps:
            end = time.monotonic() + LONG / 2
            while not done.is_set() and step() is False and time.monotonic() < end:
                time.sleep(0.01)
        if not done.is_set():
            os.kill(os.getpid(), signal.SIGINT)

    done = threading.Event()
    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def passed(node: Node, more: int) -> Callable[[], bool]:
    """Return a step that waits until the GPUs were read so many times more."""
    target: list[int] = []

    def enough() -> bool:
        target[:] = target or [node.passes() + more]
        return node.passes() >= target[0]

    return enough


def listed(node: Node, more: int) -> Callable[[], bool]:
    """Return a step that waits until the pods were asked for so many times more."""
    target: list[int] = []

    def enough() -> bool:
        target[:] = target or [len(node.kube.asked("list")) + more]
        return len(node.kube.asked("list")) >= target[0]

    return enough


def uses(snapshot: Snapshot) -> dict[tuple[str, str], tuple[int | None, int | None]]:
    """Return (used, granted) bytes by GPU and pod UID."""
    pairs = snapshot.joined.pairs
    return {(pair.uuid, pair.owner.pod_uid): (pair.used, pair.memory_granted) for pair in pairs}


def played(recording: Capture) -> Snapshot:
    """Play a recording to its end."""
    now = 0.0
    player = Player(recording, monotonic=lambda: now, wall=lambda: 0.0)
    sampler = Sampler(recording.node, Sources(player, player, player, regions=player.regions), player.interval)
    for frame in recording.frames:
        now = frame.t - recording.frames[0].t
        sampler.tick()
    snapshot = sampler.current()
    assert snapshot is not None
    return snapshot


def live(node: Node) -> Snapshot:
    """Return what the node role sees."""
    with (
        closing(NvmlGpus(0.5, [node.driver.library])) as gpus,
        closing(WatchedPods(NODE, kubeconfig=node.kubeconfig)) as pods,
    ):
        pods.start()
        regions = Regions([str(node.containers)])
        sampler = Sampler(NODE, Sources(gpus, ProcFs(str(node.proc.root)), pods, regions=regions), 0.5)
        until(lambda: _knows_all(sampler.tick()))
        return sampler.tick()


def _knows_all(snapshot: Snapshot) -> bool:
    """Whether pods and driver have answered."""
    return bool(snapshot.joined.pairs) and all(use.reading is not None for use in snapshot.joined.devices)


# ---------------------------------------------------------------- what a redacted capture gives away


def secretive(word: str) -> dict[str, Any]:
    """Return a pod with the word in every field that a person fills in, and then some."""
    container = {
        "name": f"{word}-main",
        "image": f"registry/{word}:1",
        "command": [f"/{word}"],
        "args": [f"--token={word}"],
        "workingDir": f"/{word}",
        "env": [{"name": word.upper(), "value": word}, {"name": "A", "valueFrom": {"secretKeyRef": {"name": word}}}],
        "envFrom": [{"configMapRef": {"name": word}}],
        "resources": {"limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": "2000"}, "claims": [{"name": word}]},
        "volumeMounts": [{"name": word, "mountPath": f"/{word}"}],
    }
    state = {"terminated": {"exitCode": 1, "message": word, "reason": word, "containerID": f"containerd://{word}"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{word}-7d4f8c7b9-x2x2x",
            "generateName": f"{word}-",
            "namespace": f"{word}-namespace",
            "uid": uid("secret"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": word, f"{word}/x": "1", "pod-template-hash": word},
            "annotations": {
                "hami.io/vgpu-node": f"{word}-node",
                "hami.io/vgpu-devices-allocated": f"{A},NVIDIA,2000,30:;{word},{word},1,2",
                "hami.io/vgpu-mig-allocations": json.dumps([{word: word, "gpuUUID": A}]),
                "hami.io/bind-phase": word,
                "kubernetes.io/config.hash": word,
                "note": word,
            },
            "ownerReferences": [
                {"kind": f"{word.capitalize()}Job", "name": word, "uid": word, "controller": True},
                {"kind": "ReplicaSet", "name": f"{word}-7d4f8c7b9", "controller": False},
            ],
            "managedFields": [{"manager": word}],
        },
        "spec": {
            "nodeName": f"{word}-node",
            "serviceAccountName": word,
            "resourceClaims": [{"name": word, "resourceClaimTemplateName": word}],
            "containers": [container],
            "initContainers": [container | {"name": f"{word}-init", "restartPolicyRules": [{"action": word}]}],
            "ephemeralContainers": [container | {"name": f"{word}-debug"}],
            "volumes": [{"name": word, "hostPath": {"path": f"/{word}"}}],
        },
        "status": {
            "phase": "Running",
            "message": word,
            "containerStatuses": [
                {
                    "name": f"{word}-main", "containerID": f"containerd://{cid('secret')}", "image": word,
                    "imageID": word, "state": {"waiting": {"reason": word, "message": word}}, "lastState": state,
                }
            ],
        },
    }  # fmt: skip


PRIVATE: Final = "hush"


@pytest.fixture(name="secret")
def _secret(node: Node) -> Node:
    """Give a node full of secrets."""
    node.kube.put(secretive(PRIVATE))
    container = cgroup("secret", "x").rpartition("/")[0] + f"/{PRIVATE}-{cid('secret')}.scope/{PRIVATE}/lxc-{PRIVATE}\n"
    node.proc.put(9, container, comm=PRIVATE)
    node.proc.put(10, f"5:name={PRIVATE}:/{PRIVATE}\n0::/user.slice/user-{PRIVATE}.slice/{PRIVATE}.scope\n")
    (node.proc.root / "self" / "cgroup").write_text(f"0::/{PRIVATE}.slice\n")
    node.driver.set([gpu(A, {9: GIB, 10: MIB})])
    return node


def test_a_redacted_capture_tells_nothing_about_who_is_who(secret: Node) -> None:
    """Names, labels, environment, arguments, images, commands, process names and users: none is in the file."""
    with meanwhile(passed(secret, 3)):
        recording = secret.record(node=f"{PRIVATE}-node")

    assert PRIVATE not in secret.raw.decode().lower()
    assert recording.node == "node-1"
    assert uses(played(recording))[A, uid("secret")][0] == GIB


def test_the_file_itself_does_not_tell_its_first_name(node: Node) -> None:
    """The gzip header holds no file name: people rename a file and think that is all."""
    node.out = node.out.with_name(f"{PRIVATE}.jsonl.gz")
    with meanwhile(passed(node, 2)):
        node.record()

    assert PRIVATE.encode() not in node.out.read_bytes()


def test_without_redaction_names_stay_and_secrets_do_not(secret: Node) -> None:
    """With --no-redact the names of pods and processes are there; environment, arguments and images never are."""
    with meanwhile(passed(secret, 2)):
        recording = secret.record(node=f"{PRIVATE}-node", redact=False)

    pods = secret.lines("pods")[0]["items"]
    [pod] = pods
    assert recording.node == f"{PRIVATE}-node"
    assert pod["metadata"]["namespace"] == f"{PRIVATE}-namespace"
    assert pod["spec"]["containers"][0]["name"] == f"{PRIVATE}-main"
    assert recording.frames[-1].processes[9].comm == PRIVATE  # type: ignore[union-attr]
    for field in ("env", "envFrom", "args", "command", "image", "imageID", "volumes", "volumeMounts", "managedFields"):
        assert f'"{field}"'.encode() not in secret.raw


def test_only_its_owner_may_read_a_capture(node: Node) -> None:
    """The file is for nobody else's eyes, whatever the umask allows."""
    with meanwhile(passed(node, 2)):
        node.record()

    assert node.out.stat().st_mode & 0o777 == 0o600


# ---------------------------------------------------------------- what a capture tells


@pytest.mark.parametrize("redact", [True, False], ids=["redacted", "open"])
def test_a_capture_plays_as_the_node_was(node: Node, redact: bool) -> None:  # noqa: FBT001  both ways
    """Played, the recording gives each container the bytes and the grant that the live node gives it."""
    node.kube.put(manifest("other", B))
    node.proc.put(9, cgroup("other", "other/main"))
    node.driver.set([gpu(A, {7: GIB, 8: MIB}), gpu(B, {9: 2 * GIB})])
    alive = live(node)

    with meanwhile(passed(node, 6)):
        recording = node.record(redact=redact)

    end = played(recording)
    assert uses(end) == uses(alive)
    assert uses(end)[A, uid("model")] == (GIB, 2000 * MIB)
    assert [use.unattributed for use in end.joined.devices] == [use.unattributed for use in alive.joined.devices]


def test_pods_that_change_are_recorded_when_they_do(node: Node) -> None:
    """A pod that comes gives a second line with all pods, and lists that say nothing new give none."""
    with meanwhile(listed(node, 3), lambda: node.kube.put(manifest("notebook", A)), listed(node, 3), passed(node, 2)):
        recording = node.record(redact=False)

    first, second = node.lines("pods")
    assert [pod["metadata"]["name"] for pod in first["items"]] == ["model"]
    assert [pod["metadata"]["name"] for pod in second["items"]] == ["model", "notebook"]
    assert 0 <= first["t"] < second["t"] <= recording.frames[-1].t
    assert uses(played(recording))[A, uid("notebook")] == (0, 2000 * MIB)


def test_a_process_that_ends_is_recorded_as_gone(node: Node) -> None:
    """The sample after a process's end says so, once."""

    def end() -> None:
        node.driver.set([gpu(A, {8: MIB})])
        shutil.rmtree(node.proc.root / "7")

    with meanwhile(passed(node, 6), end, passed(node, 4)):  # of the GPU: /proc is read after it, by another thread
        recording = node.record()

    assert [line["gone_pids"] for line in node.lines("sample") if line["gone_pids"]] == [[7]]
    assert sum("7" in line["new_pids"] for line in node.lines("sample")) == 1
    assert recording.frames[-1].processes[7] == "process_gone"
    assert uses(played(recording))[A, uid("model")][0] == 0


def test_a_process_that_left_the_gpu_but_lives_is_no_news(node: Node) -> None:
    """A process that only let go of the GPU is not taken for one that ended."""
    with meanwhile(passed(node, 2), lambda: node.driver.set([gpu(A, {8: MIB})]), passed(node, 4)):
        recording = node.record()

    assert [line["gone_pids"] for line in node.lines("sample") if line["gone_pids"]] == []
    assert recording.frames[-1].readings[0].processes is not None
    assert [one.pid for one in recording.frames[-1].readings[0].processes] == [8]


def test_the_gpus_own_samples_come_back(node: Node) -> None:
    """The samples of the whole GPU are recorded, and read back as the driver told them."""
    node.driver.set([gpu(A, {7: GIB}, whole="live")])

    with meanwhile(passed(node, 6)):
        recording = node.record()

    written = [line["gpus"][0]["device_samples"] for line in node.lines("sample") if line["gpus"]]
    cores = [reading.core for frame in recording.frames for reading in frame.readings]
    assert any(written)
    assert [[list(one) for one in core.device or ()] for core in cores if core] == written


def test_without_kubernetes_use_is_nobodys_yet_known(node: Node) -> None:
    """With --no-kubernetes the API server is not asked, and the recording plays with use as unknown_pod."""
    with meanwhile(passed(node, 3)):
        recording = node.record(kubernetes=False, kubeconfig=None)

    [use] = played(recording).joined.devices
    assert node.kube.requests == []
    assert use.unattributed == {"host": 64 * MIB, "unknown_pod": GIB, "unknown_process": 0, "unlisted": 0}


def test_a_gpu_that_comes_later_does_not_spoil_the_capture(node: Node) -> None:
    """A GPU that the first line does not name is left out: a file that names it later could not be played."""

    def reload() -> None:
        node.driver.set([gpu(A, {7: GIB}), gpu(B, {8: MIB})], reloads=1)

    with meanwhile(passed(node, 2), reload, lambda: bool(node.driver.calls(uuid=B)), passed(node, 4)):
        recording = node.record()

    assert {reading.device.uuid for frame in recording.frames for reading in frame.readings} == {A}


def test_mig_instances_are_recorded_within_their_gpu(node: Node) -> None:
    """The first line names whole GPUs only; an instance, its processes and who they are come back with its GPU's."""
    uuid = f"MIG-{A.removeprefix('GPU-')}"
    cut = FakeInstance(uuid, gi=1, processes=[FakeProcess(7, GIB)])
    node.driver.set([FakeGpu(A, mig=1, utilization=None, instances=[cut])])
    node.kube.put(manifest("model", uuid))
    alive = live(node)

    with meanwhile(passed_mig(node, 6)):
        recording = node.record()

    end = played(recording)
    assert [device.uuid for device in recording.devices] == [A]
    assert [use.device for use in end.joined.devices] == [use.device for use in alive.joined.devices]
    assert [use.device.parent for use in end.joined.devices] == ["", A]
    assert uses(end) == uses(alive)
    assert uses(end)[uuid, uid("model")][0] == GIB


def passed_mig(node: Node, more: int) -> Callable[[], bool]:
    """Return a step that waits until the instances were looked up so many times more."""
    before = len(node.driver.calls("nvmlDeviceGetMaxMigDeviceCount"))
    return lambda: len(node.driver.calls("nvmlDeviceGetMaxMigDeviceCount")) >= before + more


# ---------------------------------------------------------------- regions

#: The name that HAMi gives to a file.
FILE: Final = "c879b663-3f9b-4bb2-b2ee-6a2ef8e4cb5c.cache"


def region(*pids: int, uuid: str = A, used: int = GIB) -> bytearray:
    """Return a cache file in which each PID has its bytes, the limit is 2000 MiB."""
    return CacheFile(uuids=(uuid,), slots=[Slot(pid, (used,)) for pid in pids]).bytes()


@pytest.mark.parametrize("redact", [True, False], ids=["redacted", "open"])
def test_regions_play_as_they_were_live(node: Node, redact: bool) -> None:  # noqa: FBT001  both ways
    """Played, HAMi-core's counts and limits stand beside each container as they do on the live node."""
    put(node.containers, region(1), file=FILE)
    alive = live(node)

    with meanwhile(passed(node, 6)):
        recording = node.record(redact=redact)

    [pair] = [pair for pair in played(recording).joined.pairs if pair.owner.pod_uid == uid("model")]
    [pair_alive] = alive.joined.pairs
    assert pair.counted.limit == 2000 * MIB
    assert pair.counted.counted == GIB
    assert pair.counted._replace(last_kernel=None) == pair_alive.counted._replace(last_kernel=None)


def test_regions_are_recorded_when_they_change(node: Node) -> None:
    """A line tells the regions, the next only once they are others; what is a file's is decoded, never its bytes."""
    put(node.containers, region(1), file=FILE)
    more = [passed(node, 3), lambda: put(node.containers, region(1, 2), file=FILE), passed(node, 3)]

    with meanwhile(passed(node, 3), *more):
        recording = node.record(redact=False)

    # A reading in the midst of the change may be in between, at most.
    lines = [line for line in node.lines("regions") if line["items"]]
    assert [[one["pid"] for one in line["items"][0]["processes"]] for line in lines] == [[1], [1, 2]]
    assert lines[-1]["items"][0] | {"processes": []} == {
        "pod_uid": uid("model"), "container": "main", "file": FILE, "layout": "v1.2",
        "devices": [{"uuid": A, "limit": 2000 * MIB, "core_limit": 0.3}], "processes": [],
        "last_kernel": 1_795_293_069,
    }  # fmt: skip
    assert (lines[-1]["complete"], lines[-1]["waiting"]) == ([uid("model")], 0)
    assert recording.frames[-1].regions is not None


def test_a_redacted_region_names_nobody(node: Node) -> None:
    """Directory, file and UUID tell nothing of who is who; the container is the one that its pod has."""
    hidden = CacheFile(uuids=(f"GPU-{PRIVATE}",)).bytes()
    put(node.containers, hidden, box=f"{uid('model')}_{PRIVATE}", file=f"{PRIVATE}.cache")
    put(node.containers, GOOD, file=FILE)

    with meanwhile(passed(node, 3)):
        node.record()

    [pod] = node.lines("pods")[0]["items"]
    items = node.lines("regions")[0]["items"]
    assert PRIVATE not in node.raw.decode()
    assert {one["file"] for one in items} == {FILE, "file-1"}
    assert pod["spec"]["containers"][0]["name"] in {one["container"] for one in items}


def test_a_figure_beyond_the_card_is_recorded(node: Node) -> None:
    """Where HAMi oversubscribes libvgpu counts more than the card has, and how much more may be is not known here."""
    put(node.containers, region(1, used=2**50), file=FILE)

    with meanwhile(passed(node, 3)):
        node.record()

    [item] = node.lines("regions")[0]["items"]
    assert item["processes"] == [{"pid": 1, "host_pid": 0, "used": [2**50]}]


def test_regions_that_cannot_be_read_are_counted_in_the_log(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A broken file costs itself only: the others are recorded, and at the end one line says how many are not."""
    put(node.containers, region(1), file=FILE)
    for name in ("a.cache", "b.cache"):
        put(node.containers, b"garbage", file=name)

    with meanwhile(passed(node, 3)):
        node.record()

    assert [len(line["items"]) for line in node.lines("regions")] == [1]
    assert node.lines("regions")[0]["complete"] == []
    assert caplog.text.count("not recorded, up to 2 at once: region_malformed: the file is no HAMi-core region") == 1


def test_a_root_that_can_no_longer_be_read_makes_regions_unknown(node: Node) -> None:
    """What cannot be read any more is recorded as not known, not as what it was before."""
    put(node.containers, region(1), file=FILE)

    def spoil() -> None:
        shutil.move(node.containers, node.containers.with_name("elsewhere"))
        node.containers.touch()

    with meanwhile(passed(node, 3), spoil, passed(node, 3)):
        recording = node.record()

    assert [line["items"] is None for line in node.lines("regions")][-1]
    assert recording.frames[0].regions is not None
    assert recording.frames[-1].regions is None


@pytest.mark.usefixtures("command")
@pytest.mark.parametrize("flag", ["--hami-containers=", "--hami-containers=,"])
def test_with_no_root_regions_are_not_read(node: Node, flag: str) -> None:
    """Switched off, there is no line of regions, and the recording plays as a node on which none are read."""
    put(node.containers, region(1), file=FILE)
    flags = [one for one in node.flags("--seconds=0.3", flag) if not one.startswith("--hami-containers=/")]

    assert cli.main(flags) == 0

    assert node.lines("regions") == []
    assert Player(load(node.out)).regions is None


def test_roots_are_given_as_for_the_node(node: Node, command: Callable[..., int]) -> None:
    """The flag may be given several times or with commas; the regions of all roots are recorded."""
    other, third = node.containers.with_name("other"), node.containers.with_name("third")
    for root, name in ((node.containers, "one"), (other, "two"), (third, "three")):
        put(root, GOOD, box=f"{uid(name)}_main", file=FILE)

    assert command("--seconds=0.3", f"--hami-containers={other}, {third}") == 0

    assert {one["pod_uid"] for one in node.lines("regions")[0]["items"]} == {uid("one"), uid("two"), uid("three")}


def test_where_the_recorder_lay_is_recorded_too(node: Node) -> None:
    """The recorder's own cgroup comes back: in a nested cluster it says which levels enclose the whole node."""
    own = cgroup("outer", "outer/main")
    (node.proc.root / "self" / "cgroup").write_text(own)

    with meanwhile(passed(node, 2)):
        recording = node.record()

    assert recording.own_cgroup == own


# ---------------------------------------------------------------- how it ends


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the last line on standard error, which is the program's sentence; there is nothing on standard output."""
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.count("vgpu-exporter: ") == 1
    last = err.splitlines()[-1]
    assert last.startswith("vgpu-exporter: ")
    return last


def nothing_left(node: Node) -> bool:
    """Tell whether no file is left behind, finished or not."""
    return list(node.out.parent.iterdir()) == []


def test_a_recording_ends_in_its_time(node: Node, command: Callable[..., int]) -> None:
    """After --seconds the file is whole, has its name, and nothing else is left."""
    assert command("--seconds=0.35") == 0

    assert 3 <= len(load(node.out).frames) <= 4
    assert list(node.out.parent.iterdir()) == [node.out]


def test_a_very_short_recording_holds_one_sample(node: Node, command: Callable[..., int]) -> None:
    """Even the shortest recording can be played."""
    assert command("--seconds=0.001") == 0

    assert len(load(node.out).frames) == 1


def test_the_bar_is_shown_on_standard_error_only(
    node: Node, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Standard output stays clean for whoever pipes it; a path is no markup."""
    node.out = node.out.parent / "[bold]odd[/red].gz"
    node.out.parent.mkdir()

    assert command("--seconds=1") == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "recording to" in err


def test_an_existing_file_is_refused_and_untouched(
    node: Node, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """What is there already is never written over: exit code 1, before anything is asked."""
    node.out.write_text("dear diary")

    assert command() == 1

    assert one_line(capsys) == f"vgpu-exporter: {node.out} is there already; choose another --out"
    assert node.out.read_text() == "dear diary"
    assert list(node.out.parent.iterdir()) == [node.out]
    assert node.driver.calls() == []


def test_a_link_that_somebody_laid_out_is_not_followed(
    node: Node, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Where others may write, a link under the temporary name would have root write elsewhere: refused, and kept."""
    victim, part = node.out.parent / "victim", node.out.with_name(node.out.name + ".part")
    part.symlink_to(victim)

    assert command() == 1

    assert f"{part} is there already: a recording is under way, or was killed; remove it" in one_line(capsys)
    assert part.is_symlink()
    assert not victim.exists()


def test_a_file_that_comes_to_be_meanwhile_is_not_replaced(node: Node) -> None:
    """A file that somebody else puts there during the recording stays as it is."""
    with (
        meanwhile(passed(node, 2), lambda: node.out.write_text("mine")),
        pytest.raises(ExporterError, match="has come to be there meanwhile; choose another --out"),
    ):
        node.record()

    assert node.out.read_text() == "mine"
    assert list(node.out.parent.iterdir()) == [node.out]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere/node.jsonl.gz", "No such file or directory"),
        ("file/node.jsonl.gz", "Not a directory"),
        ("n" * 255, "File name too long"),
    ],
)
def test_a_place_that_cannot_be_written_is_named(
    node: Node, command: Callable[..., int], capsys: pytest.CaptureFixture[str], path: str, why: str
) -> None:
    """A directory that is missing or none, or a name too long: one line that names the path, exit code 1, at once."""
    (node.out.parent / "file").touch()
    node.out = node.out.parent / path

    assert command() == 1

    assert one_line(capsys) == f"vgpu-exporter: {node.out} cannot be written: {why}"
    assert node.driver.calls() == []


def test_a_full_disk_is_told_and_leaves_nothing(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk is full there is no file that looks like a recording."""

    def full(*_: object) -> Any:  # noqa: ANN401  never returns
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip.GzipFile, "write", full)
    with pytest.raises(ExporterError, match=r"node\.jsonl\.gz cannot be written: No space left on device"):
        node.record(seconds=0.3)

    assert nothing_left(node)


def test_without_a_driver_nothing_is_recorded(
    node: Node, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Callable[..., int]
) -> None:
    """Where no driver library is, the log says why and the last line that nothing was recorded: exit code 1."""
    brief = Rhythm(interval=0.1, driver_within=0.2)
    monkeypatch.setattr(role, "record", partial(record, library_paths=["/nowhere/libnvidia-ml.so.1"], rhythm=brief))

    assert command() == 1

    last = one_line(capsys)
    assert last.endswith("the NVIDIA driver did not answer within 0.2 s; the log above says why. Nothing was recorded")
    assert nothing_left(node)


def test_a_wrong_procfs_is_told(node: Node, command: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """A --procfs that is none would make every process look gone: one line, exit code 1."""
    assert command(f"--procfs={node.out.parent}") == 1

    assert one_line(capsys).endswith(
        f"{node.out.parent} is no procfs: --procfs must name the host's. Nothing was recorded"
    )
    assert nothing_left(node)


def test_an_api_server_that_refuses_is_told(
    node: Node, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without permission to list pods: one line that says what to give, exit code 1, nothing left."""
    node.kube.fail(403)

    assert command() == 1

    assert "The API server answers HTTP 403 to list pods" in one_line(capsys)
    assert nothing_left(node)


def test_an_api_server_that_is_away_is_told(
    node: Node, command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    """An API server that cannot be reached: one line with its address, exit code 1, nothing left."""
    node.kube.refuse()

    assert command() == 1

    assert f"The API server at {node.kube.url} cannot be reached to list pods" in one_line(capsys)
    assert nothing_left(node)


def test_an_api_server_that_fails_later_costs_nothing_but_news(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """Once the pods are known a failing API server is logged, and the recording goes on with those pods."""
    with meanwhile(listed(node, 2), lambda: node.kube.fail(500), listed(node, 3), passed(node, 2)):
        recording = node.record()

    assert "the pods recorded so far stay: The API server answers HTTP 500" in caplog.text
    assert len(node.lines("pods")) == 1
    assert uses(played(recording))[A, uid("model")][0] == GIB


def test_a_node_name_that_no_pod_has_is_doubted(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    """A node without a single pod is recorded, but the name is probably wrong, and the log says so."""
    with meanwhile(passed(node, 2)):
        recording = node.record(node="node-z")

    assert recording.frames[-1].pods == ()
    assert "the API server knows no pod on the node node-z: is --node-name right?" in caplog.text


@pytest.mark.parametrize(("name", "said"), [("A B", "'A B' is not the node's"), ("a,b=c", "'a,b=c' is not the node's")])
def test_a_node_name_that_is_none_is_wrong_use(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str], name: str, said: str
) -> None:
    """What cannot be a node's name never reaches the API server's query: exit code 2."""
    assert command(f"--node-name={name}") == 2

    assert f"--node-name: {said} Kubernetes name" in one_line(capsys)


def test_the_signals_handlers_are_put_back(node: Node) -> None:
    """After a recording Ctrl-C means again what it meant before."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with meanwhile(passed(node, 2)):
        node.record()

    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


@contextmanager
def child(node: Node, library: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a process of its own."""
    arguments = [sys.executable, "-c", PROGRAM, library, *node.flags("--seconds=100")]
    with subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds; fail if it never does."""
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end, "it never came to that"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_a_signal_ends_a_recording_early_and_keeps_it(node: Node, number: signal.Signals) -> None:
    """Ctrl-C, or the end of the pod, leaves what was recorded until then, whole: exit code 0, no traceback."""
    with child(node, node.driver.library) as process:
        wait_until(lambda: node.passes() > 4)
        process.send_signal(number)
        out, err = process.communicate(timeout=10)

    assert (process.returncode, out) == (0, ""), err
    assert "Traceback" not in err
    assert len(load(node.out).frames) >= 2
    assert list(node.out.parent.iterdir()) == [node.out]


def test_a_signal_before_the_first_answer_leaves_nothing(node: Node) -> None:
    """Ctrl-C while the driver is still silent ends at once, in one line, and leaves no file."""
    with child(node, "/nowhere/libnvidia-ml.so.1") as process:
        wait_until(lambda: not nothing_left(node))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)

    assert process.returncode == 1
    assert err.splitlines()[-1] == ("vgpu-exporter: stopped before the driver had answered. Nothing was recorded")
    assert nothing_left(node)
