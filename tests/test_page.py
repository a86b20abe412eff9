"""The page for people: who uses which GPU, what is nobody's, which source is blind; and nothing that could act."""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from exporter import page
from exporter.accounting import Accounting
from exporter.join import MEMORY_REASONS, Carry
from exporter.model import Container, Device, DeviceReading, DriverState
from exporter.snapshot import Counted, Snapshot
from tests.make import GIB, GPU, OTHER_GPU, cgroup, driver, joined, pod, process, processes, reading, roster, status
from tests.replay import Replay

if TYPE_CHECKING:
    from exporter.model import Pod

#: Elements that HTML lets one leave open.
MAY_STAY_OPEN = {"meta", "link", "br"}
HOSTILE = "<script>alert('x')</script>&\"'\n\x00<!--"


class Document(HTMLParser):
    """A parsed page: elements must nest, rows and cells are kept as texts."""

    def __init__(self, html: str) -> None:
        """Parse all of it."""
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.widths: list[int] = []
        self.text = ""
        self.feed(html)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
            self.widths.append(0)
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.widths[-1] += int(dict(attrs).get("colspan") or 1)
        if tag not in MAY_STAY_OPEN:
            self.open.append(tag)

    @override
    def handle_endtag(self, tag: str) -> None:
        if tag not in MAY_STAY_OPEN:
            assert self.open.pop() == tag

    @override
    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            return
        self.text += data
        if "tr" in self.open:
            self.rows[-1][-1] += data


def snapshot_of(
    *pods: Pod, state: DriverState | None = None, node: str = "node-a", not_ready: str | None = None
) -> Snapshot:
    """Return the snapshot of a GPU on which PID 7 runs in the pod `model` and PID 8 on the host."""
    state = state or driver(reading({7: GIB, 8: 2 * GIB}, used=4 * GIB))
    found = processes(process(7, cgroup("model", "model/main")), process(8))
    result, _ = joined(state, found, roster(*pods), Carry(listed=True))
    accounts = Accounting(started=0.0, longest=10.0).book(result)
    return Snapshot(node, 1_800_000_000.0, result, accounts, (status("nvml"), status("pods", up=False)), not_ready)


@pytest.fixture(name="escape", scope="module")
def _escape() -> str:
    """Return the page at 80 s of the recording, with the escape under way."""
    return page.render(Replay().until(80.5), "Demo: a recording.")


def row(document: Document, pod: str) -> list[str]:
    """Return the cells of a pod's row."""
    [cells] = [cells for cells in document.rows if len(cells) == 7 and cells[0].partition(" / ")[0] == pod]
    return cells


def named(document: Document, text: str) -> list[str]:
    """Return the cells of the one row that begins with a text."""
    [cells] = [cells for cells in document.rows if cells[0] == text]
    return cells


def bars(html: str) -> list[str]:
    """Return what the bars say to those who do not see them."""
    return [str(attrs["aria-label"]) for tag, attrs in Document(html).tags if tag == "svg"]


# ---------------------------------------------------------------- who uses what


def test_it_shows_all_ten_pods_of_the_recording_in_the_order_of_their_names(escape: str) -> None:
    """Each of the ten recorded pods has one row, below its namespace; nobody changes places because of what is used."""
    snapshot = Replay().until(80.5)
    shown = [cells[0] for cells in Document(escape).rows if " / " in cells[0] and cells[0].count("/") == 1]

    owners = sorted(pair.owner[1:] for pair in snapshot.joined.pairs)
    assert shown == [f"{pod} / {container}" for _, pod, container in owners]
    assert len(shown) == 10


def test_a_namespace_is_the_sum_of_its_containers(escape: str) -> None:
    """Above the containers of a namespace stands what they use and were granted together."""
    document = Document(escape)

    assert named(document, "xinference")[1:3] == ["9,090 MiB", "11,520 MiB"]
    assert named(document, "xinference")[4:6] == ["100.0%", "5"]
    assert named(document, "rag")[4] == "not limited"


