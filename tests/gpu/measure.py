"""What the exporter says on a real GPU, against what NVML and the workers themselves say.

    python -m tests.gpu.measure [SECONDS]

Needs an NVIDIA GPU, nvcc, root (it makes kubepods-shaped cgroups) and the runtime dependencies. Starts workers of
known memory and duty (`worker.cu`) in cgroups like a kubelet's, a local Kubernetes-speaking server that names their
pods, and the real exporter twice: as root, and as uid 65534 without any capability. Exits 1 if a claim does not hold.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pynvml
from prometheus_client.parser import text_string_to_metric_families

from exporter import capture
from exporter.sampler import Sampler, Sources
from exporter.sources.nvml import NvmlGpus
from exporter.sources.pods import WatchedPods
from exporter.sources.procfs import ProcFs
from exporter.sources.recorded import Player, load
from tests.kube_server import KubeServer
from tests.make import NODE, cid, uid
from tests.world import manifest
from tests.world import node as kube_node

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
CGROUPS = Path("/sys/fs/cgroup")
_SEEDS = itertools.count(7)
SLICE = CGROUPS / "kubepods.slice" / "kubepods-burstable.slice"
UNPRIVILEGED = [
    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--bounding-set=-all",
    "--inh-caps=-all",
]  # fmt: skip
#: pod → (namespace, MiB held, duty, MiB granted; None = no grant, "host" = not in a pod at all)
TENANTS: dict[str, tuple[str, int, float, int | None]] = {
    "embed": ("rag", 3000, 0.25, 4000),
    "rerank": ("rag", 2000, 0.15, 3000),
    "worker": ("xinference", 1000, 0.05, 2304),
    "greedy": ("xinference", 1500, 0.30, 2304),
    "notebook": ("research", 500, 0.0, 4000),
    "legacy": ("batch", 800, 0.03, None),
    "host": ("", 700, 0.04, None),
}


@dataclass
class Worker:
    """One process on the GPU; `true_gpu_s` is what it counted itself, once it has ended."""

    pod: str
    process: subprocess.Popen[str]
    true_gpu_s: float = 0.0

    @classmethod
    def start(cls, binary: list[str], pod: str, mib: int, duty: float) -> Self:
        """Start one in its pod's cgroup; `host` stays where we are."""
        join = "" if pod == "host" else f"echo $$ > {cgroup_of(pod)}/cgroup.procs; "
        command = ["sh", "-c", f"{join}exec {binary[0]} {mib} {duty} {next(_SEEDS)} {binary[1]}"]
        worker = cls(pod, subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert worker.process.stdout is not None
        assert worker.process.stdout.readline() == "ready\n", f"{pod}: the worker did not start"
        return worker

    def stop(self) -> None:
        """End it and take down what it counted."""
        self.process.terminate()
        words, _ = self.process.communicate(timeout=20)
        self.true_gpu_s = float(words.split()[-1]) if "true_gpu_s" in words else 0.0


def cgroup_of(pod: str) -> Path:
    """Make the cgroup of a pod's container, as systemd and containerd name it."""
    path = (
        SLICE
        / f"kubepods-burstable-pod{uid(pod).replace('-', '_')}.slice"
        / f"cri-containerd-{cid(pod + '/main')}.scope"
    )
    path.mkdir(parents=True, exist_ok=True)
    return path


@dataclass
class Exporter:
    """The real program under way."""

    name: str
    port: int
    program: subprocess.Popen[bytes]
    log: Path
    first: dict[tuple[str, frozenset[tuple[str, str]]], float] = field(default_factory=dict)

    @classmethod
    def start(cls, name: str, port: int, kubeconfig: Path, prefix: list[str]) -> Self:
        """Start it on a port of its own."""
        log = Path(tempfile.mkstemp(prefix=f"exporter-{name}-")[1])
        command = [
            *prefix, sys.executable, "-m", "exporter", "node", f"--node-name={NODE}", f"--kubeconfig={kubeconfig}",
            f"--listen=127.0.0.1:{port}", "--health-listen=",
        ]  # fmt: skip
        environment = os.environ | {"HOME": "/nonexistent"}
        program = subprocess.Popen(command, cwd=ROOT, stderr=log.open("wb"), env=environment)
        exporter = cls(name, port, program, log)
        for _ in range(100):
            with contextlib.suppress(OSError):
                if exporter.value("vgpu_device_memory_attributed_bytes") is not None:
                    return exporter
            time.sleep(0.2)
        raise SystemExit(f"{name}: no attribution after 20 s:\n{log.read_text()}")

    def scrape(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Return all samples."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        """Return one sample, None if there is none."""
        wanted = set(labels.items())
        return next((value for (named, on), value in self.scrape().items() if named == name and wanted <= on), None)

    def usage(self) -> tuple[float, float]:
        """Return (CPU seconds so far, resident MB) of the program."""
        fields = Path(f"/proc/{self.program.pid}/stat").read_text().rpartition(")")[2].split()
        resident = int(Path(f"/proc/{self.program.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), resident / 1e6


class Report:
    """What was measured, claim by claim."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.rows: list[tuple[str, str, bool]] = []

    def claim(self, name: str, measured: str, *, holds: bool) -> None:
        """Note one."""
        self.rows.append((name, measured, holds))
        print(f"{'ok  ' if holds else 'FAIL'} {name}: {measured}", flush=True)


def compiled(directory: Path) -> list[str]:
    """Compile the worker; return it and how fast this GPU works."""
    binary = str(directory / "worker")
    subprocess.run(["nvcc", "-O2", "-o", binary, ROOT / "tests" / "gpu" / "worker.cu"], check=True)
    speed = subprocess.run([binary, "calibrate"], check=True, capture_output=True, text=True).stdout.strip()
    return [binary, speed]


def handle() -> Any:  # noqa: ANN401  pynvml has no types
    """Return the first GPU of our own NVML."""
    pynvml.nvmlInit()
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def who_uses_what(report: Report, exporters: list[Exporter], workers: list[Worker], seconds: float) -> None:
    """Compare memory to the byte, core seconds in sum and by worker."""
    gpu = handle()
    listed = {one.pid: one.usedGpuMemory for one in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)}
    for exporter in exporters:
        wrong = []
        for worker in workers:
            if worker.pod == "host":
                said = exporter.value("vgpu_device_memory_unattributed_bytes", reason="host")
            else:
                said = exporter.value("vgpu_container_memory_used_bytes", pod=worker.pod)
            if said != listed.get(worker.process.pid):
                wrong.append(f"{worker.pod}: {said} against {listed.get(worker.process.pid)}")
        report.claim(
            f"{exporter.name}: memory equals NVML's to the byte",
            "; ".join(wrong) or f"{len(workers)} of {len(workers)}",
            holds=not wrong,
        )
        exporter.first = exporter.scrape()
    begun, cpu = time.monotonic(), {exporter.name: exporter.usage()[0] for exporter in exporters}
    seen, busy = time.time_ns() // 1000, 0.0
    first_seen = seen
    while time.monotonic() - begun < seconds:
        time.sleep(2)
        spent_now, seen = own_samples(gpu, seen)
        busy += spent_now
    spent = {exporter.name: exporter.usage()[0] for exporter in exporters}
    for exporter in exporters:
        core_seconds(report, exporter, busy / ((seen - first_seen) / 1e6), time.monotonic() - begun)
        share = (spent[exporter.name] - cpu[exporter.name]) / (time.monotonic() - begun)
        report.claim(
            f"{exporter.name}: CPU of the whole program, driver included",
            f"{share:.2%} of a core, {exporter.usage()[1]:.0f} MB resident",
            holds=exporter.usage()[1] <= 80,
        )


def own_samples(gpu: Any, seen: int) -> tuple[float, int]:  # noqa: ANN401  pynvml has no types
    """Return (GPU-seconds since the stamp `seen` by the GPU's own samples, the newest stamp)."""
    _, samples = pynvml.nvmlDeviceGetSamples(gpu, pynvml.NVML_GPU_UTILIZATION_SAMPLES, seen)
    busy = 0.0
    for sample in sorted(samples, key=lambda sample: sample.timeStamp):
        busy += sample.sampleValue.uiVal / 100 * (sample.timeStamp - seen) / 1e6
        seen = sample.timeStamp
    return busy, seen


def core_seconds(report: Report, exporter: Exporter, share: float, seconds: float) -> None:
    """Compare the exporter's core seconds with the busy `share` that the GPU's own samples gave for the same time.

    Per observed second: our first and last scrape lie up to a second from theirs.
    """
    last = exporter.scrape()

    def grown(name: str) -> float:
        return sum(value - exporter.first.get(key, 0.0) for key, value in last.items() if key[0] == name)

    ours = grown("vgpu_device_core_busy_seconds_total")
    parts = grown("vgpu_device_core_attributed_seconds_total") + grown("vgpu_device_core_unattributed_seconds_total")
    billed = grown("vgpu_namespace_core_busy_seconds_total")
    observed = grown("vgpu_device_observed_seconds_total")
    gaps = sum(
        value
        for key, value in last.items()
        if key[0] == "vgpu_source_errors_total" and ("reason", "sample_gap") in key[1]
    )
    report.claim(
        f"{exporter.name}: core seconds against the device's own samples",
        f"{ours:.2f} of {share * observed:.2f} ({ours / observed / share - 1:+.2%}) in {observed:.0f} s observed",
        holds=abs(ours / observed / share - 1) < 0.01,
    )
    report.claim(
        f"{exporter.name}: attributed + unattributed = busy",
        f"{parts:.3f} of {ours:.3f}",
        holds=abs(parts - ours) <= 0.01 * ours,
    )
    report.claim(
        f"{exporter.name}: attributed = what namespaces are billed",
        f"{billed:.3f}",
        holds=abs(billed - grown("vgpu_device_core_attributed_seconds_total")) < 1e-6,
    )
    report.claim(
        f"{exporter.name}: observed",
        f"{observed:.1f} of {seconds:.1f} s, {gaps:.0f} sample gaps",
        holds=observed > seconds - 3,
    )


def by_worker(
    report: Report, exporter: Exporter, workers: list[Worker], before: dict[str, float], seconds: float
) -> None:
    """Compare the work that each did with what the exporter booked on it, once all have ended.

    The driver books five samples a second on one process each: three standard deviations of that are allowed.
    """
    said = {worker.pod: booked(exporter, worker.pod) - before[worker.pod] for worker in workers}
    rows = ", ".join(f"{worker.pod} {said[worker.pod]:.2f}/{worker.true_gpu_s:.2f}" for worker in workers)

    def allowed(worker: Worker) -> float:
        share = worker.true_gpu_s / seconds
        return 3 * math.sqrt(share * (1 - share) / (5 * seconds)) * seconds + 0.5

    total, truth = sum(said.values()), sum(worker.true_gpu_s for worker in workers)
    close = all(abs(said[worker.pod] - worker.true_gpu_s) < allowed(worker) for worker in workers)
    report.claim(f"{exporter.name}: GPU-seconds booked / worked, in {seconds:.0f} s", rows, holds=close)
    report.claim(
        f"{exporter.name}: in sum (busy time also holds the switching between processes)",
        f"{total:.2f} of {truth:.2f} ({total / truth - 1:+.2%})",
        holds=abs(total / truth - 1) < 0.1,
    )


def booked(exporter: Exporter, pod: str) -> float:
    """Return the core seconds booked so far on a pod, or on the host's processes.

    A pod without a grant has no series once its process has ended: of it the namespace's account tells.
    """
    if pod == "host":
        return exporter.value("vgpu_device_core_unattributed_seconds_total", reason="host") or 0.0
    if TENANTS[pod][3] is None:
        return exporter.value("vgpu_namespace_core_busy_seconds_total", namespace=TENANTS[pod][0]) or 0.0
    return exporter.value("vgpu_container_core_busy_seconds_total", pod=pod) or 0.0


def idle_gpu(report: Report, exporter: Exporter) -> None:
    """An idle GPU is observed too, and nothing is booked."""
    time.sleep(3)
    observed = exporter.value("vgpu_device_observed_seconds_total") or 0.0
    busy = exporter.value("vgpu_device_core_busy_seconds_total") or 0.0
    time.sleep(10)
    seen = (exporter.value("vgpu_device_observed_seconds_total") or 0.0) - observed
    spent = (exporter.value("vgpu_device_core_busy_seconds_total") or 0.0) - busy
    report.claim(
        "an idle GPU is observed and not busy",
        f"{seen:.1f} of 10 s observed, {spent:.2f} busy",
        holds=seen > 8 and spent < 0.1,
    )


def sampling_step(report: Report, kubeconfig: Path, processes: int) -> None:
    """One tick against the bare calls that it needs, in turns, in this process."""
    gpus = NvmlGpus(1.0)
    pods = WatchedPods(NODE, kubeconfig=str(kubeconfig))
    pods.start()
    sampler = Sampler(NODE, Sources(gpus, ProcFs(), pods), 1.0)
    for _ in range(3):
        sampler.tick()
        time.sleep(1)
    gpu, seen = handle(), time.time_ns() // 1000
    bare, ticks = [], []
    for _ in range(25):
        time.sleep(0.5)
        begun = time.perf_counter()
        bare_calls(gpu, seen)
        bare.append(time.perf_counter() - begun)
        seen = time.time_ns() // 1000 - 500_000
        time.sleep(0.5)
        begun = time.perf_counter()
        sampler.tick()
        ticks.append(time.perf_counter() - begun)
    sampler.stop()
    calls, tick = statistics.median(bare) * 1e3, statistics.median(ticks) * 1e3
    report.claim(
        f"one sampling step with {processes} processes",
        f"{tick:.2f} ms, the bare calls {calls:.2f} ms: {tick / calls:.2f} times",
        holds=tick <= 1.5 * calls,
    )


def bare_calls(gpu: Any, seen: int) -> None:  # noqa: ANN401  pynvml has no types
    """Ask the driver all that one pass over a GPU asks, and do nothing with it."""
    pynvml.nvmlDeviceGetMemoryInfo(gpu, version=pynvml.nvmlMemory_v2)
    pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
    pynvml.nvmlDeviceGetGraphicsRunningProcesses(gpu)
    pynvml.nvmlDeviceGetMPSComputeRunningProcesses(gpu)
    pynvml.nvmlDeviceGetUtilizationRates(gpu)
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlDeviceGetSamples(gpu, pynvml.NVML_GPU_UTILIZATION_SAMPLES, seen)
    with contextlib.suppress(pynvml.NVMLError):
        pynvml.nvmlDeviceGetProcessesUtilizationInfo(gpu, seen)
    pynvml.nvmlDeviceGetPowerUsage(gpu)
    pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)
    pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU)


