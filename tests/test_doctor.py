"""What the doctor says of findings: the cases that need no machine; whole set-ups: tests/integration/test_doctor.py."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from promql_parser import parse

from exporter.doctor import document, failed, listed, overall, passed, summary, unchecked, warned
from exporter.doctor.cluster import ApiFound, NodeFound, Permission, PodsFound, clock, grants, node, permissions, pods
from exporter.doctor.driver import Access, DriverFound, GpuFound, access, driver, gpus
from exporter.doctor.endpoint import EndpointFound, endpoint
from exporter.doctor.hami import RegionsFound, regions, release
from exporter.doctor.processes import INITIAL, ProcFound, cgroups, host_pid, procfs
from exporter.doctor.prometheus import FIRING, PrometheusFound, node_queries, prometheus, quota_queries
from exporter.errors import ApiError, DriverError
from exporter.hami.node_register import FOURPD, HAMI, VOLCANO
from exporter.model import Process
from exporter.report import as_text
from tests import make

NOTHING = Access(module="", control=False, visible=None, mounted=False)
LOADED = replace(NOTHING, module="NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.159.04  Thu")
HOST = Process(1, 0.0, "systemd", "0::/init.scope\n", (1,))


# ---------------------------------------------------------------- steps


def test_the_gravest_verdict_is_that_of_the_whole() -> None:
    """A failure outweighs a warning, which outweighs what passed; nothing at all is well."""
    good, doubtful, bad = passed("a", "x"), warned("b", "x", "do"), failed("c", "x", "do")

    assert [overall(steps) for steps in ([], [good], [good, doubtful], [bad, doubtful, good])] == [
        "pass", "pass", "warn", "fail",
    ]  # fmt: skip


def test_the_summary_names_what_to_look_at() -> None:
    """One line counts the verdicts and names all steps but those that passed."""
    steps = [passed("a", "x"), warned("b", "x", "do"), failed("c", "x", "do"), unchecked("d", "c")]

    assert summary(steps) == "1 fail (c), 2 warn (b, d), 1 pass"
    assert summary(steps[:1]) == "1 pass"


def test_the_document_has_the_promised_fields() -> None:
    """--json prints verdict and steps, each with name, verdict, found and advice."""
    assert document([failed("a", "b", "c")]) == {
        "verdict": "fail",
        "steps": [{"name": "a", "verdict": "fail", "found": "b", "advice": "c"}],
    }


def test_a_long_list_of_names_is_cut() -> None:
    """A message names five and says how many more there are."""
    assert listed("abcde") == "a, b, c, d, e"
    assert listed("abcdefg") == "a, b, c, d, e and 2 more"


def test_a_terminal_without_utf_8_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where marks and names cannot be written they are spelt in ASCII; what a terminal would obey is escaped."""
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))

    as_text([failed("pods", "te\u00e4m/\x1b[2J\u202e[red]", "mend\nit")])

    assert raw.getvalue().decode("ascii").splitlines() == [
        "x fail  pods: te\\xe4m/\\x1b[2J\\u202e[red]",
        "         mend\\nit",
        "1 fail (pods), 0 pass",
    ]


# ---------------------------------------------------------------- the driver


@pytest.mark.parametrize(
    ("reason", "library", "signs", "advice"),
    [
        ("library_not_found", "", LOADED, "Set gpuAccess: env with runtimeClassName: nvidia"),
        ("library_not_found", "", replace(LOADED, visible="void"), "Set gpuAccess: env with runtimeClassName: nvidia"),
        ("library_not_found", "", replace(LOADED, visible="all"), "Set runtimeClassName: nvidia"),
        ("library_not_found", "", replace(LOADED, mounted=True), "The toolkit does not accept mounts"),
        ("library_not_found", "", NOTHING, "No gpuAccess helps before the driver is installed"),
        ("driver_not_loaded", "/a", LOADED, "A mounted library is not enough"),
        ("no_permission", "/a", replace(LOADED, control=True), "The device cgroup refuses the devices"),
        ("gpu_lost", "/a", LOADED, "A mounted library is not enough"),
    ],
)
def test_the_gpu_access_that_would_help(reason: str, library: str, signs: Access, advice: str) -> None:
    """Which value of the chart helps follows from what the pod has and what was asked for."""
    step = access(DriverFound(library, DriverError(reason, "no")), signs)

    assert (step.verdict, step.advice.startswith(advice)) == ("fail", True), step.advice