def test_it_marks_who_is_over_the_grant(escape: str) -> None:
    """The escape of ssh-lab-0, and the pod that was granted nothing, are marked in words; nobody else is."""
    document = Document(escape)

    assert row(document, "ssh-lab-0")[1:3] == ["7,736 MiB", "2,000 MiB"]
    assert row(document, "notebook-0")[1] == "0 MiB"
    marked = {cells[0]: cells[6] for cells in document.rows[1:] if len(cells) == 7 and cells[6]}
    assert marked == {
        "ssh-lab-0 / lab": "▲ over its grant▲ escaped HAMi: 6,518 MiB",
        "legacy-train-0 / train": "▲ no grant",
    }


def test_an_escape_of_unknown_size_and_a_blind_libvgpu_are_marked() -> None:
    """Processes that libvgpu does not count are named even where the driver does not say what they use."""
    snapshot = snapshot_of(pod("model", granted=f"{GPU},NVIDIA,2000,30:;"))
    [pair] = snapshot.joined.pairs
    counted = Counted(uncounted=None, processes_uncounted=1, blind=True)
    joined_ = replace(snapshot.joined, pairs=(replace(pair, counted=counted),))

    remarks = row(Document(page.render(replace(snapshot, joined=joined_))), "model")[6]
    assert remarks == "▲ escaped HAMi: 1 process▲ HAMi-core is blind"


def test_it_shows_what_is_nobodys_last(escape: str) -> None:
    """The host's process and unlisted memory stand below all containers with their reasons, and what they mean."""
    rows = Document(escape).rows
    [at] = [number for number, cells in enumerate(rows) if cells[0] == "Belongs to no container"]

    assert rows[at][1] == "1,585 MiB"
    assert [cells[:2] for cells in rows[at + 1 :]] == [["host", "1,518 MiB"], ["unlisted", "67 MiB"]]
    assert rows[at + 1][2] == "processes outside Kubernetes"


def test_every_reason_is_explained() -> None:
    """Whatever memory belongs to nobody, the page says in words what that means."""
    snapshot = snapshot_of(pod("model"))
    use = replace(snapshot.joined.devices[0], unattributed=dict.fromkeys(MEMORY_REASONS, GIB), overcounted=GIB)
    document = Document(page.render(replace(snapshot, joined=replace(snapshot.joined, devices=(use,)))))

    assert all(len(named(document, reason)[2]) > 10 for reason in MEMORY_REASONS)
    assert named(document, "counted twice")[1] == "-1,024 MiB"


def test_the_bars_compare_used_granted_and_physical(escape: str) -> None:
    """Each bar says in words what it shows; above the containers stand those of the GPU as a whole."""
    said = bars(escape)

    assert [label for label in said if label.startswith("Memory")] == [
        "Memory used: 40,265 MiB",
        "Memory granted: 39,520 MiB",
    ]
    assert "Physical memory: 143,771 MiB" in said
    assert "Cores granted: 135.0%" in said
    assert "387% of the grant, 5.4% of the GPU" in said
    assert all(said)


def test_no_bar_is_longer_than_its_place(escape: str) -> None:
    """Also of what is over its grant, bar and mark stay within."""
    rects = [attrs for tag, attrs in Document(escape).tags if tag == "rect"]

    assert rects
    assert all(0 <= float(attrs.get("x") or 0) + float(attrs["width"] or "") <= 100 for attrs in rects)


def test_it_shows_sources_time_and_note(escape: str) -> None:
    """Every source has its line, and the page says when it was read and what it is."""
    document = Document(escape)

    assert re.fullmatch(r"\d+\.\d%", row(document, "ssh-lab-0")[3])
    assert "nvml: answers" in document.text
    assert "pods: answers" in document.text
    assert re.search(r"Read \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", document.text)
    assert "Demo: a recording." in document.text