def recording(report: Report, kubeconfig: Path, directory: Path) -> None:
    """`capture` records this node, redacted, and the file plays."""
    out = directory / "node.jsonl.gz"
    command = [
        sys.executable,
        "-m",
        "exporter",
        "capture",
        f"--out={out}",
        "--seconds=8",
        f"--node-name={NODE}",
        f"--kubeconfig={kubeconfig}",
    ]
    subprocess.run(command, cwd=ROOT, check=True)
    played = load(out)
    now = [0.0]
    player = Player(played, monotonic=lambda: now[0], wall=time.time)
    sampler = Sampler(played.node, Sources(player, player, player), player.interval)
    snapshot = sampler.tick()
    for frame in played.frames:
        now[0] = frame.t + 0.01
        snapshot = sampler.tick()
    used = sum(pair.used or 0 for pair in snapshot.joined.pairs)
    names = {pair.owner.namespace for pair in snapshot.joined.pairs}
    report.claim(
        "a redacted capture plays",
        f"{len(played.frames)} samples, {out.stat().st_size} bytes, {used} bytes attributed to {sorted(names)}",
        holds=used > 0 and all(name.startswith("ns-") for name in names),
    )
    assert capture.VERSION == 1


def crowd(binary: list[str], count: int) -> list[Worker]:
    """Start many small workers in the pod `embed`."""
    return [Worker.start(binary, "embed", 16, 0.005) for _ in range(count)]


