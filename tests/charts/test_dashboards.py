"""The dashboards as ConfigMaps: byte by byte, small enough, found by the sidecar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dashboards import board
from dashboards.book import BOARDS
from tests.charts.rendering import RELEASE, objects, refusal

if TYPE_CHECKING:
    from tests.charts.rendering import Json


def config_maps(**values: Any) -> list[Json]:  # noqa: ANN401  values are any
    """Return the dashboards' ConfigMaps with these values of them."""
    return objects("ConfigMap", {"dashboards": {"enabled": True, **values}})


def test_every_dashboard_arrives_byte_by_byte() -> None:
    """Grafana's braces are nobody's template on the way; one ConfigMap each."""
    data: dict[str, str] = {}
    for one in config_maps():
        [(name, text)] = one["data"].items()
        data[name] = text

    assert data == {f"{one.uid}.json": board.text(one) for one in BOARDS}


def test_each_fits_into_a_config_map() -> None:
    """Kubernetes takes 1 MiB."""
    assert max(len(text.encode()) for one in config_maps() for text in one["data"].values()) < 2**20


def test_the_sidecar_finds_them_and_their_folder() -> None:
    """By its label and annotation, as the kube-prometheus-stack has them or as the user's has."""
    [usual, *_] = config_maps(folder="vGPU")
    [other, *_] = config_maps(label="dash", labelValue="yes", folderAnnotation="k", folder="f", namespace="g")

    assert usual["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert usual["metadata"]["annotations"] == {"grafana_folder": "vGPU"}
    assert (other["metadata"]["labels"]["dash"], other["metadata"]["namespace"]) == ("yes", "g")
    assert other["metadata"]["annotations"] == {"k": "f"}
    assert all("annotations" not in one["metadata"] for one in config_maps())


def test_grafanas_operator_is_led_to_the_same_config_maps() -> None:
    """No dashboard is stored twice."""
    values = {"dashboards": {"enabled": True, "folder": "vGPU", "grafanaOperator": {"enabled": True}}}
    stored = {one["metadata"]["name"]: one for one in objects("ConfigMap", values)}
    found = objects("GrafanaDashboard", values)

    assert len(found) == len(stored)
    for one in found:
        told = one["spec"]["configMapRef"]
        assert told["key"] in stored[told["name"]]["data"]
        assert one["metadata"]["namespace"] == stored[told["name"]]["metadata"]["namespace"]
        assert one["spec"]["folder"] == "vGPU"
        assert one["spec"]["instanceSelector"] == {"matchLabels": {"dashboards": "grafana"}}


def test_a_grafana_dashboard_without_its_config_map_is_refused() -> None:
    """It would refer to nothing."""
    assert "needs dashboards.enabled" in refusal({"dashboards": {"grafanaOperator": {"enabled": True}}})


def test_without_them_there_is_none() -> None:
    """Off by default: whoever has no Grafana gets no ConfigMaps."""
    assert objects("ConfigMap") == objects("GrafanaDashboard") == []
    assert all(one["metadata"]["name"].startswith(RELEASE) for one in config_maps())