def test_several_gpus_have_an_overview() -> None:
    """With more than one GPU a line for each stands on top and leads there."""
    state = driver(reading({7: GIB}, used=6 * GIB), reading({}, uuid=OTHER_GPU))
    state = replace(state, readings={GPU: state.readings[GPU]})
    html = page.render(snapshot_of(pod("model"), state=state))
    document = Document(html)

    assert "GPU 0: 25.0% of memory used, 1 container, ▲ 1 marked" in document.text
    assert "GPU 0: ▲ no fresh reading" in document.text
    links = [str(attrs["href"]) for tag, attrs in document.tags if tag == "a"]
    identities = {attrs.get("id") for _, attrs in document.tags}
    assert links[:2] == ["#gpu-0", "#gpu-1"]
    assert {link.removeprefix("#") for link in links[:2]} <= identities


def test_an_instance_is_called_one() -> None:
    """A MIG instance bears its GPU's number, and says what it is."""
    snapshot = snapshot_of(pod("model"))
    use = snapshot.joined.devices[0]
    use = replace(use, device=replace(use.device, parent=OTHER_GPU, index=3))

    html = page.render(replace(snapshot, joined=replace(snapshot.joined, devices=(use,))))
    assert "MIG instance of GPU 3: NVIDIA L4" in Document(html).text


def test_a_pods_own_tenant_is_shown() -> None:
    """Where the pods say who their tenant is, so does the page."""
    assert row(Document(page.render(snapshot_of(pod("model", tenant="red")))), "model")[0] == "model / main tenant red"


# ---------------------------------------------------------------- its form


def test_its_tables_are_balanced(escape: str) -> None:
    """Every element that must be closed is, and every row has as many columns as the head."""
    document = Document(escape)

    assert document.open == []
    assert set(document.widths) == {7}


def test_its_tables_say_what_they_are(escape: str) -> None:
    """A caption, a head, and each head cell with its scope, also where the style sheet takes the table apart."""
    tags = Document(escape).tags

    assert {attrs["scope"] for tag, attrs in tags if tag == "th"} == {"col", "row", "rowgroup"}
    roles = {"table": "table", "thead": "rowgroup", "tbody": "rowgroup", "tr": "row", "td": "cell"}
    assert all(attrs.get("role") == roles[tag] for tag, attrs in tags if tag in roles)
    assert [tag for tag, _ in tags if tag in ("table", "caption")] == ["table", "caption"]


def test_it_loads_nothing(escape: str) -> None:
    """The page refers to nothing elsewhere, and no element brings a style or a script of its own."""
    document = Document(escape)

    assert not re.search(r"https?:|url\(|@import", escape)
    assert not {tag for tag, _ in document.tags} & {"img", "iframe", "object", "form", "base"}
    links = {attrs["href"] for _, attrs in document.tags if "href" in attrs}
    assert links == {"metrics", "readyz", "data:,"}
    assert not [
        name for _, attrs in document.tags for name in attrs if name in ("src", "style") or name.startswith("on")
    ]


def test_the_policy_allows_the_pages_own_style_and_script_alone(escape: str) -> None:
    """The hashes in the policy are of what stands in the page; nothing else may run, load or frame it."""
    for directive, element in (("style-src", "style"), ("script-src", "script")):
        [text] = re.findall(f"<{element}>(.*?)</{element}>", escape, re.DOTALL)
        digest = b64encode(sha256(text.encode()).digest()).decode()
        assert f"; {directive} 'sha256-{digest}';" in page.POLICY

    assert page.POLICY.startswith("default-src 'none'; ")
    assert "unsafe" not in page.POLICY
    for directive in ("connect-src 'self'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"):
        assert directive in page.POLICY


