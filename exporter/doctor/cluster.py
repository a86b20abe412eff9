"""The steps of Kubernetes: the API server, its clock, what it lets us read, and what there is to read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from exporter.doctor import failed, listed, passed, plural, unchecked, warned
from exporter.grants import grants as grants_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.doctor import Step
    from exporter.errors import ApiError, ParseError
    from exporter.hami.node_register import RegisteredDevice
    from exporter.model import Pod

API, CLOCK, PERMISSIONS, NODE, PODS, GRANTS = "api-server", "clock", "permissions", "node", "pods", "grants"
QUOTAS, CONFIG = "quotas", "hami-config"

#: Seconds of clock skew that deserve a look, and from which VgpuSnapshotStale fires.
_SKEWED: Final = 10.0
_STALE: Final = 120.0
_ADVICE: Final = {
    "unreachable": "Check the address, DNS, NetworkPolicies and the certificate between this pod and the API server.",
    "unauthorized": (
        "The token is not valid: let the pod mount its service account's token (automountServiceAccountToken), or "
        "renew the kubeconfig's user."
    ),
    "config": "Run in a pod with a service account, give --kubeconfig PATH, or do without names: --no-kubernetes.",
}
_LATER: Final = "Look again later; if it stays, the API server's log says more."
_UNREADABLE: Final = frozenset({"annotation_unreadable", "mig_allocation_unreadable"})


class Permission(NamedTuple):
    """A verb on a resource of the core API; `namespace` and `name` are "" for all."""

    verb: str
    resource: str
    namespace: str = ""
    name: str = ""

    @property
    def words(self) -> str:
        """What stands in a ClusterRole."""
        return f"{self.verb} {self.resource}"


@dataclass(frozen=True, slots=True)
class ApiFound:
    """What the API server said when asked what we may do.

    `server` is its address, `error` why it did not answer. `ahead` are the seconds by which its clock is ahead of ours,
    None if it did not say. `allowed` is what it said of each permission.
    """

    server: str
    error: ApiError | None
    ahead: float | None
    allowed: Mapping[Permission, bool]

    def may(self, *permissions: Permission) -> bool:
        """Tell whether all of these are allowed; one that was not answered is."""
        return all(self.allowed.get(permission, True) for permission in permissions)


@dataclass(frozen=True, slots=True)
class NodeFound:
    """The own Node: what stands in its registration (`key`: which annotation, "" if none), or why that is not known."""

    error: ApiError | None = None
    key: str = ""
    text: str = ""
    unreadable: ParseError | None = None
    devices: tuple[RegisteredDevice, ...] = ()


@dataclass(frozen=True, slots=True)
class PodsFound:
    """The node's pods; `unreadable` names what is none, `images` are those of HAMi's own pods here."""

    error: ApiError | None = None
    pods: tuple[Pod, ...] = ()
    unreadable: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


def api(found: ApiFound) -> Step:
    """Judge whether the API server answers us."""
    if found.error is not None and found.error.reason != "forbidden":
        return failed(API, str(found.error), _ADVICE.get(found.error.reason, _LATER))
    return passed(API, f"{found.server} answers")


def clock(found: ApiFound) -> Step:
    """Judge our clock by the API server's."""
    if found.ahead is None:
        return unchecked(CLOCK, API)
    seconds = abs(found.ahead)
    if seconds < _SKEWED:
        return passed(CLOCK, "this node's clock and the API server's agree")
    told = f"this node's clock is {seconds:.0f} s {'behind' if found.ahead > 0 else 'ahead of'} the API server's"
    advice = "Synchronise the node's clock (chrony, systemd-timesyncd): published times are wrong by as much."
    return failed(CLOCK, told, advice) if seconds >= _STALE else warned(CLOCK, told, advice)


def permissions(found: ApiFound) -> Step:
    """Judge whether we may read what the role reads."""
    if found.error is not None and found.error.reason == "forbidden":
        return warned(PERMISSIONS, str(found.error), "It may not be asked for (SelfSubjectAccessReview); see below.")
    if found.error is not None:
        return unchecked(PERMISSIONS, API)
    refused = [permission.words for permission, allowed in found.allowed.items() if not allowed]
    if refused:
        return failed(
            PERMISSIONS,
            f"the API server forbids: {', '.join(refused)}",
            f"Give the service account a ClusterRole that allows: {', '.join(refused)}, as the chart does.",
        )
    return passed(PERMISSIONS, ", ".join(permission.words for permission in found.allowed))


