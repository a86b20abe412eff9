"""The page for people: who uses which GPU, what is nobody's, which source is blind; and nothing that could act."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest
from typing_extensions import override

from exporter import page
from exporter.accounting import Accounting
from exporter.join import Carry
from exporter.model import Container, Device, DeviceReading, DriverState
from exporter.snapshot import Snapshot
from tests.make import GIB, GPU, cgroup, driver, joined, pod, process, processes, reading, roster, status
from tests.replay import Replay

if TYPE_CHECKING:
    from exporter.model import Pod

#: Elements that HTML lets one leave open.
MAY_STAY_OPEN = {"meta", "th", "td", "li", "p"}
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
    [cells] = [cells for cells in document.rows if len(cells) == 9 and cells[1] == pod]
    return cells


def test_it_shows_all_ten_pods_of_the_recording(escape: str) -> None:
    """Each of the ten recorded pods has one row, the greatest user first."""
    snapshot = Replay().until(80.5)
    rows = Document(escape).rows

    shown = [cells[1] for cells in rows[1:] if len(cells) == 9]
    assert len(shown) == 10
    assert set(shown) == {pair.owner.pod for pair in snapshot.joined.pairs}
    used = [int(cells[3].partition(" MiB")[0].replace(",", "")) for cells in rows[1:] if len(cells) == 9]
    assert used == sorted(used, reverse=True)


def test_it_marks_who_is_over_the_grant(escape: str) -> None:
    """The escape of ssh-lab-0, and the pod that was granted nothing, are marked; nobody else is."""
    document = Document(escape)

    assert row(document, "ssh-lab-0")[3:5] == ["7,736 MiB", "2,000 MiB"]
    assert row(document, "notebook-0")[3] == "0 MiB"
    marked = {cells[1]: cells[8] for cells in document.rows[1:] if len(cells) == 9 and cells[8]}
    assert marked == {"ssh-lab-0": "over grant", "legacy-train-0": "no grant"}


def test_it_shows_what_is_nobodys(escape: str) -> None:
    """The host's process and unlisted memory stand below the pods with their reasons."""
    last = [cells for cells in Document(escape).rows if len(cells) == 3]

    assert [cells[0] for cells in last] == ["nobody: host", "nobody: unlisted"]
    assert last[0][1] == "1,518 MiB"


def test_it_shows_shares_sources_time_and_note(escape: str) -> None:
    """Shares are percent, every source has its line, and the page says when it was read and what it is."""
    document = Document(escape)

    assert re.fullmatch(r"\d+\.\d%", row(document, "ssh-lab-0")[5])
    assert "nvml: answers" in document.text
    assert "pods: answers" in document.text
    assert re.search(r"Read \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", document.text)
    assert "Demo: a recording." in document.text


def test_its_tables_are_balanced(escape: str) -> None:
    """Every element that must be closed is, and every row has as many columns as the head."""
    document = Document(escape)

    assert document.open == []
    assert set(document.widths) == {9}
    assert escape.count("<tr") == escape.count("</tr>") == len(document.rows)


def test_it_loads_nothing(escape: str) -> None:
    """The page refers to nothing elsewhere, runs nothing, and its policy would allow neither."""
    document = Document(escape)

    assert not re.search(r"https?:|//|url\(|@import", escape)
    assert not {tag for tag, _ in document.tags} & {"script", "img", "link", "iframe", "object", "form", "base"}
    links = {attrs["href"] for _, attrs in document.tags if "href" in attrs}
    assert links == {"/metrics", "/readyz"}
    assert not [name for _, attrs in document.tags for name in attrs if name == "src" or name.startswith("on")]
    assert page.POLICY.startswith("default-src 'none'; ")
    assert "script-src" not in page.POLICY


def test_hostile_names_are_texts() -> None:
    """Markup in a name, whoever chose it, is shown and not obeyed."""
    hostile = pod(
        "model", namespace=HOSTILE, containers=[Container(HOSTILE, "app", ())], granted=f"{GPU},NVIDIA,2000,30:;"
    )
    gpu = Device(HOSTILE, 0, HOSTILE, HOSTILE)
    snapshot = snapshot_of(replace(hostile, name=HOSTILE), node=HOSTILE)
    devices = (*snapshot.joined.devices, replace(snapshot.joined.devices[0], device=gpu, reading=None))
    html = page.render(replace(snapshot, joined=replace(snapshot.joined, devices=devices, blind=HOSTILE)), HOSTILE)

    document = Document(html)
    assert "script" not in {tag for tag, _ in document.tags}
    assert "<script" not in html
    assert "<!--" not in html
    assert document.open == []
    assert document.text.count("alert('x')") == 9


def test_a_blind_exporter_says_why() -> None:
    """While use is not known the reason stands on top, and no figure is made up."""
    snapshot = snapshot_of(pod("model", granted=f"{GPU},NVIDIA,2000,30:;"))
    pairs = tuple(replace(pair, used=None, processes=None) for pair in snapshot.joined.pairs)
    blind = replace(snapshot, joined=replace(snapshot.joined, pairs=pairs, blind="no pod was listed yet"))

    document = Document(page.render(blind))

    assert "Use is not known: no pod was listed yet." in document.text
    assert row(document, "model")[3:] == ["?", "2,000 MiB", "?", "30.0%", "?", ""]


def test_a_source_that_does_not_answer_is_named() -> None:
    """Each source has a line that says whether it answers."""
    document = Document(page.render(snapshot_of()))

    assert "nvml: answers" in document.text
    assert "pods: does not answer" in document.text


def test_a_gpu_without_a_fresh_reading_says_so() -> None:
    """A GPU that the driver does not answer for keeps its section and its grants."""
    state = driver(reading())
    state = replace(state, readings={})

    document = Document(page.render(snapshot_of(pod("model", granted=f"{GPU},NVIDIA,2000,30:;"), state=state)))

    assert "The driver gives no fresh reading of this GPU." in document.text
    assert row(document, "model")[3:] == ["?", "2,000 MiB", "?", "30.0%", "?", ""]


def test_a_gpu_that_tells_nothing_has_a_section() -> None:
    """A GPU without any fact is shown by name."""
    bare = DeviceReading(reading().device, 0.0, 100.0)

    assert GPU in page.render(snapshot_of(pod("model"), state=driver(bare)))


def test_grants_that_nobody_placed_and_cores_that_nobody_limits_are_said_in_words() -> None:
    """Where nothing says how much was granted the page says why; unlimited cores are no figure."""
    plugin = pod("model", asks={"nvidia.com/gpu": 1})
    unlimited = pod("model", granted=f"{GPU},NVIDIA,2000,0:;")

    assert row(Document(page.render(snapshot_of(plugin))), "model")[4] == "unknown (device_plugin)"
    assert row(Document(page.render(snapshot_of(unlimited))), "model")[6] == "not limited"


def test_a_node_without_gpus_has_a_page() -> None:
    """Before any GPU answered there is a page all the same."""
    state = DriverState(0.0, False, (), {}, status("nvml"))  # noqa: FBT003  its field

    assert Document(page.render(snapshot_of(state=state))).open == []
