"""What Prometheus's operator makes of a PodMonitor or a ServiceMonitor: a scrape configuration.

Its rules in its order: keep the targets selected, name the target by Kubernetes's words, and only then the user's own
relabelings. What service discovery would find stands in static targets with the same `__meta_` labels.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from tests.charts.kubelet import POD_NAME
from tests.charts.recorded_node import NODE
from tests.charts.rendering import NAMESPACE, container, pod_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.charts.rendering import Json

#: By kind: the key of the endpoints, whose labels select, and what says the name of the port.
_KINDS: Final = {
    "PodMonitor": ("podMetricsEndpoints", "pod", "__meta_kubernetes_pod_container_port_name"),
    "ServiceMonitor": ("endpoints", "service", "__meta_kubernetes_endpointslice_port_name"),
}
#: What becomes which label of the target.
_WORDS: Final = {
    "namespace": "__meta_kubernetes_namespace",
    "service": "__meta_kubernetes_service_name",
    "pod": "__meta_kubernetes_pod_name",
    "container": "__meta_kubernetes_pod_container_name",
}
_FIELDS: Final = {
    "interval": "scrape_interval",
    "scrapeTimeout": "scrape_timeout",
    "path": "metrics_path",
    "scheme": "scheme",
    "honorLabels": "honor_labels",
}


def endpoint_of(monitor: Json) -> Json:
    """Return the only endpoint of a monitor."""
    [found] = monitor["spec"][_KINDS[monitor["kind"]][0]]
    return found  # type: ignore[no-any-return]


def scrape_config(
    monitor: Json, endpoint: Json, targets: list[Json], secrets: Mapping[str, Mapping[str, bytes]], directory: Path
) -> Json:
    """Return what scrapes these static targets by an endpoint of a monitor; files go into `directory`."""
    config: Json = {_FIELDS[name]: value for name, value in endpoint.items() if name in _FIELDS}
    config["static_configs"] = targets
    if tls := endpoint.get("tlsConfig"):
        authority = directory / "ca.crt"
        authority.write_bytes(_secret(secrets, tls["ca"]["secret"]))
        config["tls_config"] = {"ca_file": str(authority), "server_name": tls["serverName"]}
    if known := endpoint.get("basicAuth"):
        config["basic_auth"] = {name: _secret(secrets, reference).decode() for name, reference in known.items()}
    config["relabel_configs"] = [*_ours(monitor, endpoint["port"]), *_spelt(endpoint.get("relabelings", []))]
    config["metric_relabel_configs"] = _spelt(endpoint.get("metricRelabelings", []))
    return config


def discovered(workload: Json, service: Json) -> list[Json]:
    """Return the targets, with their labels, that discovery finds of a pod of a Service: one for each port."""
    one = container(pod_of(workload))
    common = {
        "__meta_kubernetes_namespace": NAMESPACE,
        "__meta_kubernetes_service_name": service["metadata"]["name"],
        "__meta_kubernetes_pod_name": POD_NAME,
        "__meta_kubernetes_pod_node_name": NODE,
        "__meta_kubernetes_pod_container_name": one["name"],
        "__meta_kubernetes_pod_phase": "Running",
        **_labelled("pod", workload["spec"]["template"]["metadata"]["labels"]),
        **_labelled("service", service["metadata"]["labels"]),
    }
    names = {port["targetPort"]: port["name"] for port in service["spec"]["ports"]}
    return [
        {
            "targets": [f"127.0.0.1:{port['containerPort']}"],
            "labels": {
                **common,
                "__meta_kubernetes_pod_container_port_name": port["name"],
                "__meta_kubernetes_endpointslice_port_name": names[port["name"]],
            },
        }
        for port in one["ports"]
    ]


def _ours(monitor: Json, port: str) -> Iterator[Json]:
    """Yield the operator's own relabelings."""
    kind = monitor["kind"]
    _, selected, port_label = _KINDS[kind]
    yield {"source_labels": ["job"], "target_label": "__tmp_prometheus_job_name"}
    yield {"action": "drop", "source_labels": ["__meta_kubernetes_pod_phase"], "regex": "(Failed|Succeeded)"}
    for key, value in sorted(monitor["spec"]["selector"]["matchLabels"].items()):
        sources = list(_labelled(selected, {key: value}))
        yield {"action": "keep", "source_labels": sources, "regex": f"({value});true"}
    yield {"action": "keep", "source_labels": [port_label], "regex": port}
    for name, source in _WORDS.items():
        if kind == "ServiceMonitor" or name != "service":
            yield {"source_labels": [source], "target_label": name}
    if kind == "ServiceMonitor":
        yield {"source_labels": [_WORDS["service"]], "target_label": "job"}
    else:
        yield {"target_label": "job", "replacement": "{namespace}/{name}".format(**monitor["metadata"])}
    yield {"target_label": "endpoint", "replacement": port}


def _labelled(what: str, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the meta labels of an object's labels."""
    found = {}
    for key, value in labels.items():
        spelt = re.sub(r"[^a-zA-Z0-9_]", "_", key)
        found[f"__meta_kubernetes_{what}_label_{spelt}"] = value
        found[f"__meta_kubernetes_{what}_labelpresent_{spelt}"] = "true"
    return found


def _spelt(rules: list[Json]) -> list[Json]:
    """Return relabelings as Prometheus spells their keys."""
    return [{re.sub("[A-Z]", lambda m: f"_{m[0].lower()}", key): value for key, value in one.items()} for one in rules]


def _secret(secrets: Mapping[str, Mapping[str, bytes]], reference: Json) -> bytes:
    return secrets[reference["name"]][reference["key"]]
