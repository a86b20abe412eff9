"""The image without Docker: what the Dockerfile says, and what tools/image.py makes (integration/test_image.py)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from typing import TYPE_CHECKING, NamedTuple

import pytest

from exporter import config
from tests.kube_server import KubeServer
from tests.program import ROOT, Program
from tools import image, image_system

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Instruction(NamedTuple):
    """One of a Dockerfile."""

    word: str
    rest: str


def instructions() -> list[Instruction]:
    """Return the Dockerfile's, without comments, continued lines joined."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines() if line]


def final_stage() -> list[Instruction]:
    """Return the instructions behind the last FROM."""
    found = instructions()
    return found[max(number for number, one in enumerate(found) if one.word == "FROM") + 1 :]


def of(word: str) -> list[str]:
    """Return what the final stage says behind a word."""
    return [one.rest for one in final_stage() if one.word == word]


def arguments() -> dict[str, str]:
    """Return the build arguments before the first FROM, with their defaults."""
    found = instructions()
    first = next(number for number, one in enumerate(found) if one.word == "FROM")
    return dict(one.rest.split("=", 1) for one in found[:first])


# ---------------------------------------------------------------- the Dockerfile


def test_the_base_is_a_tag_and_its_digest_an_argument() -> None:
    """The base has a tag that says which Python and Debian, no registry of its own, and no invented digest."""
    given = arguments()

    assert re.fullmatch(r"python:3\.\d+-slim-[a-z]+", given["BASE"])
    assert given["BASE_DIGEST"] == '""'
    assert [one.rest for one in instructions() if one.word == "FROM"] == [
        "${BASE}${BASE_DIGEST:+@${BASE_DIGEST}} AS files",
        "scratch",
    ]


def test_the_image_is_the_folder_and_nothing_else() -> None:
    """What tools/image.py makes is the only thing copied, and no command of the final stage needs a shell."""
    made = next(one.rest for one in instructions() if one.word == "RUN")

    assert json.loads(made) == ["python", "-m", "tools.image", "/image"]
    assert of("COPY") == ["--from=files /image /"]
    assert of("ADD") == []
    assert [type(json.loads(text)) for word in ("RUN", "ENTRYPOINT", "CMD") for text in of(word)] == [list] * 3


def test_nobody_in_the_image_is_root() -> None:
    """The program runs as 65534, as in the chart, and so does what is tried at the end of the build."""
    words = [one.word for one in final_stage()]

    assert of("USER") == ["65534:65534"]
    assert words.index("USER") < words.index("RUN") < words.index("ENTRYPOINT")


def test_the_entry_point_is_the_projects_command() -> None:
    """The image starts what the wheel installs, and the one command that tools/image.py leaves."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]

    assert [json.loads(text) for text in of("ENTRYPOINT")] == [[image.COMMAND]] == [list(scripts)]


def test_the_labels_say_what_the_image_is() -> None:
    """Version, revision, source, licence and base are labels, and come from build arguments where they change."""
    (labels,) = of("LABEL")
    found = dict(re.findall(r'org\.opencontainers\.image\.([a-z.]+)="([^"]*)"', labels))

    assert found["licenses"] == "Apache-2.0"
    assert {name: found[name] for name in ("version", "revision", "source", "base.name", "base.digest")} == {
        "version": "${VERSION}",
        "revision": "${REVISION}",
        "source": "${SOURCE}",
        "base.name": "${BASE}",
        "base.digest": "${BASE_DIGEST}",
    }


def test_the_image_itself_asks_for_no_gpu() -> None:
    """Only the chart lets the driver in, and for the node role alone: a variable here would do so for both."""
    assert "NVIDIA" not in (ROOT / "Dockerfile").read_text()


def test_the_build_sees_what_it_needs_and_nothing_else() -> None:
    """.dockerignore leaves out everything but what the image is made of, and names nothing that is not there."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    allowed = {line.removeprefix("!") for line in lines if line.startswith("!")}

    assert lines[0] == "*"
    assert allowed == {
        *image.SOURCES,
        *(f"constraints/{name}.txt" for name in ("build", "run")),
        *(f"tools/{name}.py" for name in ("__init__", "image", "image_system")),
    }
    assert [name for name in allowed if not (ROOT / name).exists()] == []