@pytest.mark.parametrize("reason", ["version_mismatch", "hijacked", "timeout", "unknown"])
def test_a_driver_that_is_there_needs_no_other_gpu_access(reason: str) -> None:
    """Where the driver's own trouble is the cause, the way it got into the pod is fine."""
    found = DriverFound("/a", DriverError(reason, "no"))

    assert access(found, LOADED).verdict == "pass"
    assert driver(found, LOADED).verdict == "fail"
    assert driver(found, LOADED).advice


def test_a_gpu_that_answers_in_part_is_a_warning() -> None:
    """One refused call costs its own figures, so the step warns and says which call."""
    reading = make.reading()
    found = GpuFound(0, reading.device, reading, (DriverError("no_permission", "power: no permission"),))

    step = gpus(DriverFound("/a", None, (found,)))

    assert (step.verdict, step.found) == ("warn", f"GPU 0 ({make.GPU}): power: no permission")


# ---------------------------------------------------------------- /proc


def proc(*living: Process, listed: frozenset[int] = frozenset(), own: int | None = None, ns: str = "") -> ProcFound:
    """Return what a readable /proc says; our own cgroup is `0::/`, as in a private cgroup namespace."""
    state = replace(make.processes(*living), own_cgroup="0::/\n")
    return ProcFound("/proc", state, listed, own, ns)


def test_processes_that_the_driver_lists_prove_the_namespace() -> None:
    """Whatever else looks odd, listed processes mean that we see the host's PIDs."""
    found = proc(replace(HOST, cgroup="0::/\n"), listed=frozenset({7}))

    assert host_pid(found, make.driver(make.reading({7: 1}))).verdict == "pass"


def test_the_hosts_namespace_is_told_by_its_number() -> None:
    """Without systemd PID 1 may be in the same cgroup as we; the initial namespace has a fixed number."""
    found = proc(replace(HOST, cgroup="0::/\n"), ns=INITIAL)

    assert host_pid(found, make.driver(make.reading())).verdict == "pass"


@pytest.mark.parametrize(
    "found",
    [
        proc(HOST, Process(900, 1.0, "vgpu-exporter", "0::/\n", (900, 1)), own=900, ns="pid:[4026532000]"),
        proc(replace(HOST, cgroup=f"0::/../cri-containerd-{make.cid('pause')}.scope\n")),
    ],
    ids=["another procfs is mounted", "the pod's pause container"],
)
def test_a_namespace_of_ones_own_is_told(found: ProcFound) -> None:
    """The host's /proc mounted into a pod without hostPID, or a pod's shared namespace, is not the host's."""
    assert host_pid(found, make.driver(make.reading())).verdict == "fail"


def test_a_nested_clusters_node_is_the_host() -> None:
    """In kind PID 1 is the node container's init, outside any pod: that is what hostPID gives there."""
    found = proc(replace(HOST, cgroup="0::/../../init.scope\n"), ns="pid:[4026532000]")

    assert host_pid(found, make.driver(make.reading())).verdict == "pass"


def test_a_procfs_without_the_drivers_pids_is_another_ones() -> None:
    """If no listed process is there --procfs names the wrong one."""
    step = procfs(proc(HOST, listed=frozenset({7, 8})))

    assert step.verdict == "pass"  # not asked about: nothing is known
    gone = replace(make.processes(HOST, gone=[7, 8]), own_cgroup="0::/\n")
    step = procfs(ProcFound("/proc", gone, frozenset({7, 8}), None, ""))
    assert (step.verdict, "none is under /proc" in step.found) == ("fail", True)


def test_an_idle_nodes_cgroups_are_not_judged_sound() -> None:
    """Where no process is in a pod nothing proves that their shape is known."""
    found = proc(HOST)

    assert cgroups(found, host_pid(found, make.driver(make.reading()))).verdict == "warn"


# ---------------------------------------------------------------- the cluster


def test_reviews_that_may_not_be_asked_for_fail_nothing() -> None:
    """If even the question is forbidden, what follows shows what is allowed."""
    found = ApiFound("https://api", ApiError("forbidden", "HTTP 403"), 0.0, {})

    assert permissions(found).verdict == "warn"
    assert found.may(Permission("list", "pods"))


def test_no_date_gives_no_verdict_on_the_clock() -> None:
    """An answer without a Date leaves the clock unchecked."""
    assert clock(ApiFound("https://api", None, None, {})).found == "not checked"


