"""The values: nothing unknown, everything documented, and an older release's are completed."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.charts.rendering import CHART, EVERYTHING, SHAPES, Json, refusal, rendered
from tools.chart import values as documented

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VALUES: Json = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text())


#: The paths that have a row in the README's table.
TOLD = {value.key for value in documented((CHART / "values.yaml").read_text())}


def paths(fields: Json, below: Callable[[Any], Json], prefix: str = "") -> Iterator[str]:
    """Yield every path down to those that have a row; `below` gives the fields below one, none for a value."""
    for key, value in fields.items():
        path = f"{prefix}{key}"
        if path in TOLD or not below(value):
            yield path
        else:
            yield from paths(below(value), below, f"{path}.")


def named_fields(part: Json) -> Json:
    """Return the fields that a part of the schema names, or what it refers to."""
    name = part.get("$ref", "").rpartition("/")[2]
    found: Json = (SCHEMA["definitions"][name] if name else part).get("properties", {})
    return found


def parts(schema: Any) -> Iterator[Json]:  # noqa: ANN401  a JSON schema, or a part of one
    """Yield every part of a schema that names fields."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict):
            yield schema
        for part in schema.values():
            yield from parts(part)


def test_every_object_of_ours_is_closed() -> None:
    """An unknown key anywhere is refused, but in `global`, which belongs to the parent chart."""
    open_ones = [sorted(part["properties"]) for part in parts(SCHEMA) if part.get("additionalProperties") is not False]

    assert open_ones == [sorted(SCHEMA["properties"]["global"]["properties"])]


def test_every_value_is_documented() -> None:
    """Each has its comment `# --`, itself or as part of a map that has one."""
    assert set(paths(VALUES, lambda value: value if isinstance(value, dict) else {})) == TOLD


def test_the_schema_knows_exactly_the_values() -> None:
    """Nothing can be set that has no default to read, and no default is unknown to the schema."""
    assert set(paths(SCHEMA["properties"], named_fields)) == TOLD


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"hostPid": False}, "additional properties 'hostPid' not allowed"),
        ({"podMonitor": {"intervall": "1m"}}, "additional properties 'intervall' not allowed"),
        ({"quota": {"hamiConfig": "device"}}, "does not match pattern"),
        ({"gpuAccess": "magic"}, "must be one of 'env', 'volumeMounts', 'cdi', 'hostDriver'"),
        ({"interval": "often"}, "does not match pattern"),
        ({"image": {"digest": "latest"}}, "does not match pattern"),
        ({"hostPID": "yes"}, "want boolean"),
        ({"listenAddresses": ["::"]}, "does not match pattern"),
        ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, "invalid propertyName 'nvidia.com/gpu'"),
        ({"quota": {"resources": {"limits": {"nvidia.com/gpumem": 1}}}}, "invalid propertyName 'nvidia.com/gpumem'"),
    ],
)
def test_a_wrong_value_is_named(values: Json, said: str) -> None:
    """Helm says where it is wrong before anything is sent to the cluster."""
    assert said in refusal(values)


def test_a_parent_charts_globals_are_let_through() -> None:
    """Whatever else stands there is for others."""
    assert rendered({"global": {"somebody": {"elses": 1}}}) == rendered()


def test_all_off_renders_nothing() -> None:
    """No role, no rules, no dashboards: not even a NetworkPolicy or a test pod, whatever else is on."""
    off = {"node": {"enabled": False}, "quota": {"enabled": False}}

    assert rendered(off) == ()
    assert rendered({**off, "podMonitor": {"enabled": True}, "webConfig": EVERYTHING["webConfig"]}) == ()


# ---------------------------------------------------------------- upgrades with --reuse-values


def chart_with(folder: Path, values: Json) -> Path:
    """Return the chart as an upgrade with --reuse-values sees it: the values are an older release's, not its own."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    (chart / "values.yaml").write_text(yaml.dump(values))
    return chart


@pytest.mark.parametrize("shape", [*SHAPES, "everything"])
def test_a_release_without_any_value_is_upgraded(shape: str, tmp_path: Path) -> None:
    """What an older release never knew is filled in; what it set, or dropped on purpose, stays."""
    given = EVERYTHING if shape == "everything" else SHAPES[shape]
    chart = chart_with(tmp_path, whole_maps(given))

    assert rendered(given, chart) == rendered(given)


def whole_maps(given: Json) -> Json:
    """Return the defaults of the maps that Kubernetes defines and that these values change: Helm had merged them."""
    return {key: VALUES[key] for key in ("nodeSelector", "podSecurityContext", "updateStrategy") if key in given}


def test_a_release_that_knew_but_the_beginnings_is_upgraded(tmp_path: Path) -> None:
    """Each subtree is there and empty, as if all its keys were newer."""
    emptied: Json = {key: {} for key in VALUES if key not in TOLD}
    emptied["dashboards"] = {"grafanaOperator": {}}

    assert rendered({}, chart_with(tmp_path, emptied)) == rendered()
