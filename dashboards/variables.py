"""What the reader chooses from: data source, cluster, node, GPU, namespace; each narrowed by those before it."""

from __future__ import annotations

from typing import Final

from grafanalib import core

from alerts.recording import TENANT
from dashboards.queries import chosen
from exporter import catalogue as c

#: Every query goes to the data source that the reader has chosen.
DATASOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


def _variable(
    name: str, label: str, query: str, *, several: bool = True, everything: str | None = ".+"
) -> core.Template:
    """Return a variable; `several`: any number of values and All, which stands for `everything` (None: the values)."""
    return core.Template(
        name=name, label=label, query=query, dataSource=DATASOURCE, multi=several, includeAll=several,
        allValue=everything if several else None, refresh=core.REFRESH_ON_TIME_RANGE_CHANGE,
    )  # fmt: skip


def datasource() -> core.Template:
    """Which Prometheus."""
    return core.Template(name="datasource", label="Data source", query="prometheus", type="datasource")


def cluster() -> core.Template:
    """Which clusters; All is also right where no `cluster` label is set at all."""
    return _variable("cluster", "Cluster", f"label_values({c.BUILD_INFO.name}, cluster)", everything=".*")


def node(*, several: bool = True) -> core.Template:
    """Which nodes."""
    return _variable(
        "node", "Node", f"label_values({c.DEVICE_INFO.name}{{{chosen('cluster')}}}, node)", several=several
    )


def device(*, several: bool = False) -> core.Template:
    """Which GPU or MIG instance of the nodes, by UUID; one that no longer answers, too."""
    query = f"label_values({c.DEVICE_UP.name}{{{chosen('cluster', 'node')}}}, device_uuid)"
    return _variable("device_uuid", "GPU", query, several=several)


def tenant(*, several: bool = True) -> core.Template:
    """Which tenants: a tenant owns namespaces (a recording rule says which); All are also those of no known tenant."""
    query = f"label_values({TENANT}{{{chosen('cluster')}}}, tenant)"
    return _variable("tenant", "Tenant", query, several=several, everything=".*")


def namespace_of_tenant() -> core.Template:
    """Which of the tenants' namespaces; All are those, and not all there are.

    Without the recording rules: those of all containers, while no tenant is chosen.
    """
    names = f'__name__=~"{TENANT}|{c.CONTAINER_INFO.name}"'
    query = f"label_values({{{names},{chosen('cluster', 'tenant')}}}, namespace)"
    return _variable("namespace", "Namespace", query, everything=None)


def namespace(*, several: bool = False) -> core.Template:
    """Which namespace, of those with containers on GPUs."""
    query = f"label_values({c.CONTAINER_INFO.name}{{{chosen('cluster')}}}, namespace)"
    return _variable("namespace", "Namespace", query, several=several)


def pod(*, several: bool = False) -> core.Template:
    """Which pod of the namespaces."""
    query = f"label_values({c.CONTAINER_INFO.name}{{{chosen('cluster', 'namespace')}}}, pod)"
    return _variable("pod", "Pod", query, several=several)


def container() -> core.Template:
    """Which containers of the pods; All counts what a pod was granted as a whole, too."""
    query = f"label_values({c.CONTAINER_INFO.name}{{{chosen('cluster', 'namespace', 'pod')}}}, container)"
    return _variable("container", "Container", query, everything=".*")


def device_of_pod() -> core.Template:
    """Which of the GPUs that the containers are, or were, on, by UUID; All are those, and not all there are."""
    containers = chosen("cluster", "namespace", "pod", "container")
    query = f"label_values({c.CONTAINER_INFO.name}{{{containers}}}, device_uuid)"
    return _variable("device_uuid", "GPU", query, everything=None)


def exporter() -> core.Template:
    """Which exporters, by what Prometheus scrapes."""
    query = f"label_values({c.SNAPSHOT_TIMESTAMP.name}{{{chosen('cluster')}}}, instance)"
    return _variable("instance", "Exporter", query)


#: What each version of vLLM and of Xinference has for each model from the start.
_SERVING: Final = "vllm:num_requests_running|xinference:model_request_limit|xinference:input_tokens_total_counter"


def serving_namespace() -> core.Template:
    """Which namespaces, of those where vLLM or Xinference say that they serve models."""
    query = f'label_values({{__name__=~"{_SERVING}",{chosen("cluster")}}}, namespace)'
    return _variable("namespace", "Namespace", query)


def model_name() -> core.Template:
    """Which models of the namespaces; All are also those of Xinference before 2.8, which gave no `model_name`."""
    query = f'label_values({{__name__=~"{_SERVING}",{chosen("cluster", "namespace")}}}, model_name)'
    return _variable("model_name", "Model", query, everything=".*")
