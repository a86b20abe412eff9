"""How Prometheus is told to scrape: whose labels a sample has, how TLS and passwords go with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml

from exporter import web_config
from tests.charts.rendering import (
    NAMESPACE,
    RELEASE,
    SHAPES,
    Json,
    container,
    node_pod,
    objects,
    quota_pod,
    refusal,
    settings,
    the,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS: Final = {"podMonitor": ("PodMonitor", "podMetricsEndpoints"), "serviceMonitor": ("ServiceMonitor", "endpoints")}
either = pytest.mark.parametrize("which", KINDS)
QUOTA = f"{RELEASE}-quota"


def endpoint(which: str, name: str = RELEASE, /, **values: Any) -> Json:  # noqa: ANN401  values are any
    """Return the endpoint of one of the monitors, with further values of it."""
    kind, key = KINDS[which]
    [found] = the(kind, {which: {"enabled": True, **values}}, name)["spec"][key]
    return found  # type: ignore[no-any-return]


def target(found: Json, discovered: Mapping[str, str]) -> dict[str, str]:
    """Return a target's labels after the relabelings; those used here replace a label or drop some."""
    labels = dict(discovered)
    for rule in found["relabelings"]:
        if rule.get("action") == "labeldrop":
            labels = {name: value for name, value in labels.items() if name not in rule["regex"].split("|")}
        else:
            labels[rule["targetLabel"]] = (
                labels[rule["sourceLabels"][0]] if "sourceLabels" in rule else rule["replacement"]
            )
    return {name: value for name, value in labels.items() if not name.startswith("__")}


#: What the operator gives a target before the relabelings of a monitor.
OPERATORS: Final = {
    "__meta_kubernetes_pod_node_name": "n1",
    "__meta_kubernetes_pod_name": "vgpu-abc",
    "namespace": NAMESPACE,
    "pod": "vgpu-abc",
    "container": "exporter",
    "service": RELEASE,
    "endpoint": "metrics",
    "job": "gpu/whatever",
}


@either
def test_a_nodes_target_is_its_node_and_nothing_of_the_exporters_pod(which: str) -> None:
    """Else series about a GPU would carry the exporter's namespace, honorLabels or not."""
    assert target(endpoint(which), OPERATORS) == {"job": RELEASE, "node": "n1", "instance": "n1"}


@either
def test_the_quota_roles_target_is_of_no_node(which: str) -> None:
    """Two of its pods overlap in a rollout, and what it counts per node is labelled so by itself."""
    assert target(endpoint(which, QUOTA), OPERATORS) == {"job": RELEASE, "instance": "vgpu-abc"}


@either
def test_the_tenants_labels_are_kept(which: str) -> None:
    """As a belt, honorLabels is on."""
    assert endpoint(which)["honorLabels"] is True
    assert "metricRelabelings" not in endpoint(which)


@either
def test_without_honor_labels_the_node_is_put_back(which: str) -> None:
    """The target's `node` moves the exporter's own aside: it is taken back, so no `exported_*` stays."""
    assert endpoint(which, honorLabels=False)["metricRelabelings"] == [
        {"sourceLabels": ["exported_node"], "regex": "(.+)", "targetLabel": "node"},
        {"action": "labeldrop", "regex": "exported_node"},
    ]


@either
def test_what_the_user_sets_arrives(which: str) -> None:
    """Interval, time-out, limits, labels, namespace and relabelings, these behind our own."""
    rule = {"targetLabel": "cluster", "replacement": "east"}
    values = {"interval": "30s", "scrapeTimeout": "5s", "relabelings": [rule], "metricRelabelings": [rule]}
    found = endpoint(which, **values)
    whole = the(
        KINDS[which][0], {which: {"enabled": True, "namespace": "m", "labels": {"release": "k"}, "sampleLimit": 9}}
    )

    assert (found["interval"], found["scrapeTimeout"]) == ("30s", "5s")
    assert target(found, OPERATORS)["cluster"] == "east"
    assert found["metricRelabelings"] == [rule]
    assert (whole["metadata"]["namespace"], whole["metadata"]["labels"]["release"]) == ("m", "k")
    assert whole["spec"]["namespaceSelector"] == {"matchNames": [NAMESPACE]}
    assert whole["spec"]["sampleLimit"] == 9


def test_the_job_says_what_it_is_under_any_name() -> None:
    """The alert on exporters that are down knows them by a job with this name."""
    values = {"podMonitor": {"enabled": True}, "fullnameOverride": "gpus"}
    [found] = the("PodMonitor", values, "gpus")["spec"]["podMetricsEndpoints"]

    assert target(found, OPERATORS)["job"] == "gpus-vgpu-tenant-exporter"


def test_nothing_is_scraped_twice() -> None:
    """Two ways at once are refused, with the names of the values."""
    both = {"podMonitor": {"enabled": True}, "serviceMonitor": {"enabled": True}}

    assert "podMonitor.enabled, serviceMonitor.enabled, scrapeAnnotations: switch on one" in refusal(both)
    assert "switch on one" in refusal({"podMonitor": {"enabled": True}, "scrapeAnnotations": True})


