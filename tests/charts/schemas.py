"""Kubernetes's own schemas and those of the operators, strict: an unknown field is refused."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator
from referencing import Registry, Resource

from tests.rules.checkers import ROOT, checker

if TYPE_CHECKING:
    from tests.charts.rendering import Json

_FOLDERS: Final = resources.files("kubernetes_validate") / "kubernetes-json-schema"
_CRDS: Final = ROOT / ".tools" / "crds"
#: The oldest release that the chart is for.
OLDEST: Final = (1, 28)


def _releases() -> list[str]:
    """Return the Kubernetes releases from the oldest on that there are strict schemas of."""
    found = (re.fullmatch(r"v(\d+)\.(\d+)\.\d+-local-strict", folder.name) for folder in _FOLDERS.iterdir())
    return [match[0] for match in found if match and (int(match[1]), int(match[2])) >= OLDEST]


RELEASES: Final = sorted(_releases(), key=lambda name: int(name.split(".")[1]))


def faults(one: Json) -> list[str]:
    """Return what is wrong with an object, to each Kubernetes release or to its operator."""
    if "." in (group := one["apiVersion"].rpartition("/")[0]) and not group.endswith(".k8s.io"):
        return _told(_operator(group, one["kind"]), one)
    return [f"{release}: {fault}" for release in RELEASES for fault in _told(_kubernetes(release, one), one)]


def _told(validator: Any, one: Json) -> list[str]:  # noqa: ANN401  one of two classes without a common type
    return [f"{one['kind']} {error.json_path}: {error.message}" for error in validator.iter_errors(one)]


def _kubernetes(release: str, one: Json) -> Draft202012Validator:
    group, _, version = one["apiVersion"].rpartition("/")
    name = "-".join(filter(None, (one["kind"].lower(), group.partition(".")[0], version)))
    return _of_release(release, f"{name}.json")


@cache
def _of_release(release: str, file: str) -> Draft202012Validator:
    schema = json.loads((_FOLDERS / release / file).read_text())
    return Draft202012Validator(schema, registry=_definitions(release))


@cache
def _definitions(release: str) -> Registry[Any]:
    text = (_FOLDERS / release / "_definitions.json").read_text()
    definitions: Resource[Any] = Resource.from_contents(json.loads(text))
    return definitions @ Registry()


@cache
def _operator(group: str, kind: str) -> Draft7Validator:
    """Return the schema of a custom resource, as an API server would refuse what it would else prune."""
    checker("helm")
    path = _CRDS / f"{group}_{kind.lower()}s.yaml"
    if not path.exists():
        pytest.fail(f"no {path}: run `make tools`")
    [version] = yaml.load(path.read_text(), yaml.CSafeLoader)["spec"]["versions"]
    return Draft7Validator(_closed(version["schema"]["openAPIV3Schema"], top=True))


def _closed(schema: Any, *, top: bool = False) -> Any:  # noqa: ANN401  a JSON schema, or a part of one
    """Return a schema in which objects with named fields have no others; an object's metadata is Kubernetes's own."""
    if isinstance(schema, list):
        return [_closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(part) for key, part in schema.items()}
    if isinstance(schema.get("properties"), dict) and not schema.get("x-kubernetes-preserve-unknown-fields"):
        closed.setdefault("additionalProperties", False)
    if top:
        closed["required"] = ["apiVersion", "kind", "metadata", "spec"]
    return closed