def xid_events(report: Report, exporters: list[Exporter], binary: list[str]) -> None:
    """Provoke XID 31 once, a kernel that writes where nothing is, and see each exporter count it with its time."""
    before = {exporter.name: xid_31(exporter)[0] for exporter in exporters}
    for exporter in exporters:
        answers = [
            dict(labels)["reason"]
            for name, labels in exporter.scrape()
            if name == "vgpu_device_capability_info" and ("capability", "xid") in labels
        ]
        report.claim(
            f"{exporter.name}: may register for XID events and wait for them",
            f"capability xid: {', '.join(answers) or 'absent'}; XID 31 so far: {before[exporter.name]}",
            holds=set(answers) == {"supported"} and before[exporter.name] is not None,
        )
    fault = subprocess.run([binary[0], "fault"], check=False, capture_output=True, text=True, timeout=60)
    happened = time.time()
    for exporter in exporters:
        count, last = counted(exporter, (before[exporter.name] or 0) + 1)
        report.claim(
            f"{exporter.name}: an XID 31 ({fault.stdout.strip()}) is counted once, with its time",
            f"{before[exporter.name]} before, {count} after, {(last or 0) - happened:+.1f} s from the fault",
            holds=count == (before[exporter.name] or 0) + 1 and last is not None and abs(last - happened) < 5,
        )


