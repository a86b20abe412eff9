"""Pictures of the page at `/` of the demo: `python -m tests.page_pictures [--out DIR]` writes DIR/page-*.png.

The recording is played to its 80th second, where a container has escaped its grant; headless Chromium looks at it.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.browser.chromium import Browser
from tests.monitored import DEMO
from tests.rules.checkers import ROOT, running

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.browser.chromium import Tab

#: Per picture: the scheme, and the width in CSS pixels.
PICTURES: Final = {
    "light": ("light", 1280),
    "dark": ("dark", 1280),
    "phone": ("light", 390),
    "phone-dark": ("dark", 390),
}


def draw(tab: Tab, name: str, out: Path) -> None:
    """Write one picture of what the tab shows, as high as it is."""
    scheme, width = PICTURES[name]
    tab.prefer(color_scheme=scheme)
    tab.size(width, 800)
    tab.size(width, tab.run("document.documentElement.scrollHeight"))
    (out / f"page-{name}.png").write_bytes(tab.picture())


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw all of them."""
    parser = argparse.ArgumentParser(prog="python -m tests.page_pictures", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "images", metavar="DIR")
    asked = parser.parse_args(arguments)
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        demo = running([*DEMO, "--speed", "20"], directory / "demo.log", "(http://[^/]+/)metrics")
        with demo as url, Browser(directory) as browser, browser.tab() as tab:
            tab.open(url)
            tab.wait("document.body.textContent.includes('escaped HAMi')")
            for name in PICTURES:
                draw(tab, name, asked.out)


if __name__ == "__main__":
    main()