# ---------------------------------------------------------------- the health check, on a running exporter


def health_check() -> list[str]:
    """Return the image's health check as a command."""
    (text,) = of("HEALTHCHECK")
    command: list[str] = json.loads(text.partition("CMD ")[2])
    return command


def healthy(port: str) -> int:
    """Return the exit code of the health check, asking another port."""
    command = [sys.executable, *health_check()[1:-1], port]
    return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode


@pytest.fixture(name="packages", scope="module")
def _packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give that of the Kubernetes client which the image has."""
    packages = tmp_path_factory.mktemp("packages")
    client = str(distribution("kubernetes").locate_file("kubernetes"))
    shutil.copytree(client, packages / "kubernetes", ignore=shutil.ignore_patterns("__pycache__"))
    image.prune(packages)
    return packages


@pytest.fixture(name="quota")
def _quota(tmp_path: Path, packages: Path) -> Iterator[Program]:
    """Give the quota role on an API server, with only that of the Kubernetes client which the image has."""
    program = Program(tmp_path)
    with KubeServer() as kube:
        kube.put({"kind": "Namespace", "metadata": {"name": "team"}})
        flags = ["--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0"]
        kubeconfig = str(kube.kubeconfig(tmp_path / "kubeconfig"))
        command = [sys.executable, "-m", "exporter", "quota", "--kubeconfig", kubeconfig, *flags]
        program.launch(command, PYTHONPATH=f"{packages}:{ROOT}")
        yield program
        program.end()


def test_the_health_check_tells_a_running_exporter_from_none(quota: Program) -> None:
    """The very command succeeds while the exporter answers on its health port, and fails once it is gone."""
    port = quota.log.read_text().rpartition("http://127.0.0.1:")[2].split("/")[0]
    assert healthy(port) == 0

    quota.end()

    assert healthy(port) != 0


def test_the_health_check_asks_where_both_roles_answer() -> None:
    """Its port is the default of --health-listen."""
    defaults = {
        setting.default for role in (config.NODE, config.QUOTA) for setting in role if setting.name == "health-listen"
    }

    assert defaults == {(f"0.0.0.0:{health_check()[-1]}",)}


# ---------------------------------------------------------------- what is made


def test_the_rest_of_the_kubernetes_client_is_all_that_is_needed(quota: Program, packages: Path) -> None:
    """Without its models, calls and second client the program lists and watches."""
    quota.wait_for(lambda: quota.value("vgpu_namespace_info", namespace="team") == 1)

    pruned = subprocess.run(
        [sys.executable, "-c", "import kubernetes.client.models.v1_pod"],
        env={"PYTHONPATH": str(packages)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "ModuleNotFoundError" in pruned.stderr
    assert image.size(packages) < 3 * 10**6


def test_a_client_that_looks_otherwise_ends_the_build(tmp_path: Path) -> None:
    """A pattern that matches nothing is no silent gain of 60 MB."""
    with pytest.raises(SystemExit, match="has no kubernetes/aio"):
        image.prune(tmp_path)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    """An image is made in an empty folder only."""
    (tmp_path / "mine").touch()

    with pytest.raises(SystemExit, match="is not empty"):
        image.fill(tmp_path)


@pytest.mark.parametrize(("budget", "code"), [(2, 0), (1, 1)])
def test_more_than_the_budget_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: int, code: int
) -> None:
    """The size is told, and held against the budget in megabytes; a link counts as itself."""
    packages = image.site_packages(tmp_path)
    packages.mkdir(parents=True)
    (packages / "big").write_bytes(bytes(1_200_000))
    (tmp_path / "again").symlink_to(packages / "big")

    assert image.report(tmp_path, budget) == code
    assert f"1.2 of {budget} MB" in capsys.readouterr().out


def test_a_link_becomes_what_it_leads_to(tmp_path: Path) -> None:
    """A library is copied under the name by which it is looked for."""
    real = tmp_path / "lib/libx.so.1.2"
    real.parent.mkdir()
    real.write_bytes(b"x")
    link = real.with_name("libx.so.1")
    link.symlink_to(real.name)

    copied = image_system.copy(link, tmp_path / "image")

    assert copied == tmp_path / "image" / str(link).removeprefix("/")
    assert not copied.is_symlink()
    assert copied.read_bytes() == b"x"
