"""What GitHub runs: pinned to commits, with the least permissions, and no text of strangers in a script."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from exporter import __version__
from tests.rules.checkers import answer

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github/workflows").glob("*.yml"))
CHART = ROOT / "charts/vgpu-tenant-exporter"

#: Who may do more than read the code, and what.
MORE = {("release.yml", "release"): {"contents": "write"}}

each_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    """Return a workflow's jobs."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["jobs"]
    return found


def steps(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the steps of all jobs."""
    for job in jobs(file).values():
        yield from job.get("steps", [])


def release() -> str:
    """Return the release workflow's text."""
    return (ROOT / ".github/workflows/release.yml").read_text()


def test_there_is_a_workflow_to_test_and_one_to_release() -> None:
    """The tests run on each change, and on each release once more."""
    assert [file.name for file in FILES] == ["release.yml", "test.yml"]
    assert jobs(FILES[0])["test"]["uses"] == "./.github/workflows/test.yml"


def test_actionlint_finds_nothing() -> None:
    """Syntax, expressions, inputs and outputs are right."""
    assert answer("actionlint", *map(str, FILES)) == ""


@each_file
def test_each_action_is_pinned_to_a_commit(file: Path) -> None:
    """A tag can be moved, a commit cannot; the comment says which version it is. One action has one version."""
    uses = re.findall(r"uses: +(\S+)(.*)", file.read_text())
    actions = [(action, comment) for action, comment in uses if not action.startswith("./")]

    assert [
        one for one in actions if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", "".join(one))
    ] == []
    assert len({action.partition("@")[0] for action, _ in actions}) == len(set(actions))


@each_file
def test_permissions_are_the_least(file: Path) -> None:
    """Nothing by default, reading the code for each job, and writing for the one that makes the release."""
    assert yaml.safe_load(file.read_text())["permissions"] == {}
    assert {name: job["permissions"] for name, job in jobs(file).items()} == {
        name: MORE.get((file.name, name), {"contents": "read"}) for name in jobs(file)
    }


@each_file
def test_no_step_leaves_credentials_behind(file: Path) -> None:
    """What a later step runs cannot push with the token of the checkout."""
    checkouts = [step for step in steps(file) if step.get("uses", "").startswith("actions/checkout@")]

    assert checkouts
    assert [step for step in checkouts if step["with"]["persist-credentials"] is not False] == []


@each_file
def test_no_expression_becomes_part_of_a_script(file: Path) -> None:
    """A branch's or tag's name would be run as shell; scripts read variables instead."""
    assert [step["run"] for step in steps(file) if "${{" in step.get("run", "")] == []


@each_file
def test_no_job_runs_for_ever(file: Path) -> None:
    """Each job has an end, but for one that calls another workflow, whose jobs have."""
    assert [name for name, job in jobs(file).items() if "uses" not in job and "timeout-minutes" not in job] == []


def test_secrets_are_for_pushing_alone() -> None:
    """Only jobs of the protected environment see the registry's password, and no test does."""
    knowing = {name for name, job in jobs(FILES[0]).items() if "secrets." in yaml.safe_dump(job)}

    assert knowing == {name for name, job in jobs(FILES[0]).items() if job.get("environment") == "release"}
    assert "secrets." not in FILES[1].read_text()


def test_the_registry_is_the_repositorys_own() -> None:
    """Where images go is a variable of the repository; no file names a registry."""
    assert set(re.findall(r"vars\.\w+", release())) == {"vars.REGISTRY"}
    assert [file.name for file in FILES if re.search(r"\b(?:[a-z0-9-]+\.)+(?:io|com|dev)/", file.read_text())] == []


def test_the_base_images_digest_comes_from_the_registry() -> None:
    """The release asks for the digest of the Dockerfile's tag, refuses what is none, and builds on it."""
    script = next(step["run"] for step in steps(FILES[0]) if step.get("id") == "digest")

    assert "sed -n 's/^ARG BASE=//p' Dockerfile" in script
    assert "^sha256:[0-9a-f]{64}$" in script
    assert '--build-arg "BASE_DIGEST=$BASE_DIGEST"' in release()


def test_build_arguments_are_those_of_the_dockerfile() -> None:
    """A misspelt one would be passed over in silence."""
    known = re.findall(r"^ARG (\w+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)

    assert set(re.findall(r'--build-arg "(\w+)=', release())) <= set(known)


def test_a_tag_must_be_the_version_of_program_and_chart() -> None:
    """What the release workflow looks for are lines of the files as they are."""
    chart = (CHART / "Chart.yaml").read_text()

    assert f'__version__ = "{__version__}"' in (ROOT / "exporter/__init__.py").read_text().splitlines()
    assert f"version: {__version__}" in chart.splitlines()
    assert f'appVersion: "{__version__}"' in chart


def test_the_sboms_tool_is_pinned_with_hashes() -> None:
    """Each package that writes the SBOM is of one version, and of known content."""
    lines = re.sub(r"\\\n\s*", "", (ROOT / "tools/sbom.txt").read_text()).splitlines()
    pinned = [line for line in lines if not line.lstrip().startswith("#")]

    assert any(line.startswith("cyclonedx-bom==") for line in pinned)
    assert [line for line in pinned if not re.match(r"[\w.-]+==\S+ (; [^#]*)?--hash=sha256:[0-9a-f]{64}", line)] == []