def test_a_forbidden_list_names_its_cause() -> None:
    """If pods or the Node cannot be read after all, the API server's own words stand in the step."""
    error = ApiError("server_error", "HTTP 500")

    assert pods(PodsFound(error), make.NODE)[1:3] == ("fail", "HTTP 500")
    assert node(NodeFound(error), make.NODE)[1:3] == ("fail", "HTTP 500")
    assert grants(PodsFound(error), make.NODE).found == "not checked"


def test_pods_that_ask_without_any_grant_point_at_the_scheduler() -> None:
    """Pods with accelerators, none of which HAMi placed: scheduler and webhook are named."""
    step = grants(PodsFound(None, (make.pod(asks={"nvidia.com/gpu": 1}),)), make.NODE)

    assert (step.verdict, "schedulerName" in step.advice) == ("warn", True)


# ---------------------------------------------------------------- HAMi


@pytest.mark.parametrize(
    ("key", "text", "layout", "guess"),
    [
        (FOURPD, "GPU-a,1,1,1,x,true:", "", "HAMi 2.2.0 to 2.3.4"),
        (HAMI, "GPU-a,1,1,1,x,0,true:", "", "HAMi 2.3.9 to 2.4.1"),
        (HAMI, "GPU-a,1,1,1,x,0,true,0,hami-core:", "", "HAMi 2.5.0 to 2.7.1"),
        (HAMI, "[]", "", "HAMi 2.8.0 or newer"),
        (HAMI, "[]", "v1.1a", "HAMi 2.8.0"),
        (HAMI, "[]", "v1.1b", "HAMi 2.8.1"),
        (HAMI, "[]", "v1.2", "HAMi 2.8.2 or newer"),
        (HAMI, "GPU-a,1,1,1,x,0,true,0,hami-core:", "v1.2", "HAMi 2.5.0 to 2.7.1"),  # an old pod's, or a new file
        (VOLCANO, "GPU-a,1,1,x,true:", "", "Volcano's vGPU device plugin"),
    ],
)
def test_the_release_by_what_it_leaves_behind(key: str, text: str, layout: str, guess: str) -> None:
    """Form and key of the registration tell a range of releases, which a region's layout narrows if it fits."""
    found = [("model", "main", replace(make.region({}), layout=layout))] if layout else []

    step = release(NodeFound(key=key, text=text), PodsFound(), RegionsFound(("/r",), (), make.regions(*found)))

    assert step.verdict == "pass"
    assert step.found.partition(" by ")[0] == guess


@pytest.mark.parametrize(("tag", "guess"), [("v2.10.0", "HAMi 2.10.0"), ("v2.11.3@sha256:00", "HAMi 2.11.3")])
def test_an_image_names_the_release_exactly(tag: str, guess: str) -> None:
    """The tag counts, also one that is newer than we know; a registry's port is none."""
    images = (f"registry.test:5000/hami:{tag}",)

    assert release(NodeFound(), PodsFound(images=images), None).found.startswith(f"{guess} by")


def test_a_node_without_hami_is_a_warning() -> None:
    """Neither registration nor plugin: the plugin's own node label is the advice."""
    step = release(NodeFound(), PodsFound(images=("registry.test:5000/hami:latest",)), None)

    assert (step.verdict, "gpu=on" in step.advice) == ("warn", True)


def test_regions_that_nobody_reads_are_well() -> None:
    """An empty --hami-containers is a choice."""
    assert regions(None).verdict == "pass"


# ---------------------------------------------------------------- the exporter and Prometheus


def test_an_exporter_that_is_not_ready_says_why() -> None:
    """Its own reason is shown; the steps that fail are what to mend."""
    assert endpoint(EndpointFound("127.0.0.1:9837", 503, "no GPU"))[1:3] == ("warn", "127.0.0.1:9837/readyz: no GPU")


def test_every_query_is_promql() -> None:
    """What Prometheus is asked parses."""
    for queries in (node_queries("node-a.example"), quota_queries()):
        for query in (queries.present, queries.overwritten, queries.targets):
            assert parse(query).prettify()
    assert parse(FIRING).prettify()


def test_a_prometheus_that_hides_its_rules_is_a_warning() -> None:
    """Where /api/v1/rules is not to be had nobody can say whether they are loaded."""
    steps = {step.name: step for step in prometheus(PrometheusFound(series=1, targets=1))}

    assert steps["prometheus-rules"].verdict == "warn"
    assert json.dumps(document(list(steps.values())))
