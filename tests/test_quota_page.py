"""The quota role's page: what people see, whoever chose the names."""

from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from exporter import quota_page
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
        self.is_text = True
        self.feed(html)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.is_text = tag not in ("style", "script")
        if tag == "tr":
            self.rows.append([])
            self.in_row = True
        if tag in ("td", "th"):
            self.rows[-1].append("")

    @override
    def handle_endtag(self, tag: str) -> None:
        self.in_row = self.in_row and tag != "tr"
        self.is_text = True

    @override
    def handle_data(self, data: str) -> None:
        self.text += data if self.is_text else ""
        if self.in_row:
            self.rows[-1][-1] += data


def snapshot_of(
    hard: dict[tuple[str, str], float] | None = None,
    granted: dict[tuple[str, str], float] | None = None,
    pending: dict[tuple[str, PendingReason], int] | None = None,
    *,
    name: str = "quota",
    not_ready: str | None = None,
    **others: Any,  # noqa: ANN401  any other field of the totals
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
    totals = replace(totals, **others)
    return QuotaSnapshot(1_800_000_000.0, totals, {}, (status("quotas"), status("pods", up=False)), not_ready)


def rows(snapshot: QuotaSnapshot) -> list[list[str]]:
    """Return the rows' texts, without heads and namespaces."""
    return [cells for cells in Document(quota_page.render(snapshot)).rows if len(cells) == 7][1:]


def namespaces(snapshot: QuotaSnapshot) -> list[list[str]]:
    """Return the texts of the rows that are a namespace's own."""
    return [cells for cells in Document(quota_page.render(snapshot)).rows if len(cells) == 2]


def test_each_namespace_and_resource_has_a_row() -> None:
    """Granted, allowed, share and the quota that binds, in the units that people grant in."""
    shown = rows(
        snapshot_of(
            hard={("team", MEM): 20000 * MIB, ("team", GPUS): 4},
            granted={("team", MEM): 18500 * MIB, ("team", CORES): 1.5, ("team", GPUS): 3},
        )
    )

    assert shown == [
        [GPUS, "3", "4", "75.0%", "quota", "", ""],
        [CORES, "150.0%", "not limited", "", "", "", ""],
        [MEM, "18,500 MiB", "20,000 MiB", "92.5%", "quota", "", ""],
    ]
    assert namespaces(snapshot_of(granted={("team", MEM): 1})) == [["team tenant red", ""]]


def test_who_is_over_the_quota_is_marked() -> None:
    """More than allowed is marked, also where nothing is allowed; exactly as much is not."""
    key = ("team", MEM)

    assert rows(snapshot_of({key: 100 * MIB}, {key: 101 * MIB}))[0][-1] == "▲ over quota"
    assert rows(snapshot_of({key: 0}, {key: MIB}))[0][1:] == ["1 MiB", "0 MiB", "", "quota", "", "▲ over quota"]
    assert rows(snapshot_of({key: 100 * MIB}, {key: 100 * MIB}))[0][-1] == ""


def test_what_is_not_known_is_no_figure() -> None:
    """While the pods are not known a quota stands with a question mark, and an unknown tenant with one."""
    snapshot = snapshot_of({("other", MEM): 100 * MIB})

    assert rows(snapshot)[0] == [MEM, "?", "100 MiB", "", "quota", "", ""]
    assert namespaces(snapshot) == [["other tenant ?", ""]]


def test_waiting_pods_stand_once_per_namespace() -> None:
    """The pods that wait stand beside their namespace, by reason, also where nothing is granted or allowed."""
    snapshot = snapshot_of(
        granted={("team", MEM): 0, ("team", GPUS): 0},
        pending={("team", "quota"): 2, ("team", "memory"): 1, ("other", "other"): 1},
    )

    assert namespaces(snapshot) == [
        ["other tenant ?", "▲ 1 pod waiting: 1 (other)"],
        ["team tenant red", "▲ 3 pods waiting: 2 (quota), 1 (memory)"],
    ]
    assert [cells[0] for cells in rows(snapshot)] == [GPUS, MEM]


def test_other_readings_stand_beside_ours() -> None:
    """What Kubernetes and HAMi make of the same quota is told in the same unit."""
    views = {("team", MEM, "kubernetes_used"): 300 * MIB, ("team", MEM, "hami_hard"): 200 * MIB}
    snapshot = snapshot_of({("team", MEM): 100 * MIB}, views={**views, ("team", MEM, "hami_used"): 0})

    assert rows(snapshot)[0][5] == "Kubernetes counts 300 MiB, HAMi allows 200 MiB, HAMi counts 0 MiB"


def test_quotas_that_do_not_bind_have_a_table_of_their_own() -> None:
    """A quota with scopes, or a wider one, is shown with what it allows and what it counts; the binding one is not."""
    snapshot = snapshot_of(
        {("team", MEM): 100 * MIB},
        quota_hard={("team", "quota", MEM): 100 * MIB, ("team", "wide", MEM): 200 * MIB, ("team", "long", CORES): 0.5},
        quota_granted={("team", "quota", MEM): 0, ("team", "wide", MEM): 300 * MIB},
    )
    shown = [cells for cells in Document(quota_page.render(snapshot)).rows if len(cells) == 5][1:]

    assert shown == [
        ["team / long", CORES, "?", "50.0%", ""],
        ["team / wide", MEM, "300 MiB", "200 MiB", "▲ over quota"],
    ]


def test_a_cluster_without_any_says_so() -> None:
    """Where there is nothing to show there is a sentence, and no empty table."""
    document = Document(quota_page.render(snapshot_of()))

    assert "No namespace has a quota of vGPUs, a grant, or a pod that waits." in document.text
    assert "table" not in document.tags


def test_the_bar_ends_at_the_quota_or_beyond() -> None:
    """Of what is over its quota the mark stands within the bar."""
    key = ("team", MEM)

    assert "aria-label='50.0% of the quota'" in quota_page.render(snapshot_of({key: 2 * MIB}, {key: MIB}))
    over = quota_page.render(snapshot_of({key: MIB}, {key: 2 * MIB}))
    assert "<rect class=fill width=100.0 height=8 /><rect class=mark x=50.0 " in over


def test_hostile_names_are_texts() -> None:
    """Markup in a name, whoever chose it, is shown and not obeyed."""
    key, scoped = (HOSTILE, HOSTILE), (HOSTILE, f"{HOSTILE}2", HOSTILE)
    snapshot = snapshot_of({key: 1}, {key: 1}, name=HOSTILE, not_ready=HOSTILE, tenants={HOSTILE: HOSTILE})
    snapshot = replace(snapshot, totals=replace(snapshot.totals, quota_hard={scoped: 1}))
    html = quota_page.render(snapshot, HOSTILE)

    assert html.count("<script") == 1
    assert "<!--" not in html
    assert Document(html).text.count("alert('x')") == 9


def test_it_says_what_is_missing_and_which_source_is_down() -> None:
    """What was never listed stands on top, and every source has its line."""
    document = Document(quota_page.render(snapshot_of(not_ready="the API server has not listed yet: pods"), "A demo."))

    assert "Not all is known: the API server has not listed yet: pods." in document.text
    assert "quotas: answers" in document.text
    assert "pods: does not answer" in document.text
    assert "A demo." in document.text


def test_it_loads_nothing() -> None:
    """The page is one document that needs nothing from elsewhere."""
    html = quota_page.render(snapshot_of({("team", MEM): 1}))

    assert not {"img", "iframe", "object", "form", "base"} & Document(html).tags
    assert "http:" not in html
    assert "https:" not in html
