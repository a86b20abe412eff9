"""What the kubelet and a container runtime make of a pod's spec: volumes, environment, privileges, probes.

The root has what an image has: Python, the program and the system's libraries. Not done are the seccomp profile and the
limits of resources. As procfs a pod with the host's PIDs sees the recorded node's, another one itself alone.
"""

from __future__ import annotations

import http.client
import os
import shlex
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

from typing_extensions import override

from exporter.sources.driver import LIBRARY_PATHS
from tests.charts.recorded_node import NODE
from tests.charts.rendering import NAMESPACE, container
from tests.program import ROOT, Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.charts.recorded_node import RecordedNode
    from tests.charts.rendering import Json
    from tests.kube_server import KubeServer

POD_NAME: Final = "vgpu-tenant-exporter-abcde"
#: Where an image's files are on this machine; links stay links.
_IMAGE: Final = (
    "/bin", "/lib", "/lib64", "/usr/bin", "/usr/lib", "/usr/lib64", "/etc/group", "/etc/ld.so.cache",
    "/etc/nsswitch.conf", "/etc/passwd", f"{sys.base_prefix}/bin", f"{sys.base_prefix}/lib", sys.prefix,
    str(ROOT / "exporter"),
)  # fmt: skip
_IMAGE_ENVIRONMENT: Final = {
    "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}
#: What a runtime adds to every image.
_DEVICES: Final = ("/dev/null", "/dev/random", "/dev/urandom", "/dev/zero")
#: A directory of the driver's library: the container toolkit adds what is in it.
_DRIVER: Final = "/usr/local/nvidia/lib64"
_ACCOUNT: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


class Mount(NamedTuple):
    """A file or directory of this machine, and where the container sees it."""

    outside: Path
    inside: str
    read_only: bool = True


class Cluster(NamedTuple):
    """What is there beside the node: the API server, the PEM of its authority, Secrets as name → key → content."""

    kube: KubeServer
    authority: bytes
    secrets: Mapping[str, Mapping[str, bytes]]


class Container(Program):
    """The one container of a pod; `port` is that of its metrics."""

    def __init__(self, directory: Path, pod: Json, node: RecordedNode, cluster: Cluster) -> None:
        """Start nothing yet."""
        super().__init__(directory)
        self.spec = container(pod)
        self.port = self.port_of("metrics")
        self._pod, self._node, self._cluster = pod, node, cluster
        self._root = directory / "root"
        (self._root / "proc" / "self").mkdir(parents=True)

    def port_of(self, name: str) -> int:
        """Return the number of a port of the spec."""
        [number] = (port["containerPort"] for port in self.spec["ports"] if port["name"] == name)
        return int(number)

    def start(self) -> None:
        """Start the command line of the spec, and wait until it listens."""
        mounts = [*self._given(), *self._volumes(), self._service_account()]
        for mount in mounts:
            _make_way(self._root, mount)
        self.launch(["unshare", "--mount", "sh", "-euc", "\n".join(self._script(mounts))])

    @override
    def _listens(self) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, self.log.read_text()
        return "serving on " in self.log.read_text()

    def probe(self, which: str) -> int:
        """Ask as the kubelet does for one of the spec's probes, and return the status; 200 to 399 is a success."""
        asked = self.spec[which]["httpGet"]
        kind = {"HTTP": http.client.HTTPConnection, "HTTPS": http.client.HTTPSConnection}[asked.get("scheme", "HTTP")]
        with closing(
            kind("127.0.0.1", self.port_of(asked["port"]), timeout=self.spec[which]["timeoutSeconds"])
        ) as connection:
            connection.request("GET", asked["path"], headers={"User-Agent": "kube-probe/1.34", "Accept": "*/*"})
            status: int = connection.getresponse().status
            return status

    # ------------------------------------------------------------ what the container sees

    def _given(self) -> Iterator[Mount]:
        """Yield what is there without a mount of the spec; the container toolkit goes by the environment."""
        yield from (Mount(Path(path), path) for path in _IMAGE if Path(path).exists())
        yield from (Mount(Path(path), path, read_only=False) for path in _DEVICES)
        if "NVIDIA_VISIBLE_DEVICES=all" in self._environment():
            assert f"{_DRIVER}/libnvidia-ml.so.1" in LIBRARY_PATHS
            yield Mount(Path(self._node.driver.library).parent, _DRIVER)
        if self._pod.get("hostPID"):
            yield Mount(self._node.proc.root, "/proc")

    def _volumes(self) -> Iterator[Mount]:
        """Yield what the spec mounts."""
        volumes = {volume["name"]: volume for volume in self._pod.get("volumes", [])}
        for mount in self.spec.get("volumeMounts", []):
            outside = self._volume(volumes[mount["name"]])
            yield Mount(outside, mount["mountPath"], mount.get("readOnly", False))

    def _volume(self, volume: Json) -> Path:
        """Return the directory of a volume."""
        if "hostPath" in volume:
            return self._node.host / str(volume["hostPath"]["path"]).removeprefix("/")
        projected = volume["projected"]
        files: dict[str, bytes] = {}
        for source in projected["sources"]:
            files |= self._cluster.secrets[source["secret"]["name"]]
        return self._projected(volume["name"], files, projected["defaultMode"])

    def _service_account(self) -> Mount:
        kube, authority, _ = self._cluster
        files = {"token": kube.token.encode(), "ca.crt": authority, "namespace": NAMESPACE.encode()}
        return Mount(self._projected("service-account", files, 0o640), _ACCOUNT)

    def _projected(self, name: str, files: Mapping[str, bytes], mode: int) -> Path:
        """Write a volume as the kubelet does: of root and the pod's group, each file a link through `..data`."""
        volume = self.directory / name
        (volume / "..1").mkdir(parents=True)
        (volume / "..data").symlink_to("..1")
        for key, content in files.items():
            (volume / "..1" / key).write_bytes(content)
            os.chown(volume / "..1" / key, 0, self._pod["securityContext"]["fsGroup"])
            (volume / "..1" / key).chmod(mode)
            (volume / key).symlink_to(f"..data/{key}")
        return volume

    # ------------------------------------------------------------ how it runs

    def _script(self, mounts: list[Mount]) -> Iterator[str]:
        """Yield the lines of a shell that becomes the program."""
        root = shlex.quote(str(self._root))
        yield f"mount --bind {root} {root}"
        for mount in mounts:
            if not mount.outside.is_symlink():
                inside = shlex.quote(f"{self._root}{mount.inside}")
                yield f"mount --bind {shlex.quote(str(mount.outside))} {inside}"
                if mount.read_only:
                    yield f"mount -o remount,bind,ro {inside}"
        yield f"mount --bind /proc/$$ {root}/proc/self"
        if self.spec["securityContext"]["readOnlyRootFilesystem"]:
            yield f"mount -o remount,bind,ro {root}"
        command = [*self._privileges(), "env", "-i", *self._environment(), "vgpu-exporter", *self.spec["args"]]
        yield f"exec chroot {root} {shlex.join(command)}"

    def _privileges(self) -> Iterator[str]:
        """Yield what changes to the user of the spec, with as few privileges."""
        context = self._pod["securityContext"] | self.spec["securityContext"]
        yield from ("setpriv", f"--reuid={context['runAsUser']}", f"--regid={context['runAsGroup']}")
        yield f"--groups={context['fsGroup']}"
        if context["capabilities"] == {"drop": ["ALL"]}:
            yield from ("--bounding-set=-all", "--inh-caps=-all")
        if not context["allowPrivilegeEscalation"]:
            yield "--no-new-privs"

    def _environment(self) -> Iterator[str]:
        """Yield the image's variables, those of the spec and those that the kubelet adds, as NAME=VALUE."""
        at = urlsplit(self._cluster.kube.url)
        added = {"HOSTNAME": POD_NAME, "KUBERNETES_SERVICE_HOST": at.hostname, "KUBERNETES_SERVICE_PORT": at.port}
        fields = {"spec.nodeName": NODE}
        of_spec = {
            one["name"]: one["value"] if "value" in one else fields[one["valueFrom"]["fieldRef"]["fieldPath"]]
            for one in self.spec.get("env", [])
        }
        yield from (f"{name}={value}" for name, value in (_IMAGE_ENVIRONMENT | added | of_spec).items())


def _make_way(root: Path, mount: Mount) -> None:
    """Put an empty file or directory, or the link itself, where something is to be mounted."""
    place = root / mount.inside.removeprefix("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    if mount.outside.is_symlink():
        place.symlink_to(mount.outside.readlink())
    elif mount.outside.is_dir():
        place.mkdir(parents=True, exist_ok=True)
    else:
        place.touch()
