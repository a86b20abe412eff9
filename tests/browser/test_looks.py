"""How the page looks and reads in a real browser: on a phone and a desk, light and dark, by keyboard and aloud."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from exporter.accounting import Accounting
from exporter.join import Carry
from exporter.snapshot import Snapshot
from tests.make import GIB, GPU, driver, joined, pod, processes, reading, roster, status
from tests.served import Running
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.browser.chromium import Tab

#: Everything with a text of its own: that text, its colour, the colour behind it (red, green, blue), its opacity.
COLOURS = """
[...document.querySelectorAll('body *')].filter(e => e.checkVisibility({visibilityProperty: true}) &&
  [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())).map(e => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    let behind = e;
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const style = getComputedStyle(e);
    return [e.textContent.slice(0, 30), rgb(style.color), rgb(getComputedStyle(behind).backgroundColor), style.opacity];
})"""
#: The colours of bars: what is filled, the line at the grant, and what is behind both.
BARS = """
['.fill', '.mark'].map(name => getComputedStyle(document.querySelector(name)).fill)
  .concat(getComputedStyle(document.body).backgroundColor).map(text => text.match(/[\\d.]+/g).map(Number))"""
MOVING = """
[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).transitionDuration !== '0s' ||
  getComputedStyle(e).animationName !== 'none').length + document.getAnimations().length"""
#: Elements that stick out of the page on the right.
WIDE = """
[...document.querySelectorAll('body *')].filter(e => e.checkVisibility() && e.closest('thead') === null &&
  e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))"""


def contrast(one: list[float], other: list[float]) -> float:
    """Return the contrast of two colours as WCAG 2 has it, from 1 to 21."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: list[float]) -> float:
    parts = [part / 255 for part in colour[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.fixture(name="crowd", scope="module")
def _crowd() -> Iterator[str]:
    """Yield the URL of a node with 200 containers whose names are as long as names may be, and a blind exporter."""
    pods = [
        pod(f"{number:03}" + "x" * 250, namespace=f"{number % 7}" + "n" * 62, granted=f"{GPU},NVIDIA,200000,30:;")
        for number in range(200)
    ]
    state = driver(reading({}, used=20 * GIB, temperature=40.0, power=300.0))
    result, _ = joined(state, processes(), roster(*pods), Carry(listed=True))
    accounts = Accounting(started=0.0, longest=10.0).book(result)
    sources = (status("nvml"), replace(status("pods", up=False), errors={"unreachable": 12_345}))
    blind = replace(result, blind="the node's pods have not been listed yet")
    with Running(Snapshot("node-" + "a" * 240, 1_800_000_000.0, blind, accounts, sources, None)) as server:
        yield server.url


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_complained_of(tab: Tab, demo: str, scheme: str) -> None:
    """Neither console nor policy has anything to say, and the page knows both schemes."""
    tab.prefer(color_scheme=scheme)
    tab.open(demo)
    tab.wait("document.getElementById('age').textContent")

    assert tab.problems == []
    ground = tab.run(BARS)[2]
    assert (_luminance(ground) > 0.5) == (scheme == "light")


def test_it_asks_for_nothing_but_itself(tab: Tab, demo: str) -> None:
    """All requests are for the page's own address."""
    tab.open(demo)
    tab.wait("document.getElementById('age').textContent")

    asked = {event["request"]["url"] for event in tab.named("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith("data:")} == {demo}


@pytest.mark.parametrize("width", [320, 360, 768, 1087, 1089, 1280])
def test_it_never_scrolls_sideways(tab: Tab, demo: str, crowd: str, width: int) -> None:
    """From the narrowest phone up nothing sticks out, be the names as long as they may be."""
    tab.size(width, 800)
    for url in (demo, crowd):
        tab.open(url)
        assert tab.run(WIDE) == []
        assert tab.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out(tab: Tab, demo: str, crowd: str, scheme: str, width: int) -> None:
    """Each text has the contrast of WCAG AA, 4.5, with what is behind it; bars and their lines have 3."""
    tab.prefer(color_scheme=scheme)
    tab.size(width, 800)
    for url in (demo, crowd):
        tab.open(url)
        tab.wait("document.getElementById('age').textContent")
        found = tab.run(COLOURS)
        assert len(found) > 50
        weak = [said for said, front, back, opacity in found if contrast(front, back) < 4.5 or opacity != "1"]
        assert weak == []
    tab.open(demo)
    fill, mark, ground = tab.run(BARS)
    assert min(contrast(fill, ground), contrast(mark, fill), contrast(mark, ground)) >= 3


@pytest.mark.parametrize("width", [360, 1280])
def test_a_screen_reader_hears_tables(tab: Tab, demo: str, width: int) -> None:
    """Landmarks, headings, tables with their heads, bars in words; also where a row has become a block of its own."""
    tab.size(width, 800)
    tab.open(demo)
    until(lambda: ("columnheader", "Memory granted") in tab.tree())  # Chromium makes it in its own time
    tree = tab.tree()
    roles = {role for role, _ in tree}

    wanted = {"main", "banner", "contentinfo", "heading", "table", "row", "columnheader", "rowheader", "cell", "status"}
    assert wanted <= roles
    assert ("rowheader", "ssh-lab-0 / lab") in tree
    assert ("image", "387% of the grant, 5.4% of the GPU") in tree
    assert ("region", "GPU 0: NVIDIA H200") in tree
    assert not [name for role, name in tree if role in ("cell", "columnheader") and "\u25b2 \u25b2" in name]


def test_headings_go_down_one_step_at_a_time(tab: Tab, demo: str) -> None:
    """One first heading, and none that leaves a step out."""
    tab.open(demo)
    levels = tab.run("[...document.querySelectorAll('h1,h2,h3,h4')].map(h => Number(h.nodeName[1]))")

    assert levels.count(1) == 1
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert tab.run("new Set([...document.querySelectorAll('[id]')].map(e => e.id)).size") == tab.run(
        "document.querySelectorAll('[id]').length"
    )


def test_the_keyboard_reaches_all_in_order_and_shows_where_it_is(tab: Tab, demo: str) -> None:
    """Tab goes from the button to the links in the order of the page; what has the focus has a thick outline."""
    tab.open(demo)
    stops = []
    for _ in range(3):
        tab.press("Tab", 9)
        stops.append(tab.run("document.activeElement.textContent"))
        assert tab.run("getComputedStyle(document.activeElement).outlineWidth") == "3px"

    assert stops == ["Pause updates", "metrics", "readiness"]
    assert tab.run("document.getElementById('pause').getBoundingClientRect().height") >= 24


def test_nothing_moves(tab: Tab, demo: str) -> None:
    """There is no animation, so nobody has to ask for less of it."""
    tab.open(demo)

    assert tab.run(MOVING) == 0
