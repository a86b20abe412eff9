"""Prometheus' HTTP API as `doctor` asks it: what is no Prometheus, and what is half of one."""

from __future__ import annotations

from base64 import b64encode

import pytest

from exporter.doctor.prometheus import PrometheusFound, node_queries
from exporter.errors import SourceError
from exporter.sources.prometheus import ask
from tests.kube_server import KubeServer
from tests.prometheus_api import PrometheusApi

QUERIES = node_queries("node-a")


def test_another_servers_answer_is_told_in_its_words() -> None:
    """What answers 200 without Prometheus' JSON is none."""
    with KubeServer() as server:
        server.garble()
        server.garble()
        found = ask(server.url, QUERIES, None, 5)

    assert isinstance(found, SourceError)
    assert found.reason == "malformed"
    assert str(found).endswith("is no Prometheus: '<html>hello</html>'")


def test_a_prefix_and_a_trailing_slash_are_kept_out_of_the_way() -> None:
    """The address may end with a slash; a path of it stays in front."""
    with PrometheusApi() as server:
        plain, prefixed = ask(f"{server.url}/", QUERIES, None, 5), ask(f"{server.url}/prefix", QUERIES, None, 5)

    assert isinstance(plain, PrometheusFound)
    assert (plain.series, plain.alerts) == (1, frozenset({"VgpuExporterBlind"}))
    assert isinstance(prefixed, PrometheusFound)
    assert prefixed.alerts == frozenset()  # that path has no rules


def test_nobody_at_all_is_unreachable() -> None:
    """A refused connection is one error, without a second attempt."""
    found = ask("http://127.0.0.1:1", QUERIES, None, 5)

    assert isinstance(found, SourceError)
    assert found.reason == "unreachable"


@pytest.mark.parametrize("url", ["http://user:secret@[::1", "http://user:secret@a..b", "http://ü€:secret@127.0.0.1:1"])
def test_an_address_that_is_none_is_unreachable(url: str) -> None:
    """Whatever was given as the address, the answer is one error without the password in it."""
    found = ask(url, QUERIES, None, 5)

    assert isinstance(found, SourceError)
    assert found.reason == "unreachable"
    assert "secret" not in str(found)


def test_name_and_password_are_sent_in_utf_8() -> None:
    """What stands before the host, percent-encoded or not, is sent as basic authentication."""
    with PrometheusApi() as server:
        ask(server.url.replace("//", "//%C3%BC:p%40ss€@"), QUERIES, None, 5)

    assert server.credentials == {"Basic " + b64encode("ü:p@ss€".encode()).decode()}


def test_a_number_beyond_all_numbers_is_none() -> None:
    """What is no whole number counts as no series."""
    with PrometheusApi(series="+Inf") as server:
        found = ask(server.url, QUERIES, None, 5)

    assert isinstance(found, PrometheusFound)
    assert found.series == 0
