"""Renames what tells who is who, before a recording leaves the house.

Node, namespaces, pods, containers, workloads and claims become `ns-1`, `pod-3` and so on, the same name each time.
Process names go, unless the exporter goes by them; of cgroup paths only the levels stay that name a pod or a container,
and the words that Kubernetes, systemd and the runtimes put between. Pod UIDs, container IDs and GPU UUIDs stay:
attribution stands on them, and they name nobody. A text that a tenant could have written freely stays only as far as
it is made of words we know.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from exporter.cgroups import MAX_TEXT, parse
from exporter.join import MPS_SERVER
from exporter.manifest import workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from exporter.capture_regions import RecordedRegions
    from exporter.hami.region import FoundRegion
    from exporter.model import Process

#: What stands for a word that we do not know; never longer than what it stands for.
UNKNOWN: Final = "x"

_CONTAINERS: Final = ("initContainers", "containers", "ephemeralContainers")
_STATUSES: Final = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
#: The values that the API itself gives to the fields of a pod that we keep.
_API_WORDS: Final = frozenset(
    {"v1", "Pod", "Always", "OnFailure", "Never", "Pending", "Running", "Succeeded", "Failed", "Unknown"}
)
#: Kubernetes' own kinds of workloads; an operator's kind can name a product, or the house that wrote it.
_KINDS: Final = frozenset(
    {"CronJob", "DaemonSet", "Deployment", "Job", "Node", "ReplicaSet", "ReplicationController", "StatefulSet"}
)
_UID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_CONTAINER_ID: Final = re.compile(r"((containerd|cri-o|docker|podman)://)?[0-9a-f]{64}")
_DEVICE: Final = re.compile(r"(?:MIG-)?(?:GPU-)?[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:/[0-9]{1,3}){0,2}")
#: A UUID of version 4, which HAMi makes anew for each container's file.
_CACHE: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.cache")
_TIME: Final = re.compile(r"[0-9T:.+Z-]{1,40}")
_QUANTITY: Final = re.compile(r"[0-9.+-]+([eE][0-9+-]+|[numkKMGTPE]i?)?")

_TEMPLATE_HASH: Final = "pod-template-hash"
_CONFIG_HASH: Final = "kubernetes.io/config.hash"
#: As `manifest.pod`: what is longer is read as unreadable.
_LONGEST_ANNOTATION: Final = 65536
_UNREADABLE: Final = ",x"
_ANNOTATION_WORD: Final = re.compile(r"[^\s;:,.\"\[\]{}]+")
#: What HAMi writes: devices, numbers, MIG slots and profiles, families, phases, the fields of its JSON.
_HAMI_WORD: Final = re.compile(
    rf"{_DEVICE.pattern}|[0-9]{{1,12}}(?:-[0-9]{{1,3}})?"
    r"|[0-9]{1,2}g|[0-9]{1,4}gb|NVIDIA|allocating|success|failed"
    r"|containerIndex|deviceIndex|gpuUUID|profile|placement|start|size|migUUID|gpuInstanceID|computeInstanceID"
)

_SURROGATE: Final = re.compile("[\ud800-\udfff]")

#: How systemd ends a name.
_SUFFIXES: Final = (".slice", ".scope", ".service")
#: The words of cgroup names that say how a path is built, and nothing else.
_CGROUP_WORDS: Final = frozenset({
    "..", "besteffort", "burstable", "conmon", "containerd", "cri", "crio", "docker", "init", "kubelet", "kubepods",
    "libpod", "lxc", "machine", "pod", "podman", "session", "system", "user",
})  # fmt: skip
#: Hierarchies of cgroup v1, as the kernel calls them, and systemd's own.
_CONTROLLERS: Final = frozenset({
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "misc", "name=systemd", "net_cls",
    "net_prio", "perf_event", "pids", "rdma",
})  # fmt: skip


class Redactor:
    """Gives every name a stand-in, for as long as one recording lasts."""

    def __init__(self) -> None:
        """Begin with no name known."""
        self._given: dict[tuple[str, str], str] = {}

    def name(self, kind: str, name: str) -> str:
        """Return the stand-in of a name; `kind` keeps a pod and a namespace of the same name apart."""
        count = 1 + sum(1 for known, _ in self._given if known == kind)
        return self._given.setdefault((kind, name), f"{kind}-{count}")

    def process(self, process: Process) -> Process:
        """Return a process without its name, unless it is an MPS server's, in a cgroup without names."""
        comm = process.comm if process.comm == MPS_SERVER else "redacted"
        return replace(process, comm=comm, cgroup=cgroup(process.cgroup))

    def pod(self, pod: Mapping[str, Any]) -> dict[str, Any]:
        """Return a slim v1.Pod (`manifest.slim`) with stand-ins for its names and without labels.

        `manifest.pod` reads the same of it, but for the names. Never raises; what has another type than the API
        promises is left out.
        """
        metadata, spec, status = (_mapping(pod.get(part)) for part in ("metadata", "spec", "status"))
        return _known(
            apiVersion=_api_word(pod.get("apiVersion")),
            kind=_api_word(pod.get("kind")),
            metadata=self._metadata(metadata),
            spec=_known(
                nodeName=self._named("node", spec.get("nodeName")),
                restartPolicy=_api_word(spec.get("restartPolicy")),
                resourceClaims=self._claims(spec.get("resourceClaims")),
                **{field: self._containers(spec.get(field)) for field in _CONTAINERS},
            ),
            status=_known(
                phase=_api_word(status.get("phase")),
                **{field: self._statuses(status.get(field)) for field in _STATUSES},
            ),
        )

    def regions(self, recorded: RecordedRegions) -> RecordedRegions:
        """Return HAMi-core's regions without the names of containers, and without those that a tenant made up."""
        regions = tuple(map(self._region, recorded.regions))
        return replace(recorded, regions=regions, complete=frozenset(map(self._known_uid, recorded.complete)))

    def _region(self, found: FoundRegion) -> FoundRegion:
        devices = tuple(
            one if _DEVICE.fullmatch(one.uuid) else replace(one, uuid=self.name("GPU", one.uuid))
            for one in found.region.devices
        )
        return replace(
            found,
            pod_uid=self._known_uid(found.pod_uid),
            directory_container=self.name("container", found.directory_container),
            file=found.file if _CACHE.fullmatch(found.file) else self.name("file", found.file),
            region=replace(found.region, devices=devices),
        )

    def _known_uid(self, uid: str) -> str:
        return _shaped(_UID, uid) or self.name("uid", uid)

    def _metadata(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        template_hash = _mapping(raw.get("labels")).get(_TEMPLATE_HASH)
        references = raw.get("ownerReferences")
        return _known(
            uid=self._uid(raw.get("uid")),
            namespace=self._named("ns", raw.get("namespace")),
            name=self._named("pod", raw.get("name")),
            creationTimestamp=_shaped(_TIME, raw.get("creationTimestamp")),
            annotations={key: self._annotation(key, one) for key, one in _mapping(raw.get("annotations")).items()},
            ownerReferences=[self._owner(owner, template_hash) for owner in _mappings(references)],
        )

    def _named(self, kind: str, raw: object) -> str | None:
        """Return the stand-in of a name; an empty one stays empty, what is no text is left out.

        Half a surrogate is no text that `manifest.pod` reads, so a name with one must not become a name that it does.
        """
        if not isinstance(raw, str):
            return None
        return self.name(kind, raw) if raw and not _SURROGATE.search(raw) else ""

    def _uid(self, raw: object) -> str | None:
        return _shaped(_UID, raw) or self._named("uid", raw)

    def _annotation(self, key: str, raw: object) -> str | None:
        if key.endswith("/vgpu-node"):
            return self._named("node", raw)
        if key == _CONFIG_HASH:
            return self._uid(raw)
        return annotation(raw) if isinstance(raw, str) else None

    def _owner(self, raw: Mapping[str, Any], template_hash: object) -> dict[str, Any]:
        """Return an owner reference that names the workload itself: the hash behind its name would tell it."""
        kind, name = raw.get("kind"), raw.get("name")
        if isinstance(kind, str) and isinstance(name, str):
            kind, name = workload(kind, name, template_hash if isinstance(template_hash, str) else "")
            name = self._named("workload", name)
        else:
            name = self._named("workload", name)
        return _known(
            kind=kind if kind in _KINDS else self._named("Kind", kind),
            name=name,
            controller=raw.get("controller") is True,
        )

    def _containers(self, raw: object) -> list[dict[str, Any]] | None:
        return [self._container(one) for one in _mappings(raw)] if isinstance(raw, list) else None

    def _container(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        resources, rules = _mapping(raw.get("resources")), raw.get("restartPolicyRules")
        return _known(
            name=self._named("container", raw.get("name")),
            restartPolicy=_api_word(raw.get("restartPolicy")),
            restartPolicyRules=[{}] * len(_mappings(rules)) if isinstance(rules, list) else None,
            resources=_known(
                limits=_amounts(resources.get("limits")),
                requests=_amounts(resources.get("requests")),
                claims=self._claims(resources.get("claims")),
            ),
        )

    def _claims(self, raw: object) -> list[dict[str, Any]] | None:
        if not isinstance(raw, list):
            return None
        return [_known(name=self._named("claim", _mapping(one).get("name"))) for one in raw]

    def _statuses(self, raw: object) -> list[dict[str, Any]] | None:
        return [self._status(one) for one in _mappings(raw)] if isinstance(raw, list) else None

    def _status(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        return _known(
            name=self._named("container", raw.get("name")),
            containerID=_shaped(_CONTAINER_ID, raw.get("containerID")),
            state=_state(raw.get("state")),
            lastState=_state(raw.get("lastState")),
        )


def annotation(text: str) -> str:
    """Return what a device annotation says in HAMi's words, every other word replaced; its grammar stays."""
    if len(text) > _LONGEST_ANNOTATION:
        return _UNREADABLE
    return _ANNOTATION_WORD.sub(lambda word: word[0] if _HAMI_WORD.fullmatch(word[0]) else UNKNOWN, text)


# ---------------------------------------------------------------- cgroups


def cgroup(text: str) -> str:
    """Return a /proc/<pid>/cgroup text without names; `cgroups.parse` answers the same for it.

    The stand-in is never longer than the name, so what `parse` cuts off for length is the same, too.
    """
    return "\n".join(_lines(text[:MAX_TEXT]))


def _lines(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        identity, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if identity.isascii() and identity.isdigit() and path.startswith("/"):
            yield f"{identity}:{_replaced(controllers, ',', _CONTROLLERS)}:{_path(path)}"
        elif not line:
            yield line  # the end of the text


def _path(path: str) -> str:
    bare = path.removesuffix(" (deleted)")
    return "/".join(":".join(map(_level, level.split(":"))) for level in bare.split("/")) + path[len(bare) :]


def _level(name: str) -> str:
    """Return one name of a path: a pod's UID and a container's ID stay, of the rest the words that we know."""
    suffix = next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), "")
    stem = name.removesuffix(suffix)
    identity = ""
    for owner in parse(f"0::/{name}/x"):  # below it a level that is none: a name may end like a deleted path
        identity = stem[-len(owner.container_id or owner.pod_uid) :]
    words = stem.removesuffix(identity)
    prefix, pod, rest = words.rpartition("pod")
    if identity and pod and not rest:  # `…-pod<uid>`: not a word of its own
        return f"{_replaced(prefix, '-', _CGROUP_WORDS)}{pod}{identity}{suffix}"
    return f"{_replaced(words, '-', _CGROUP_WORDS)}{identity}{suffix}"


def _replaced(text: str, separator: str, known: frozenset[str]) -> str:
    """Return `text` with every word replaced that is not known; nothing stays nothing."""
    return separator.join(word if not word or word in known else UNKNOWN for word in text.split(separator))


# ---------------------------------------------------------------- values of the promised type, or nothing


def _known(**fields: object) -> dict[str, Any]:
    """Return an object without the fields that are not known."""
    return {name: value for name, value in fields.items() if value is not None}


def _mapping(raw: object) -> Mapping[str, Any]:
    return raw if isinstance(raw, dict) else {}


def _mappings(raw: object) -> list[Mapping[str, Any]]:
    return [one for one in raw if isinstance(one, dict)] if isinstance(raw, list) else []


def _api_word(raw: object) -> str | None:
    """Return a word of the API; another one is told apart from none."""
    if not isinstance(raw, str) or not raw:
        return None
    return raw if raw in _API_WORDS else UNKNOWN


def _shaped(shape: re.Pattern[str], raw: object) -> str | None:
    return raw if isinstance(raw, str) and shape.fullmatch(raw) else None


def _amounts(raw: object) -> dict[str, Any] | None:
    """Return the accelerators asked for; an amount that is none stays none."""
    if not isinstance(raw, dict):
        return None
    return {
        name: amount if isinstance(amount, int | float) else _shaped(_QUANTITY, amount) or UNKNOWN
        for name, amount in raw.items()
    }


def _state(raw: object) -> dict[str, Any] | None:
    """Return what says that, and how, a container ended."""
    if not isinstance(raw, dict) or not isinstance(raw.get("terminated"), dict):
        return None
    ended = raw["terminated"]
    code = ended.get("exitCode")
    return {
        "terminated": _known(
            containerID=_shaped(_CONTAINER_ID, ended.get("containerID")),
            exitCode=code if isinstance(code, int) else None,
        )
    }
