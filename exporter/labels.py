"""The label sets of the catalogue, one NamedTuple each: the field names are the label names.

The contract's shorthand: D = node, device_uuid · C = D, namespace, pod, container · N = D, namespace
· R = role (`node` or `quota`). No PID, command, value or UID ever stands in a label.
"""

from __future__ import annotations

from typing import NamedTuple


class Device(NamedTuple):
    """D: one GPU (or MIG instance) of a node."""

    node: str
    device_uuid: str


class DeviceInfo(NamedTuple):
    """D with what identifies the card to people."""

    node: str
    device_uuid: str
    device_index: str
    device_name: str
    driver_version: str
    sharing_mode: str
    parent_uuid: str


class DeviceCapability(NamedTuple):
    """D with a capability and whether, or why not, it is there."""

    node: str
    device_uuid: str
    capability: str
    reason: str


class DeviceReason(NamedTuple):
    """D with the reason why something belongs to nobody."""

    node: str
    device_uuid: str
    reason: str


class DeviceXid(NamedTuple):
    """D with an XID code."""

    node: str
    device_uuid: str
    xid: str


class NamespaceOnDevice(NamedTuple):
    """N: a namespace on a GPU."""

    node: str
    device_uuid: str
    namespace: str


class OnDevice(NamedTuple):
    """C: a container on a GPU."""

    node: str
    device_uuid: str
    namespace: str
    pod: str
    container: str


class OnDeviceInfo(NamedTuple):
    """C with its workload and the source of its grant (`tenant` is appended where switched on)."""

    node: str
    device_uuid: str
    namespace: str
    pod: str
    container: str
    workload_kind: str
    workload: str
    grant_source: str


class PodLabels(NamedTuple):
    """A pod of a node (its allow-listed labels are appended as `label_<name>`)."""

    node: str
    namespace: str
    pod: str


class Node(NamedTuple):
    """A node."""

    node: str


class NamespaceResource(NamedTuple):
    """A namespace and a resource by its bare Kubernetes name."""

    namespace: str
    resource: str


class NamespaceQuota(NamedTuple):
    """A namespace, a resource, and the ResourceQuota that binds it."""

    namespace: str
    resource: str
    quota: str


class Quota(NamedTuple):
    """One ResourceQuota and one of its resources."""

    namespace: str
    quota: str
    resource: str


class NamespaceView(NamedTuple):
    """A namespace's resource as somebody else reads it."""

    namespace: str
    resource: str
    view: str


class NamespaceReason(NamedTuple):
    """A namespace and the reason why pods wait."""

    namespace: str
    reason: str


class NamespaceTenant(NamedTuple):
    """A namespace and the tenant who owns it."""

    namespace: str
    tenant: str


class Role(NamedTuple):
    """R: which role of the exporter says so."""

    role: str


class RoleSource(NamedTuple):
    """R with a source."""

    role: str
    source: str


class RoleSourceReason(NamedTuple):
    """R with a source and an error reason."""

    role: str
    source: str
    reason: str


class RoleReason(NamedTuple):
    """R with an attribution failure's reason."""

    role: str
    reason: str


class Build(NamedTuple):
    """R with what was built."""

    role: str
    version: str
    revision: str
    python_version: str
