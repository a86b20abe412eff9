"""A pod's JSON → `model.Pod`; and the minimal copy of that JSON which a capture may keep.

A pod's spec is written by a tenant and its status by a kubelet: whatever has another type than the API
promises is taken as missing, field by field. Only a pod without uid, name or namespace is none at all.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

from exporter.errors import ManifestError, shorten
from exporter.hami.families import FAMILIES
from exporter.hami.mig_allocations import ALLOCATIONS
from exporter.model import Container, ContainerKind, Pod
from exporter.quantity import whole_number

#: The annotations that say which devices a pod got, and how far that is (hami-contract.md 1.1, 1.2, 1.6, 1.7).
DEVICE_ANNOTATIONS: Final = frozenset(
    {"hami.io/bind-phase", ALLOCATIONS, *(key for family in FAMILIES for key in (family.allocated, family.node))}
)
#: Domains that name other things than accelerators, too, and how the names of those begin.
_MIXED: Final = {"volcano.sh/": "volcano.sh/vgpu-", "aws.amazon.com/": "aws.amazon.com/neuron"}
#: How the names of accelerator resources begin: those of HAMi's families, and of usual device plugins beside them.
ACCELERATORS: Final = (
    *sorted({_MIXED.get(domain, domain) for domain in (f"{family.count.partition('/')[0]}/" for family in FAMILIES)}),
    *("4pd.io/", "gpu.intel.com/", "habana.ai/"),
)
_CONFIG_HASH: Final = "kubernetes.io/config.hash"
_TEMPLATE_HASH: Final = "pod-template-hash"
_LONGEST_ANNOTATION: Final = 65536
#: An item with a comma but without four fields: HAMi's grammar refuses it wherever the cut fell, and so does JSON.
_CUT: Final = ":,…"

#: Each list of a spec with the one of the status that belongs to it, in the order of `Pod.containers`.
_LISTS: Final[tuple[tuple[ContainerKind, str, str], ...]] = (
    ("init", "initContainers", "initContainerStatuses"),
    ("app", "containers", "containerStatuses"),
    ("ephemeral", "ephemeralContainers", "ephemeralContainerStatuses"),
)
# The alphabet of Kubernetes' generated names has no vowels and no digits that look like letters.
_GENERATED_HASH: Final = re.compile(r"(.+)-[bcdfghjklmnpqrstvwxz2456789]{5,10}")
_SCHEDULED_JOB: Final = re.compile(r"(.+)-[0-9]{8,}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def pod(
    raw: object,
    *,
    labels: frozenset[str] = frozenset(),
    tenant_label: str = "",
    accelerators: tuple[str, ...] = ACCELERATORS,
) -> Pod:
    """Return one v1.Pod, as `json.loads` gives it, cut down to what this program needs.

    `labels` are the label keys to keep, `tenant_label` the one whose value is the tenant ("" = none), `accelerators`
    how the names of the resources begin that are kept of what it asks for. `owner_kind` and `owner_name` name the
    workload: the controller with generated hashes stripped, see `workload`. A device annotation beyond 65536 characters
    is cut so that it no longer decodes.
    Raises ManifestError if uid, name or namespace is missing, and nothing else.
    """
    body = _mapping(raw)
    metadata, spec, status = (_mapping(body.get(part)) for part in ("metadata", "spec", "status"))
    uid, namespace, name = (_text(metadata.get(field)) for field in ("uid", "namespace", "name"))
    if not (uid and namespace and name):
        raise ManifestError(f"The pod {shorten(key(raw))} lacks a uid, a name or a namespace: it is left out.")
    all_labels, annotations = _mapping(metadata.get("labels")), _mapping(metadata.get("annotations"))
    finished = status.get("phase") in ("Succeeded", "Failed")
    owner_kind, owner_name = _owner(metadata.get("ownerReferences"), _text(all_labels.get(_TEMPLATE_HASH)))
    return Pod(
        uid=uid,
        namespace=namespace,
        name=name,
        node=_text(spec.get("nodeName")),
        created=_text(metadata.get("creationTimestamp")),
        containers=_containers(spec, status, accelerators, finished=finished),
        finished=finished,
        claims=_claims(spec),
        annotations={name: _bounded(value) for name, value in _texts(annotations, DEVICE_ANNOTATIONS).items()},
        labels=_texts(all_labels, labels),
        owner_kind=owner_kind,
        owner_name=owner_name,
        config_hash=_text(annotations.get(_CONFIG_HASH)),
        tenant=_text(all_labels.get(tenant_label)) if tenant_label else "",
    )


def key(raw: object) -> str:
    """Return what names the object in messages and while watching: `namespace/name`, else its uid, else `unnamed`.

    A name can be reused, but two objects never have it at once; deletions are found by it even if the
    object has no usable uid. Takes any JSON; never raises.
    """
    metadata = _mapping(_mapping(raw).get("metadata"))
    names = [_text(metadata.get("namespace")), _text(metadata.get("name"))]
    return "/".join(filter(None, names)) or _text(metadata.get("uid")) or "unnamed"


def workload(owner_kind: str, owner_name: str, template_hash: str = "") -> tuple[str, str]:
    """Return kind and name of what a person deployed, told from the controller's name alone.

    A ReplicaSet `web-5d4f8c7b9` is the Deployment `web` (`template_hash` is the pod's label of that name),
    a Job `tidy-29000000` the CronJob `tidy`; others stay as they are.
    """
    if owner_kind == "ReplicaSet":
        if template_hash and owner_name.endswith(f"-{template_hash}"):
            return "Deployment", owner_name.removesuffix(f"-{template_hash}") or owner_name
        if generated := _GENERATED_HASH.fullmatch(owner_name):
            return "Deployment", generated[1]
    if owner_kind == "Job" and (scheduled := _SCHEDULED_JOB.fullmatch(owner_name)):
        return "CronJob", scheduled[1]
    return owner_kind, owner_name


# ---------------------------------------------------------------- containers


def _containers(
    spec: Mapping[str, object], status: Mapping[str, object], accelerators: tuple[str, ...], *, finished: bool
) -> tuple[Container, ...]:
    """Return the pod's containers; one without a name, or with one already taken, is left out."""
    policy = _text(spec.get("restartPolicy")) or "Always"
    found: dict[str, Container] = {}
    for kind, listed, reported in _LISTS:
        statuses = {_text(entry.get("name")): entry for entry in _mappings(status.get(reported))}
        for raw in _mappings(spec.get(listed)):
            name = _text(raw.get("name"))
            if name and name not in found:
                one = _container(raw, statuses.get(name, {}), _kind(raw, kind), policy)
                asks = _asks(_mapping(raw.get("resources")), accelerators)
                found[name] = replace(one, asks=asks, finished=finished or one.finished)
    return tuple(found.values())


def _container(raw: Mapping[str, object], status: Mapping[str, object], kind: ContainerKind, policy: str) -> Container:
    """Return one container but for what it asks; `policy` is the pod's restartPolicy."""
    state, last = (_mapping(status.get(field)) for field in ("state", "lastState"))
    terminated = state.get("terminated")
    ended, ended_before = _mapping(terminated), _mapping(last.get("terminated"))
    ids = (_bare_id(holder.get("containerID")) for holder in (status, ended, ended_before))
    return Container(
        name=_text(raw.get("name")),
        kind=kind,
        ids=tuple(dict.fromkeys(filter(None, ids))),
        finished=isinstance(terminated, dict) and _is_last_run(raw, kind, ended, policy),
    )


def _is_last_run(raw: Mapping[str, object], kind: ContainerKind, ended: Mapping[str, object], policy: str) -> bool:
    """Whether a container that ended so will not be started again while its pod lives."""
    succeeded = isinstance(ended.get("exitCode"), int) and ended["exitCode"] == 0
    if kind == "ephemeral" or (kind == "init" and succeeded):
        return True
    if kind == "sidecar" or _mappings(raw.get("restartPolicyRules")):
        return False
    policy = _text(raw.get("restartPolicy")) or policy  # a container's own policy goes before the pod's
    return policy == "Never" or (policy == "OnFailure" and succeeded)


def _kind(raw: Mapping[str, object], kind: ContainerKind) -> ContainerKind:
    """Return `kind`, or "sidecar" for an init container that is kept running."""
    return "sidecar" if kind == "init" and raw.get("restartPolicy") == "Always" else kind


def _bare_id(value: object) -> str:
    """Return `containerd://abc` as `abc`; the prefix names the runtime."""
    runtime, mark, bare = _text(value).partition("://")
    return bare if mark else runtime


def _asks(resources: Mapping[str, object], accelerators: tuple[str, ...]) -> dict[str, int | None]:
    """Return what is asked of accelerators: limits, else requests, resource by resource; 0 asks for nothing."""
    named = _accelerators(resources.get("requests"), accelerators) | _accelerators(
        resources.get("limits"), accelerators
    )
    amounts = {name: whole_number(amount) for name, amount in named.items()}
    return {name: amount for name, amount in amounts.items() if amount != 0}


def _claims(spec: Mapping[str, object]) -> bool:
    """Whether the pod asks for devices by dynamic resource allocation."""
    containers = (raw for _, listed, _ in _LISTS for raw in _mappings(spec.get(listed)))
    claims = [_mapping(raw.get("resources")).get("claims") for raw in containers]
    return any(isinstance(claim, list) and claim for claim in (spec.get("resourceClaims"), *claims))


def _owner(references: object, template_hash: str) -> tuple[str, str]:
    """Return the workload behind the controller among the owner references; two empty texts if there is none."""
    for reference in _mappings(references):
        kind, name = _text(reference.get("kind")), _text(reference.get("name"))
        if reference.get("controller") is True and kind and name:
            return workload(kind, name, template_hash)
    return "", ""


# ---------------------------------------------------------------- a copy that gives nothing away

_Shape: TypeAlias = "Mapping[str, _Shape] | list[_Shape] | Callable[[object], object]"


def slim(raw: object, *, labels: frozenset[str] = frozenset(), tenant_label: str = "") -> dict[str, object]:
    """Return a copy of the pod's JSON with allow-listed fields only: no environment, arguments, images, commands.

    `pod(slim(raw, …), …) == pod(raw, …)` for the same `labels` and `tenant_label`. Never raises; what is
    no JSON object at all becomes an empty one.
    """
    kept = _kept(raw, ALLOWED_FIELDS)
    if not isinstance(kept, dict):
        return {}
    metadata = kept.get("metadata")
    if isinstance(metadata, dict):
        given = _mapping(_mapping(_mapping(raw).get("metadata")).get("labels"))
        metadata["labels"] = _texts(given, labels | {_TEMPLATE_HASH} | ({tenant_label} - {""}))
    return kept


def _kept(raw: object, shape: _Shape) -> object:
    """Return what of `raw` has the allowed shape; a value of another type becomes None."""
    if isinstance(shape, Mapping):
        fields = _mapping(raw)
        kept = {name: _kept(fields[name], below) for name, below in shape.items() if name in fields}
        return kept if isinstance(raw, dict) else None
    if isinstance(shape, list):
        return [_kept(item, shape[0]) for item in raw] if isinstance(raw, list) else None
    return shape(raw)


def _scalar(raw: object) -> object:
    """Return a text, number or truth value as it is; anything with something inside is dropped."""
    return raw if isinstance(raw, str | int | float) else None


def _accelerators(raw: object, accelerators: tuple[str, ...] = ACCELERATORS) -> dict[str, object]:
    """Return the accelerators of a resource list, with their quantities as written."""
    amounts = _mapping(raw).items()
    return {str(name): _scalar(amount) for name, amount in amounts if str(name).startswith(accelerators)}


def _scalars(*names: str) -> dict[str, _Shape]:
    """Return the shape of an object with these plain fields."""
    return dict.fromkeys(names, _scalar)


_ENDED: Final[_Shape] = {"terminated": _scalars("containerID", "exitCode")}
_STATUS: Final[_Shape] = [_scalars("name", "containerID") | {"state": _ENDED, "lastState": _ENDED}]
_RESOURCES: Final[_Shape] = {"limits": _accelerators, "requests": _accelerators, "claims": [_scalars("name")]}
_CONTAINER: Final[_Shape] = [
    _scalars("name", "restartPolicy") | {"restartPolicyRules": [_scalars()], "resources": _RESOURCES}
]
#: All that `slim` keeps, beside allow-listed labels.
ALLOWED_FIELDS: Final[_Shape] = _scalars("apiVersion", "kind") | {
    "metadata": _scalars("uid", "namespace", "name", "creationTimestamp")
    | {
        "annotations": _scalars(*sorted(DEVICE_ANNOTATIONS), _CONFIG_HASH),
        "ownerReferences": [_scalars("kind", "name", "controller")],
    },
    "spec": _scalars("nodeName", "restartPolicy")
    | {"resourceClaims": [_scalars("name")]}
    | {listed: _CONTAINER for _, listed, _ in _LISTS},
    "status": _scalars("phase") | {reported: _STATUS for _, _, reported in _LISTS},
}


# ---------------------------------------------------------------- values of the promised type, or nothing


def _mapping(raw: object) -> Mapping[str, object]:
    """Return a JSON object as it is, anything else as an empty one."""
    return raw if isinstance(raw, dict) else {}


def _mappings(raw: object) -> list[Mapping[str, object]]:
    """Return the objects of a JSON list; anything else in it, or in its place, is left out."""
    return [item for item in raw if isinstance(item, dict)] if isinstance(raw, list) else []


def _text(raw: object) -> str:
    """Return a text as it is, anything else as an empty one, also what could not be written as UTF-8."""
    return raw if isinstance(raw, str) and not _SURROGATE.search(raw) else ""


def _texts(raw: Mapping[str, object], keys: Iterable[str]) -> dict[str, str]:
    """Return those of `keys` that are there with a text."""
    return {name: _text(raw[name]) for name in sorted(keys) if raw.get(name) == "" or _text(raw.get(name))}


def _bounded(value: str) -> str:
    """Return an annotation of at most 65536 characters; a longer one cut so that it visibly does not decode."""
    return value if len(value) <= _LONGEST_ANNOTATION else value[:_LONGEST_ANNOTATION] + _CUT