def test_hostile_names_are_texts() -> None:
    """Markup in a name, whoever chose it, is shown and not obeyed."""
    hostile = pod(
        "model",
        namespace=HOSTILE,
        containers=[Container(HOSTILE, "app", ())],
        granted=f"{GPU},NVIDIA,2000,30:;",
        tenant=HOSTILE,
    )
    gpu = Device(HOSTILE, 0, HOSTILE, HOSTILE)
    snapshot = snapshot_of(replace(hostile, name=HOSTILE), node=HOSTILE)
    devices = (*snapshot.joined.devices, replace(snapshot.joined.devices[0], device=gpu, reading=None))
    html = page.render(replace(snapshot, joined=replace(snapshot.joined, devices=devices, blind=HOSTILE)), HOSTILE)

    document = Document(html)
    assert [tag for tag, _ in document.tags].count("script") == html.count("<script") == 1
    assert "<!--" not in html
    assert document.open == []
    assert document.text.count("alert('x')") == 11


def test_a_blind_exporter_says_why() -> None:
    """While use is not known the reason stands on top, and no figure is made up."""
    snapshot = snapshot_of(pod("model", granted=f"{GPU},NVIDIA,2000,30:;"))
    pairs = tuple(replace(pair, used=None, processes=None) for pair in snapshot.joined.pairs)
    blind = replace(snapshot, joined=replace(snapshot.joined, pairs=pairs, blind="no pod was listed yet"))

    document = Document(page.render(blind))

    assert "Use is not known: no pod was listed yet." in document.text
    assert row(document, "model")[1:] == ["?", "2,000 MiB", "?", "30.0%", "?", ""]


def test_a_source_that_does_not_answer_is_named() -> None:
    """Each source has a line that says whether it answers, since when it does not, and what its errors were."""
    snapshot = snapshot_of()
    [nvml, pods] = snapshot.statuses
    never = replace(pods, source="regions", last_success=None)
    pods = replace(pods, last_success=snapshot.taken - 3700, errors={"unreachable": 3, "gone": 0})
    document = Document(page.render(replace(snapshot, statuses=(nvml, pods, never))))

    assert "nvml: answers" in document.text
    since = "last answer 2027-01-15 06:58:20 UTC, 1 h 1 min before (errors since the start: unreachable 3)"
    assert f"▲ pods: does not answer; {since}" in document.text
    assert "▲ regions: does not answer; it never has" in document.text


def test_a_gpu_without_a_fresh_reading_says_so() -> None:
    """A GPU that the driver does not answer for keeps its section and its grants."""
    state = driver(reading())
    state = replace(state, readings={})

    document = Document(page.render(snapshot_of(pod("model", granted=f"{GPU},NVIDIA,2000,30:;"), state=state)))

    assert "The driver gives no fresh reading of this GPU." in document.text
    assert row(document, "model")[1:] == ["?", "2,000 MiB", "?", "30.0%", "?", ""]


def test_a_gpu_that_tells_nothing_has_a_section() -> None:
    """A GPU without any fact is shown by name."""
    bare = DeviceReading(reading().device, 0.0, 100.0)

    assert GPU in page.render(snapshot_of(pod("model"), state=driver(bare)))


def test_grants_that_nobody_placed_and_cores_that_nobody_limits_are_said_in_words() -> None:
    """Where nothing says how much was granted the page says why; unlimited cores are no figure."""
    plugin = pod("model", asks={"nvidia.com/gpu": 1})
    unlimited = pod("model", granted=f"{GPU},NVIDIA,2000,0:;")

    assert row(Document(page.render(snapshot_of(plugin))), "model")[2] == "unknown (device_plugin)"
    assert row(Document(page.render(snapshot_of(unlimited))), "model")[4] == "not limited"


def test_a_node_without_gpus_has_a_page() -> None:
    """Before any GPU answered there is a page all the same."""
    state = DriverState(0.0, False, (), {}, status("nvml"))  # noqa: FBT003  its field

    assert Document(page.render(snapshot_of(state=state))).open == []
