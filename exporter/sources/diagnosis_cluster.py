"""The edges of `doctor` in the cluster: what the API server says of Node, pods and quotas now, as findings."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from exporter import manifest
from exporter.doctor.cluster import NodeFound, PodsFound
from exporter.errors import AnnotationError, ApiError, ManifestError
from exporter.hami.node_register import KEYS, choose, decode
from exporter.model import Pod
from exporter.sources.hami_config import hami_config
from exporter.sources.kube_api import PODS, KubeApi, of_node
from exporter.sources.node import own_node

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from exporter.config import ObjectName
    from exporter.sources.kube_api import Pace, Resource

#: The label of HAMi's own pod on a node (hami-contract.md 8), and characters of its image that are looked at.
_COMPONENT: Final = ("app.kubernetes.io/component", "hami-device-plugin")
_LONGEST_IMAGE: Final = 512


def node(name: str, kubeconfig: str | None, pace: Pace) -> NodeFound:
    """GET the own Node and decode what is registered on it."""
    try:
        raw = _got(kubeconfig, pace, own_node(name))
    except ApiError as error:
        return NodeFound(error)
    body = raw.get("metadata")
    annotations = body.get("annotations") if isinstance(body, dict) else None
    texts = {key: str(annotations[key]) for key in KEYS if key in annotations} if isinstance(annotations, dict) else {}
    key = choose(texts)
    if key is None:
        return NodeFound()
    try:
        return NodeFound(None, key, texts[key], None, decode(texts[key]))
    except AnnotationError as error:
        return NodeFound(None, key, texts[key], error)


def _got(kubeconfig: str | None, pace: Pace, resource: Resource) -> dict[str, object]:
    api = KubeApi(kubeconfig, pace, resource)
    try:
        return api.get()
    finally:
        api.close()


def pods(name: str, kubeconfig: str | None, pace: Pace) -> PodsFound:
    """List the node's pods."""
    try:
        items = _listed(kubeconfig, pace, PODS._replace(query=of_node(name)))
    except ApiError as error:
        return PodsFound(error)
    found, unreadable = list[Pod](), list[str]()
    for raw in items:
        try:
            found.append(manifest.pod(raw))
        except ManifestError:
            unreadable.append(manifest.key(raw))
    images = [image for raw in items for image in _images(raw)]
    return PodsFound(None, tuple(found), tuple(unreadable), tuple(images))


def _listed(kubeconfig: str | None, pace: Pace, resource: Resource) -> list[object]:
    api = KubeApi(kubeconfig, pace, resource)
    try:
        return [raw for page in api.pages(resource.query) for raw in page.items]
    finally:
        api.close()


def count(kubeconfig: str | None, pace: Pace, resource: Resource) -> int | ApiError:
    """Return how many objects there are, or why that is not known."""
    try:
        return len(_listed(kubeconfig, pace, resource))
    except ApiError as error:
        return error


def _images(raw: object) -> Iterator[str]:
    """Yield the images of a pod that bears the label of HAMi's device plugin."""
    body = raw if isinstance(raw, dict) else {}
    labels = _mapping(_mapping(body.get("metadata")).get("labels"))
    key, value = _COMPONENT
    containers = _mapping(body.get("spec")).get("containers")
    if labels.get(key) != value or not isinstance(containers, list):
        return
    yield from (str(one.get("image"))[:_LONGEST_IMAGE] for one in containers if isinstance(one, dict))


def _mapping(raw: object) -> Mapping[str, object]:
    return raw if isinstance(raw, dict) else {}


def hami_config_errors(name: ObjectName, kubeconfig: str | None, pace: Pace, seconds: float) -> tuple[str, ...]:
    """Return the reasons why HAMi's ConfigMap cannot be used, () if it can."""
    source = hami_config(name, kubeconfig=kubeconfig, pace=pace)
    source.start()
    end = time.monotonic() + seconds
    reasons: tuple[str, ...] = ()
    while not reasons and time.monotonic() < end:
        value, status = source.known()
        if value is not None:
            source.close()
            return ()
        reasons = tuple(reason for reason, times in status.errors.items() if times)
        time.sleep(0.02)
    source.close()
    return reasons or ("unreachable",)
