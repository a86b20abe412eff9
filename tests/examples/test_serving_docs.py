"""docs/serving.md: its commands are run where they can be, and what it names is there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import pytest
import yaml

from dashboards.serving import SERVING
from exporter.catalogue import METRICS
from tests.examples.retrieval_stub import serving, xinference
from tests.examples.stacks import EXAMPLES, given, production_stack, read_all
from tests.rules.checkers import ROOT, checker

if TYPE_CHECKING:
    from pathlib import Path

PAGE: Final = (ROOT / "docs" / "serving.md").read_text()
SHELL: Final = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL))
#: What readers are sent to look at.
PANELS: Final = (
    "Pods without metrics",
    "GPU memory of models",
    "Waiting",
    "Cards with models",
    "Router: errors per second",
)


@pytest.mark.parametrize("command", re.findall(r"^python docs/examples/load\.py.*", SHELL, re.MULTILINE))
def test_the_loads_run(command: str) -> None:
    """As they stand, but for the address and how many; the models are those of the examples."""
    with serving(xinference) as stub:
        arguments = shlex.split(re.sub("http://localhost:[0-9]+", stub.url, command))[1:]
        done = subprocess.run(
            [sys.executable, *arguments, "--requests=2"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    assert done.returncode == 0, done.stderr


def test_what_the_shell_is_told_can_be_read() -> None:
    """Every block is Bash, every file that it names is here, every body is JSON."""
    done = subprocess.run(["bash", "-n"], input=SHELL, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert all((ROOT / path).is_file() for path in re.findall(r"docs/examples/[\w.-]+", SHELL))
    bodies = [json.loads(body) for body in re.findall(r"-d '(.*?)'", SHELL, re.DOTALL)]
    launched = tuple(body["model_uid"] for body in bodies)
    assert launched in re.findall(r"--embed (\S+) --rerank (\S+)", SHELL)


def test_the_look_at_the_release_shows_three_lines(tmp_path: Path) -> None:
    """The page's own pipe, over the merged values: the workers' limits, and none of the supervisor."""
    [command] = re.findall(r"^helm template .*", SHELL, re.MULTILINE)
    given("xinference.yaml", tmp_path)
    here = command.replace("helm", checker("helm"), 1).replace(
        "xinference/xinference", str(tmp_path / "xinference.yaml")
    )
    done = subprocess.run(["bash", "-c", here], cwd=ROOT, capture_output=True, text=True, check=True)

    names = [line.split(":")[0].strip() for line in done.stdout.splitlines()]
    assert names == ["nvidia.com/gpu", "nvidia.com/gpucores", "nvidia.com/gpumem-percentage"]


def test_names_are_those_of_the_examples(tmp_path: Path) -> None:
    """Namespaces of the commands are the quotas', and the router's address is that of the release."""
    namespaces = {
        read_all(f"{stack}-quota.yaml")[0]["metadata"]["name"] for stack in ("vllm-production-stack", "xinference")
    }
    assert set(re.findall(r"(?:-n|--namespace) (\w+)", SHELL)) == namespaces
    *_, router = production_stack(given("vllm-production-stack.yaml", tmp_path))
    release = router["metadata"]["name"].removesuffix("-deployment-router")
    assert f"helm install {release} " in SHELL
    assert f"service/{release}-router-service" in SHELL


def test_links_lead_somewhere() -> None:
    """Every file that the pages link to is there."""
    for path in (ROOT / "docs" / "serving.md", EXAMPLES / "chargeback.md"):
        links = re.findall(r"\]\(([^)#:]+)\)", path.read_text())
        assert links
        assert [link for link in links if not (path.parent / link).exists()] == []


def test_every_panel_and_metric_that_it_names_exists() -> None:
    """What the reader is told to look at is on the dashboard, by that name."""
    board = json.dumps(SERVING.json())
    metrics = {metric.name for metric in METRICS}

    assert [panel for panel in PANELS if panel not in PAGE or f'"title": "{panel}"' not in board] == []
    assert [name for name in re.findall(r"`(vgpu_\w+)`", PAGE) if name not in metrics] == []
    assert SERVING.title in PAGE


def test_no_value_in_the_examples_is_written_twice() -> None:
    """YAML takes the last of two equal keys without a word; here it is an error."""
    for path in EXAMPLES.glob("*.y*ml"):
        for tree in yaml.compose_all(path.read_text(), yaml.SafeLoader):
            assert _twice(tree) == [], path.name


def _twice(node: yaml.Node) -> list[str]:
    """Return the keys of mappings that stand there twice."""
    if isinstance(node, yaml.SequenceNode):
        return [key for child in node.value for key in _twice(child)]
    if not isinstance(node, yaml.MappingNode):
        return []
    keys = [key.value for key, _ in node.value]
    return [key for key in set(keys) if keys.count(key) > 1] + [key for _, child in node.value for key in _twice(child)]