def test_a_service_monitor_needs_the_services() -> None:
    """It would find nothing."""
    assert "needs service.enabled" in refusal({"serviceMonitor": {"enabled": True}, "service": {"enabled": False}})


def test_plain_annotations_stand_on_the_pods_alone() -> None:
    """On the Services, too, every exporter would be scraped twice."""
    values = SHAPES["plain-annotations"]
    for kind, name in (("DaemonSet", RELEASE), ("Deployment", QUOTA)):
        assert the(kind, values, name)["spec"]["template"]["metadata"]["annotations"] == {
            "prometheus.io/scrape": "true",
            "prometheus.io/port": "9836",
            "prometheus.io/path": "/metrics",
            "prometheus.io/scheme": "http",
        }
    assert all("annotations" not in one["metadata"] for one in objects("Service", values))


# ---------------------------------------------------------------- TLS and passwords


def test_a_web_configuration_of_the_values_is_one_that_the_program_takes() -> None:
    """It stands in a Secret, beside cert-manager's files, and the program is told where."""
    values = SHAPES["tls"]
    secret = the("Secret", values, f"{RELEASE}-web-config")
    told = web_config.parse(secret["stringData"]["web-config.yaml"])

    assert told.tls is not None
    assert list(told.users) == ["prometheus"]
    for pod in (node_pod(values), quota_pod(values)):
        assert settings(pod).web_config == "/etc/vgpu-exporter/web/web-config.yaml"
        assert sources(pod) == [secret["metadata"]["name"], "vgpu-exporter-tls"]


def test_a_secret_of_the_users_own_is_mounted_and_none_made() -> None:
    """Under the key that it has."""
    values = {"webConfig": {"existingSecret": "mine", "key": "web.yml"}}

    assert objects("Secret", values) == []
    assert settings(node_pod(values)).web_config == "/etc/vgpu-exporter/web/web.yml"
    assert sources(node_pod(values)) == ["mine"]


def sources(pod: Json) -> list[str]:
    """Return the Secrets in the directory of the web configuration, which the pod's group may read."""
    [volume] = (volume["projected"] for volume in pod["volumes"] if volume["name"] == "web-config")
    [mount] = (mount for mount in container(pod)["volumeMounts"] if mount["name"] == "web-config")
    assert mount["mountPath"] == "/etc/vgpu-exporter/web"
    assert (volume["defaultMode"], pod["securityContext"]["fsGroup"]) == (0o440, 65534)
    return [source["secret"]["name"] for source in volume["sources"]]


@pytest.mark.parametrize(
    ("web", "scheme"),
    [
        ({}, "http"),
        ({"existingSecret": "mine"}, "https"),
        ({"content": {"tls_server_config": {"cert_file": "a", "key_file": "b"}}}, "https"),
        ({"content": {"basic_auth_users": {"p": "$2b$04$x"}}}, "http"),
    ],
)
def test_the_scheme_follows_the_web_configuration(web: Json, scheme: str) -> None:
    """PodMonitor, ServiceMonitor and annotations agree with what is served."""
    for which, (kind, key) in KINDS.items():
        [found] = the(kind, {which: {"enabled": True}, "webConfig": web})["spec"][key]
        assert found["scheme"] == scheme
    pods = the("DaemonSet", {"scrapeAnnotations": True, "webConfig": web})["spec"]["template"]
    assert pods["metadata"]["annotations"]["prometheus.io/scheme"] == scheme


def test_the_scheme_can_be_said() -> None:
    """What is in a Secret of the user's own the chart cannot know."""
    values = {"podMonitor": {"enabled": True, "scheme": "http"}, "webConfig": {"existingSecret": "passwords-only"}}
    [found] = the("PodMonitor", values)["spec"]["podMetricsEndpoints"]

    assert found["scheme"] == "http"


def test_prometheus_is_told_how_to_verify_and_who_it_is() -> None:
    """The shape with TLS hands over both, as they are."""
    [found] = the("PodMonitor", SHAPES["tls"])["spec"]["podMetricsEndpoints"]
    given = SHAPES["tls"]["podMonitor"]

    assert (found["scheme"], found["tlsConfig"], found["basicAuth"]) == (
        "https",
        given["tlsConfig"],
        given["basicAuth"],
    )


def test_half_a_web_configuration_is_refused() -> None:
    """Certificates that nothing names would leave the endpoint open without a word."""
    assert "serves no TLS" in refusal({"webConfig": {"tlsSecret": "t"}})
    assert "give one of them" in refusal(
        {"webConfig": {"existingSecret": "a", "content": {"basic_auth_users": {}, "rate_limit": {"burst": 1}}}}
    )


def test_no_password_stands_in_the_values() -> None:
    """A basic_auth_users entry that is no bcrypt hash is refused before it is stored anywhere."""
    assert "does not match pattern" in refusal({"webConfig": {"content": {"basic_auth_users": {"p": "secret"}}}})


def test_the_secrets_text_is_yaml_of_its_own() -> None:
    """Whatever the values hold arrives as it is."""
    content = {"basic_auth_users": {"p": "$2b$10$abc: #|"}}
    secret = the("Secret", {"webConfig": {"content": content}}, f"{RELEASE}-web-config")

    assert yaml.safe_load(secret["stringData"]["web-config.yaml"]) == content
