"""The page keeps itself up to date in a real browser, and nobody who reads it loses the place."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from exporter import page
from exporter.accounting import Accounting
from exporter.join import Carry
from exporter.model import Container
from exporter.server import SnapshotRenderer
from exporter.snapshot import Snapshot
from tests.make import (
    GIB,
    GPU,
    OTHER_GPU,
    cgroup,
    driver,
    joined,
    pod,
    process,
    processes,
    reading,
    roster,
    status,
    uid,
)
from tests.served import Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from exporter.model import Pod
    from tests.browser.chromium import Tab

NAMES = [f"model-{number:02}" for number in range(40)]
HOSTILE = "<script>window.alerted = 1</script><img src=x onerror='window.alerted = 1'>\u202ereversed\u2067"
#: As if the reader came back to the tab: the page asks at once.
NOW = "document.dispatchEvent(new Event('visibilitychange'))"


def snapshot_of(*pods: Pod, used: int = GIB) -> Snapshot:
    """Return a snapshot of two GPUs; on the first PID 7 uses so much in the pod `model-00`."""
    state = driver(reading({7: used}), reading({}, uuid=OTHER_GPU))
    found = processes(process(7, cgroup("model-00", "model-00/main")))
    result, _ = joined(state, found, roster(*pods), Carry(listed=True))
    accounts = Accounting(started=0.0, longest=10.0).book(result)
    return Snapshot("node-a", time.time(), result, accounts, (status("nvml"),), None)


def models(*names: str) -> list[Pod]:
    """Return pods of these names with a grant each."""
    return [pod(name, granted=f"{GPU},NVIDIA,2000,30:;") for name in names]


@pytest.fixture(name="server")
def _server() -> Iterator[Running]:
    """Yield a server that shows forty pods."""
    with Running(snapshot_of(*models(*NAMES))) as server:
        yield server


def test_a_changed_figure_appears_and_focus_scroll_and_selection_stay(server: Running, tab: Tab) -> None:
    """Only what is different is touched: a link keeps the focus, selected text stays selected, nothing scrolls."""
    tab.open(server.url)
    tab.wait("document.body.textContent.includes('0 s old') || document.body.textContent.includes('1 s old')")
    tab.run("window.link = document.querySelectorAll('nav a')[1]; link.focus()")
    tab.run(
        "window.who = document.querySelectorAll('tbody th')[5]; getSelection().selectAllChildren(who); scrollTo(0, 300)"
    )
    assert "1,024 MiB" in tab.run("document.querySelector('tbody').textContent")

    server.shown = snapshot_of(*models(*NAMES), used=3 * GIB)
    tab.run(NOW)
    tab.wait("document.querySelector('tbody').textContent.includes('3,072 MiB')")

    assert tab.run("document.activeElement === link && link.isConnected")
    assert tab.run("scrollY") == 300
    assert tab.run("getSelection().toString()") == "model-04 / main"
    assert tab.problems == []


def test_it_refreshes_by_itself(server: Running, tab: Tab) -> None:
    """Without anybody doing anything a change is on the page some seconds later."""
    tab.open(server.url)
    tab.wait("document.getElementById('age').textContent")
    server.shown = snapshot_of(*models(*NAMES), used=3 * GIB)

    tab.wait("document.body.textContent.includes('3,072 MiB')")


def test_what_comes_and_goes_ends_as_a_fresh_page_would(server: Running, tab: Tab) -> None:
    """Whatever rows were there before, the page is node for node what the server shows now."""
    tab.open(server.url)
    for names in (NAMES[3:5], [*NAMES[:9], "zebra"], ["alpha"], NAMES[::2]):
        server.shown = snapshot_of(*models(*names))
        tab.run(NOW)
        tab.wait(f"document.querySelector('caption').textContent.includes(': {len(names)} container')")
        same = "fetch('').then(a => a.text()).then(t => new DOMParser().parseFromString(t, 'text/html'))"
        assert tab.run(f"{same}.then(d => d.getElementById('page').isEqualNode(document.getElementById('page')))")


def test_whoever_reads_can_pause_it_by_keyboard(server: Running, tab: Tab) -> None:
    """The first stop of the Tab key is a button that holds the page still, and lets it go on."""
    tab.open(server.url)
    tab.press("Tab", 9)
    assert tab.run("document.activeElement.textContent") == "Pause updates"
    tab.press(" ", 32)
    tab.wait("document.activeElement.textContent === 'Resume updates'")
    server.shown = snapshot_of(*models(*NAMES), used=3 * GIB)
    tab.run(NOW)
    time.sleep(0.3)
    assert "3,072 MiB" not in tab.run("document.body.textContent")

    tab.press(" ", 32)
    tab.wait("document.body.textContent.includes('3,072 MiB')")
    assert tab.run("document.activeElement.textContent") == "Pause updates"


def test_an_exporter_that_does_not_answer_is_announced(server: Running, tab: Tab) -> None:
    """What is old is said to be, to a screen reader as well, and no longer once there is an answer."""
    tab.open(server.url)
    shown, server.shown = server.shown, None
    tab.run(NOW)
    tab.wait("document.querySelector('[role=status]').textContent.includes('does not answer')")
    assert "model-00" in tab.run("document.body.textContent")

    server.shown = shown
    tab.run(NOW)
    tab.wait("document.querySelector('[role=status]').textContent === ''")


def test_old_data_are_marked_by_the_exporters_clock(server: Running, tab: Tab) -> None:
    """A sampler that hangs is seen: the age is told, and marked with more than a colour."""
    assert server.shown is not None
    server.shown = replace(server.shown, taken=time.time() - 100)
    tab.open(server.url)

    tab.wait(r"/^\u25b2 1\d\d s old$/.test(document.getElementById('age').textContent)")


def test_a_page_of_another_version_is_loaded_anew(tab: Tab) -> None:
    """An open page does not put new rows into an old style: it loads itself, once."""
    snapshots = [replace(snapshot_of(*models("model-00")), node="old")]
    shown = SnapshotRenderer(
        lambda: snapshots[-1],
        lambda _: (b"", []),
        lambda now, _: page.render(now).replace("data-build='", f"data-build='{now.node}"),
    )
    with Running(renderer=shown) as server:
        tab.open(server.url)
        tab.run("window.before = true")
        snapshots.append(replace(snapshots[0], node="new"))
        tab.run(NOW)
        tab.wait("!window.before && document.getElementById('page')?.dataset.build.startsWith('new')")
        tab.wait("document.getElementById('age').textContent")
        assert len(tab.named("Page.frameNavigated")) <= 2


def test_it_can_be_read_without_a_script(server: Running, tab: Tab) -> None:
    """With scripts off all is there, no button that does nothing, and the browser itself loads the page anew."""
    tab.ask("Emulation.setScriptExecutionDisabled", value=True)
    tab.open(server.url)

    scheduled = tab.event("Page.frameScheduledNavigation")
    assert (scheduled["reason"], scheduled["delay"]) == ("metaTagRefresh", 30)
    assert {("button", "Pause updates")}.isdisjoint(tab.tree())
    assert ("rowheader", "model-00 / main") in tab.tree()
    assert tab.problems == []


def test_hostile_names_do_nothing(tab: Tab) -> None:
    """Scripts and changes of direction in a name are text, on the page as loaded and as refreshed."""
    hostile = [
        pod(
            HOSTILE + str(number),
            namespace=HOSTILE,
            containers=[Container(HOSTILE, "app", (), {"nvidia.com/gpu": 1})],
            granted=f"{GPU},NVIDIA,1,1:;",
            uid=uid(str(number)),
        )
        for number in range(3)
    ]
    with Running(snapshot_of(hostile[0]), note=HOSTILE) as server:
        tab.open(server.url)
        server.shown = snapshot_of(*hostile)
        tab.run(NOW)
        tab.wait("document.querySelector('caption').textContent.includes(': 3 container')")

    assert tab.run("window.alerted") is None
    assert tab.run("document.scripts.length + document.images.length") == 1
    assert tab.run("document.querySelectorAll('bdi').length") > 6
    assert tab.problems == []
