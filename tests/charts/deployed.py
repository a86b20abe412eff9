"""A role in the shape with TLS and a password, run as it is rendered: on the recorded node, in a network of its own."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from exporter.roles.demo import CLUSTER
from exporter.sources.recorded_cluster import load
from tests.certificates import Authority
from tests.charts.kubelet import Cluster, Container
from tests.charts.own_network import need_namespaces, own_network
from tests.charts.recorded_node import RecordedNode
from tests.charts.rendering import NAMESPACE, RELEASE, SHAPES, node_pod, quota_pod, the
from tests.kube_server import KubeServer
from tests.served import Answer, ask
from tests.test_web_auth import basic

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.certificates import Pair
    from tests.charts.rendering import Json

VALUES: Final[Json] = SHAPES["tls"]
PODS: Final = {"node": node_pod, "quota": quota_pod}
#: Who scrapes; the shape's values have the hash of the password.
USER, PASSWORD = "prometheus", "scrape"


class Deployed(Container):
    """A role's container, which serves, and what its clients have to know."""

    def __init__(
        self, directory: Path, role: str, node: RecordedNode, cluster: Cluster, client: ssl.SSLContext
    ) -> None:
        """Start nothing yet."""
        super().__init__(directory, PODS[role](VALUES), node, cluster)
        self.role, self.secrets = role, cluster.secrets
        self.url = f"https://127.0.0.1:{self.port}/"
        self._client = client

    def answer(self, password: str | None = PASSWORD, path: str = "/metrics") -> Answer:
        """GET a path by TLS with a password; None: without."""
        headers = [] if password is None else [("Authorization", basic(USER, password))]
        return ask(self.url, path, *headers, context=self._client)


@contextmanager
def deployed(directory: Path, role: str) -> Iterator[Deployed]:
    """Run it until it is ready; this thread is in its network meanwhile."""
    need_namespaces()
    authority = Authority(directory)
    node = RecordedNode(directory)
    serving = authority.sign("server", f"DNS:{RELEASE}.{NAMESPACE}.svc,IP:127.0.0.1")
    with own_network(), KubeServer(tls=_context(serving)) as kube:
        for one in (*node.objects, *load(CLUSTER)):
            kube.put(one)
        cluster = Cluster(kube, authority.pair.certificate.read_bytes(), _secrets(authority, serving))
        exporter = Deployed(directory, role, node, cluster, authority.trusting())
        try:
            exporter.start()
            exporter.wait_for(lambda: exporter.answer(path="/readyz").status == 200)
            yield exporter
        finally:
            exporter.end()


def _context(pair: Pair) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*pair)
    return context


def _secrets(authority: Authority, serving: Pair) -> dict[str, dict[str, bytes]]:
    """Return the Secrets that are in the cluster: the chart's own, and those that its values name."""
    web = the("Secret", VALUES, f"{RELEASE}-web-config")
    return {
        web["metadata"]["name"]: {key: text.encode() for key, text in web["stringData"].items()},
        VALUES["webConfig"]["tlsSecret"]: {
            "tls.crt": serving.certificate.read_bytes(),
            "tls.key": serving.key.read_bytes(),
            "ca.crt": authority.pair.certificate.read_bytes(),
        },
        "vgpu-scrape": {"username": USER.encode(), "password": PASSWORD.encode()},
    }
