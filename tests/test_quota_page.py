"""The quota role's page: what people see, whoever chose the names."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING

from typing_extensions import override

from exporter import page, quota_page
from exporter.quota_model import QuotaSnapshot, QuotaTotals
from tests.make import status

if TYPE_CHECKING:
    from exporter.quota_model import PendingReason

MIB = 2**20
MEM, CORES, GPUS = "nvidia.com/gpumem", "nvidia.com/gpucores", "nvidia.com/gpu"
HOSTILE = "<script>alert('x')</script>&\"'<!--"


class Document(HTMLParser):
    """A parsed page: the texts of its rows' cells, and the tags."""

    def __init__(self, html: str) -> None:
        """Parse all of it."""
        super().__init__()
        self.tags: set[str] = set()
        self.rows: list[list[str]] = []
        self.text = ""
        self.in_row = False
        self.feed(html)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
            self.in_row = True
        if tag in ("td", "th"):
            self.rows[-1].append("")

    @override
    def handle_endtag(self, tag: str) -> None:
        self.in_row = self.in_row and tag != "tr"

    @override
    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_row:
            self.rows[-1][-1] += data


def snapshot_of(
    hard: dict[tuple[str, str], float] | None = None,
    granted: dict[tuple[str, str], float] | None = None,
    pending: dict[tuple[str, PendingReason], int] | None = None,
    *,
    name: str = "quota",
    not_ready: str | None = None,
) -> QuotaSnapshot:
    """Return a snapshot with these totals; the quota of that name binds all that is limited."""
    totals = QuotaTotals(
        measures={MEM: "memory", CORES: "core", GPUS: "devices"},
        hard=hard or {},
        binding=dict.fromkeys(hard or {}, name),
        granted=granted or {},
        quota_hard={},
        quota_granted={},
        views={},
        pending=pending or {},
        tenants={"team": "red"},
        containers={},
        failures=frozenset(),
    )
    return QuotaSnapshot(1_800_000_000.0, totals, {}, (status("quotas"), status("pods", up=False)), not_ready)


def rows(snapshot: QuotaSnapshot) -> list[list[str]]:
    """Return the rows' texts, without the head."""
    return Document(quota_page.render(snapshot)).rows[1:]


def test_each_namespace_and_resource_has_a_row() -> None:
    """Granted, allowed, share and the quota that binds, in the units that people grant in."""
    shown = rows(
        snapshot_of(
            hard={("team", MEM): 20000 * MIB, ("team", GPUS): 4},
            granted={("team", MEM): 18500 * MIB, ("team", CORES): 1.5, ("team", GPUS): 3},
        )
    )

    assert shown == [
        ["team", "red", GPUS, "3", "4", "75.0%", "quota", "", ""],
        ["team", "red", CORES, "150.0%", "not limited", "", "", "", ""],
        ["team", "red", MEM, "18,500 MiB", "20,000 MiB", "92.5%", "quota", "", ""],
    ]


def test_who_is_over_the_quota_is_marked() -> None:
    """More than allowed is marked, also where nothing is allowed; exactly as much is not."""
    key = ("team", MEM)

    assert rows(snapshot_of({key: 100 * MIB}, {key: 101 * MIB}))[0][-1] == "over quota"
    assert rows(snapshot_of({key: 0}, {key: MIB}))[0][3:] == ["1 MiB", "0 MiB", "", "quota", "", "over quota"]
    assert rows(snapshot_of({key: 100 * MIB}, {key: 100 * MIB}))[0][-1] == ""


def test_what_is_not_known_is_no_figure() -> None:
    """While the pods are not known a quota stands with a question mark, and an unknown tenant with one."""
    assert rows(snapshot_of({("other", MEM): 100 * MIB}))[0] == [
        *("other", "?", MEM, "?", "100 MiB", "", "quota", "", "")
    ]


def test_waiting_pods_stand_once_per_namespace() -> None:
    """The pods that wait stand in the namespace's first row, by reason, or in a row of their own."""
    shown = rows(
        snapshot_of(
            granted={("team", MEM): 0, ("team", GPUS): 0},
            pending={("team", "quota"): 2, ("team", "memory"): 1, ("other", "other"): 3},
        )
    )

    assert [(cells[0], cells[2], cells[7]) for cells in shown] == [
        ("other", "", "3 (other)"),
        ("team", GPUS, "2 (quota), 1 (memory)"),
        ("team", MEM, ""),
    ]


def test_hostile_names_are_texts() -> None:
    """Markup in a name, whoever chose it, is shown and not obeyed."""
    key = (HOSTILE, HOSTILE)
    html = quota_page.render(snapshot_of({key: 1}, {key: 1}, name=HOSTILE, not_ready=HOSTILE), HOSTILE)

    assert "script" not in Document(html).tags
    assert "<!--" not in html
    assert Document(html).text.count("alert('x')") == 5


def test_it_says_what_is_missing_and_which_source_is_down() -> None:
    """What was never listed stands on top, and every source has its line."""
    document = Document(quota_page.render(snapshot_of(not_ready="the API server has not listed yet: pods"), "A demo."))

    assert "Not all is known: the API server has not listed yet: pods." in document.text
    assert "quotas: answers" in document.text
    assert "pods: does not answer" in document.text
    assert "A demo." in document.text


def test_it_loads_and_runs_nothing() -> None:
    """The page is one document that needs nothing from elsewhere."""
    html = quota_page.render(snapshot_of({("team", MEM): 1}))

    assert not {"script", "img", "link", "iframe", "object", "form", "base"} & Document(html).tags
    assert "//" not in html
    assert "script-src" not in page.POLICY
