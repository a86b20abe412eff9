"""What the API server lets us do, by SelfSubjectAccessReviews, and how its clock stands to ours.

Whoever is authenticated may ask that about himself, so the first answer also tells whether the API server can be
reached and knows us.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import urllib3
from kubernetes.client.exceptions import ApiException
from typing_extensions import override

from exporter.doctor.cluster import ApiFound, Permission
from exporter.errors import ApiError, shorten
from exporter.sources.kube_api import KubeApi, Resource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.sources.kube_api import Pace

_PATH: Final = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
_REVIEWS: Final = Resource(_PATH, "selfsubjectaccessreviews", "the ClusterRole system:basic-user")
_LONGEST: Final = 64 * 1024


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
    """The same transport, which POSTs a review; `ahead` is by how many seconds the server's clock is, as last told."""

    def __init__(self, kubeconfig: str | None, pace: Pace) -> None:
        super().__init__(kubeconfig, pace, _REVIEWS)
        self.ahead: float | None = None
        self._body: Mapping[str, object] = {}

    @property
    def server(self) -> str:
        """The API server's address."""
        return str(self._client.configuration.host)

    def allowed(self, permission: Permission) -> bool:
        """Ask whether we may."""
        attributes = {word: text for word, text in permission._asdict().items() if text}
        self._body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        status = self._whole("create", {}, _LONGEST).get("status")
        return isinstance(status, dict) and status.get("allowed") is True

    @override
    def _request(self, verb: str, query: Mapping[str, str], silence: float) -> urllib3.BaseHTTPResponse:
        """POST the review; what was created is fine like what was found."""
        asked = self._pace.wall()
        try:
            request = self._client.param_serialize(
                "POST",
                _PATH,
                header_params={"Content-Type": "application/json"},
                body=self._body,
                auth_settings=["BearerToken"],
            )
            answer = self._client.call_api(*request, _request_timeout=(self._pace.connect, silence))
        except (ApiException, urllib3.exceptions.HTTPError) as error:
            raise ApiError("unreachable", f"{self.server} cannot be reached: {shorten(str(error))}") from error
        except Exception as error:  # a token file that went away, a token with a line end, a credential plugin
            raise ApiError("config", f"there is no usable way to {self.server}: {shorten(str(error))}") from error
        response: urllib3.BaseHTTPResponse = answer.response
        self._compare(response.headers.get("Date", ""), asked)
        if response.status == HTTPStatus.CREATED:
            response.status = HTTPStatus.OK
        return response

    def _compare(self, date: str, asked: float) -> None:
        """Hold the answer's date, which has whole seconds, against the middle of the time that it took."""
        with suppress(ValueError):
            told = parsedate_to_datetime(date).astimezone(UTC).timestamp()
            self.ahead = told + 0.5 - (asked + self._pace.wall()) / 2