def counted(exporter: Exporter, count: float) -> tuple[float | None, float | None]:
    """Return what is said of XID 31 as soon as it was counted so often, at most 10 s later."""
    deadline = time.monotonic() + 10
    while (xid_31(exporter)[0] or 0) < count and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(2)  # time enough to count it twice, which would be wrong
    return xid_31(exporter)


def xid_31(exporter: Exporter) -> tuple[float | None, float | None]:
    """Return how many XIDs 31 were counted on all GPUs, and when the last came; None where there is no such series."""
    samples = [(name, value) for (name, labels), value in exporter.scrape().items() if ("xid", "31") in labels]
    counts = [value for name, value in samples if name == "vgpu_device_xid_errors_total"]
    times = [value for name, value in samples if name == "vgpu_device_xid_last_timestamp_seconds"]
    return sum(counts) if counts else None, max(times, default=None)


def attempt(report: Report, what: str, step: Callable[[], None]) -> None:
    """Measure something whose failure must not hide the other claims."""
    try:
        step()
    except Exception as error:  # noqa: BLE001  whatever it is, it stands in the report
        report.claim(what, repr(error), holds=False)


@contextlib.contextmanager
def node(kubeconfig: Path) -> Iterator[list[Exporter]]:
    """Run the exporter as root and as nobody."""
    exporters = [
        Exporter.start("root", 9836, kubeconfig, []),
        Exporter.start("uid 65534, no capability", 9846, kubeconfig, UNPRIVILEGED),
    ]
    try:
        yield exporters
    finally:
        for exporter in exporters:
            exporter.program.terminate()
            code = exporter.program.wait(timeout=6)
            print(f"{exporter.name}: ended with {code}; log:\n{exporter.log.read_text()}", flush=True)


