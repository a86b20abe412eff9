"""Ways from one dashboard to another."""

from __future__ import annotations

import re

from dashboards import links

UIDS = (links.FLEET, links.TENANT, links.GPU, links.WORKLOAD, links.SERVING, links.HEALTH)


def test_every_dashboard_has_an_address_of_its_own() -> None:
    """Grafana takes 40 characters of these kinds, and replaces the dashboard that has the same."""
    assert len(set(UIDS)) == len(UIDS)
    assert all(re.fullmatch(r"vgpu-[a-z]{1,35}", uid) for uid in UIDS)


def test_a_link_keeps_data_source_cluster_and_time() -> None:
    """What the reader has chosen here holds there."""
    url = links.to(links.FLEET, "Fleet")["url"]
    assert url == "/d/vgpu-fleet?${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}"


def test_a_link_sets_the_variables_of_the_other_dashboard() -> None:
    """Each under Grafana's prefix, between what is kept."""
    link = links.to(links.GPU, "This GPU", node="n1", device_uuid="GPU-1")
    assert link["title"] == "This GPU"
    assert "&var-node=n1&var-device_uuid=GPU-1&" in link["url"]


def test_a_link_has_a_relative_address() -> None:
    """Grafana may be served below any path of any host."""
    assert links.to(links.GPU, "This GPU")["url"].startswith("/d/")


def test_values_of_a_row_are_escaped() -> None:
    """A tenant chooses names of pods; `&` in one must not set a variable."""
    assert links.cell("Pod") == "${__data.fields.Pod:percentencode}"
    assert links.label("pod") == "${__field.labels.pod:percentencode}"


def test_the_menu_has_all_of_ours_and_keeps_variables_and_time() -> None:
    """It finds them by their tag, so that a new one needs no link."""
    menu = links.others().to_json_data()
    assert (menu["tags"], menu["type"], menu["asDropdown"]) == ([links.TAG], "dashboards", True)
    assert menu["includeVars"]
    assert menu["keepTime"]