def node(found: NodeFound, name: str) -> Step:
    """Judge whether the own Node is there, and what a device plugin registered on it can be read."""
    if found.error is not None and found.error.reason == "gone":
        return failed(
            NODE,
            f"the cluster has no Node {name}",
            "--node-name (NODE_NAME) must be the Node's name in Kubernetes: in a pod from spec.nodeName.",
        )
    if found.error is not None:
        return failed(NODE, str(found.error), _ADVICE.get(found.error.reason, _LATER))
    if found.unreadable is not None:
        return failed(
            NODE,
            f"its annotation {found.key} cannot be read: {found.unreadable}",
            "Sharing mode, slots and scaled sizes are absent: restart HAMi's device plugin on this node; if it writes "
            "the same again, please report the text.",
        )
    where = f" in {found.key}" if found.key else ""
    return passed(NODE, f"{name}, {plural(len(found.devices), 'GPU')} registered{where}")


def pods(found: PodsFound, name: str) -> Step:
    """Judge whether the node's pods are seen."""
    if found.error is not None:
        return failed(PODS, str(found.error), _ADVICE.get(found.error.reason, _LATER))
    if found.unreadable:
        return warned(
            PODS, f"not readable as pods: {listed(found.unreadable)}", "Look at these objects: their grants are absent."
        )
    if not found.pods:
        return warned(
            PODS,
            f"the API server knows no pod on {name}",
            "Not even this one: --node-name (NODE_NAME) must name the node that the exporter runs on.",
        )
    return passed(PODS, f"{plural(len(found.pods), 'pod')} on {name}, {len(_askers(found.pods))} with accelerators")


def grants(found: PodsFound, name: str) -> Step:
    """Judge whether the pods' device annotations can be decoded; whether they can be believed shows at the end."""
    if found.error is not None:
        return unchecked(GRANTS, PODS)
    askers = _askers(found.pods)
    decoded = [grants_of(pod, None, name) for pod in askers]
    unreadable = [
        f"{pod.namespace}/{pod.name}"
        for pod, (_, failures) in zip(askers, decoded, strict=True)
        if any(failure.reason in _UNREADABLE for failure in failures)
    ]
    if unreadable:
        return failed(
            GRANTS,
            f"device annotations that cannot be read: {listed(unreadable)}",
            "HAMi's scheduler writes hami.io/vgpu-devices-allocated; somebody else may have edited it, or its release "
            "is newer than we know: create the pod anew, or report the text of the annotation.",
        )
    holders = sum(any(one.grants for one in by_name.values()) for by_name, _ in decoded)
    if askers and not holders:
        return warned(
            GRANTS,
            f"{plural(len(askers), 'pod')} with accelerators, none with a grant of HAMi's",
            "Their schedulerName must be HAMi's, and its webhook must see them (no label hami.io/webhook=ignore).",
        )
    return passed(GRANTS, f"{plural(holders, 'pod')} with a grant that can be read")


def _askers(pods: Sequence[Pod]) -> list[Pod]:
    """Return the living pods that ask for accelerators."""
    return [pod for pod in pods if not pod.finished and any(container.asks for container in pod.containers)]


# ---------------------------------------------------------------- the quota role


def quotas(found: int | ApiError) -> Step:
    """Judge whether there are quotas to tell of: their number, or why that is not known."""
    if not isinstance(found, int):
        return failed(QUOTAS, str(found), _ADVICE.get(found.reason, _LATER))
    if not found:
        return warned(
            QUOTAS,
            "the cluster has no ResourceQuota",
            "Nothing limits what namespaces may be granted: create ResourceQuotas with limits.nvidia.com/gpumem.",
        )
    return passed(QUOTAS, plural(found, "ResourceQuota"))


def hami_config(name: str, reasons: Sequence[str]) -> Step:
    """Judge whether HAMi's ConfigMap was read: `reasons` why not, () if it was."""
    if not reasons:
        return passed(CONFIG, f"the ConfigMap {name} says how resources are called")
    advice = {
        "gone": "There is no such ConfigMap: --hami-config must be NAMESPACE/NAME of HAMi's, such as "
        "kube-system/hami-scheduler-device.",
        "forbidden": "Give the service account a Role with `configmaps: get` in that namespace, as the chart does.",
        "malformed": "Its key device-config.yaml cannot be read as HAMi's: say the names by --resource-names instead.",
    }
    return failed(CONFIG, f"the ConfigMap {name} cannot be used: {', '.join(reasons)}", advice.get(reasons[0], _LATER))
