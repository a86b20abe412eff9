"""docs/security.md speaks of the chart and of the files that there are."""

from __future__ import annotations

import re
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text()
VALUES: dict[str, Any] = yaml.safe_load((ROOT / "charts/vgpu-tenant-exporter/values.yaml").read_text())

#: Values without a dot, which look like any other word.
WORDS = ["gpuAccess", "hamiPath", "hostPID", "podLabelAllowList", "tenantPodLabel", "webConfig"]


@pytest.mark.parametrize("path", sorted({*WORDS, *re.findall(r"`([a-z]\w*(?:\.[a-z]\w*)+)(?:: [^`]*)?`", PAGE)}))
def test_the_page_names_values_of_the_chart(path: str) -> None:
    """Who follows the page finds the switch."""
    assert f"`{path}" in PAGE
    reduce(lambda values, key: values[key], path.split("."), VALUES)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)#]+)", PAGE))))
def test_links_lead_somewhere(link: str) -> None:
    """Each file that the page points to is there."""
    assert (ROOT / "docs" / link).exists()


def test_a_vulnerability_has_an_address() -> None:
    """The page says where to report one, and leaves no place to be filled in."""
    assert "*Report a vulnerability*" in PAGE
    assert not re.search(r"TODO|TBD|example\.(com|org)|<[a-z ]+>(?!/)", PAGE.replace("/proc/<pid>", ""))
