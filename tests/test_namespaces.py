"""A namespace's JSON, whatever it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ManifestError
from exporter.namespaces import namespace
from exporter.quota_model import Namespace

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["metadata", "labels", "name", "team"]), inner),
)


@pytest.mark.parametrize(
    ("labels", "tenant"),
    [({"team": "red"}, "red"), ({"team": ""}, "ns"), ({"other": "red"}, "ns"), ({"team": 5}, "ns"), (None, "ns")],
)
def test_the_tenant_is_the_labels_value_else_the_name(labels: object, tenant: str) -> None:
    """A label that is missing, empty or no text leaves the namespace as its own tenant."""
    raw = {"metadata": {"name": "ns", "labels": labels}}

    assert namespace(raw, tenant_label="team") == Namespace("ns", tenant)


def test_without_a_label_every_namespace_is_its_own() -> None:
    """Nothing is taken for a tenant's label that nobody chose."""
    assert namespace({"metadata": {"name": "ns", "labels": {"": "red"}}}) == Namespace("ns", "ns")


@pytest.mark.parametrize("value", ["\ud800", "a b", "<b>", "x" * 64, "a\n"])
def test_a_value_that_no_label_can_have_is_none(value: str) -> None:
    """What the API server would not have admitted as a label's value does not become a tenant."""
    assert namespace({"metadata": {"name": "ns", "labels": {"team": value}}}, tenant_label="team").tenant == "ns"


@given(ANYTHING)
def test_any_json_is_a_namespace_or_a_manifest_error(raw: object) -> None:
    """Whatever comes, it is a namespace with a name and a tenant, or ManifestError."""
    try:
        found = namespace(raw, tenant_label="team")
    except ManifestError:
        return
    assert found.name
    assert found.tenant