def main() -> None:
    """Measure, print, and say by the exit code whether every claim holds."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60.0
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    report = Report()
    binary = compiled(directory)
    uuid = pynvml.nvmlDeviceGetUUID(handle())
    with KubeServer() as kube:
        kube.put(kube_node())
        for pod, (namespace, _, _, granted) in TENANTS.items():
            if pod != "host":
                kube.put(manifest(pod, uuid if granted else None, namespace=namespace, mib=granted or 0))
        kubeconfig = kube.kubeconfig(directory / "kubeconfig")
        kubeconfig.chmod(0o644)
        with node(kubeconfig) as exporters:
            before = [{pod: booked(exporter, pod) for pod in TENANTS} for exporter in exporters]
            begun = time.monotonic()
            workers = [Worker.start(binary, pod, mib, duty) for pod, (_, mib, duty, _) in TENANTS.items()]
            time.sleep(3)
            who_uses_what(report, exporters, workers, seconds)
            recording(report, kubeconfig, directory)
            for worker in workers:
                worker.stop()
            time.sleep(2.5)
            for exporter, start in zip(exporters, before, strict=True):
                by_worker(report, exporter, workers, start, time.monotonic() - begun)
            idle_gpu(report, exporters[0])
            many = crowd(binary, 64)
            time.sleep(2)
            cpu, begun = exporters[0].usage()[0], time.monotonic()
            time.sleep(15)
            share = (exporters[0].usage()[0] - cpu) / (time.monotonic() - begun)
            report.claim("root: CPU with 64 processes", f"{share:.2%} of a core, driver included", holds=True)
            sampling_step(report, kubeconfig, len(many))
            for worker in many:
                worker.stop()
            attempt(report, "XID events", lambda: xid_events(report, exporters, binary))
    shutil.rmtree(directory)
    Path(os.environ.get("OUT", ".")).joinpath("gpu-report.json").write_text(json.dumps(report.rows, indent=1))
    raise SystemExit(0 if all(holds for *_, holds in report.rows) else 1)


if __name__ == "__main__":
    main()
