"""What the API server lets us do, by SelfSubjectAccessReviews, and how its clock stands to ours.

Whoever is authenticated may ask that about himself, so the first answer also tells whether the API server can be
reached and knows us.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from exporter.doctor.cluster import ApiFound, Permission
from exporter.errors import ApiError
from exporter.sources.kube_api import KubeApi, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import urllib3

    from exporter.sources.kube_api import Pace

_REVIEWS: Final = Resource(
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "the ClusterRole system:basic-user",
)


def review(kubeconfig: str | None, pace: Pace, permissions: Sequence[Permission]) -> ApiFound:
    """Ask for each permission until one question fails; never raises."""
    server, ahead, allowed = "", None, dict[Permission, bool]()
    try:
        api = _Reviews(kubeconfig, pace)
    except ApiError as error:
        return ApiFound(server, error, ahead, allowed)
    try:
        for permission in permissions:
            allowed[permission] = api.allowed(permission)
    except ApiError as error:
        return ApiFound(api.server, error, api.ahead, allowed)
    finally:
        api.close()
    return ApiFound(api.server, None, api.ahead, allowed)


class _Reviews(KubeApi):
    """The same transport; `ahead` is by how many seconds the server's clock is, as last told."""

    def __init__(self, kubeconfig: str | None, pace: Pace) -> None:
        super().__init__(kubeconfig, pace, _REVIEWS)
        self.ahead: float | None = None

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host)

    def allowed(self, permission: Permission) -> bool:
        """Ask whether we may."""
        attributes = {word: text for word, text in permission._asdict().items() if text}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        status = self.post(review).get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    @override
    def _request(
        self, verb: str, query: Mapping[str, str], silence: float, body: Mapping[str, object] | None
    ) -> urllib3.BaseHTTPResponse:
        asked = self._pace.wall()
        response = super()._request(verb, query, silence, body)
        self._compare(response.headers.get("Date", ""), asked)
        return response

    def _compare(self, date: str, asked: float) -> None:
        """Hold the answer's date, which has whole seconds, against the middle of the time that it took."""
        with suppress(ValueError):
            told = parsedate_to_datetime(date).astimezone(UTC).timestamp()
            self.ahead = told + 0.5 - (asked + self._pace.wall()) / 2
