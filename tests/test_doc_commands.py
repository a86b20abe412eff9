"""What people copy from the documentation into a shell works."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import shlex
import subprocess
from typing import TYPE_CHECKING, Final

import pytest

from exporter import cli
from tests.charts.rendering import CHART, helm
from tests.doc_pages import PAGES, Block, blocks, named, prose
from tests.program import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: Programs that a command may call besides those that are looked at more closely.
PROGRAMS: Final = frozenset(
    ["awk", "curl", "do", "done", "echo", "grep", "htpasswd", "less", "nvidia-smi", "python3", "tail", "while", "zcat"]
)
KUBECTL: Final = frozenset(
    ["apply", "cp", "create", "delete", "debug", "describe", "exec", "get", "label", "logs", "port-forward", "top"]
)
HELM: Final = frozenset(["install", "repo", "template", "test", "uninstall", "upgrade"])
#: What each command starts, once its words are understood.
STARTED: Final = ("node.serve", "quota.serve", "demo.play", "capture.record", "top.show", "doctor.diagnose")


def _commands(text: str) -> Iterator[list[str]]:
    """Yield each simple command of a shell text as its words, assignments left out."""
    text = re.sub(r"(^|\s)# .*$", "", text.replace("\\\n", " "), flags=re.MULTILINE)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="|&;\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|&;\n"):
            yield from _without_assignments(words)
            words = []
        else:
            words.append(word)


def _without_assignments(words: Sequence[str]) -> Iterator[list[str]]:
    start = next((place for place, word in enumerate(words) if not re.match(r"[A-Za-z_]\w*=", word)), len(words))
    if words[start:]:
        yield list(words[start:])


def _inline() -> Iterator[str]:
    """Yield the commands of ours that stand within sentences, whole ones only."""
    for page in PAGES:
        for text in re.findall(r"`((?:vgpu-exporter|make) [^`]*)`", prose(page)):
            if "…" not in text:
                yield text


def _problem(words: Sequence[str]) -> str:
    """Return what is wrong with a command, "" if nothing."""
    program, *arguments = words
    name = program.rpartition("/")[2]
    if name == "vgpu-exporter":
        return _refused(arguments)
    if name == "make":
        return next((f"no target {one}" for one in arguments if "=" not in one and not _is_target(one)), "")
    if name == "python":
        return _problem_of_python(arguments)
    if name == "kubectl":
        return _problem_of_kubectl(arguments)
    if name == "helm":
        return "" if arguments[0] in HELM else f"unknown verb of helm: {arguments[0]}"
    return "" if name in PROGRAMS else f"unknown program {program}"


def _problem_of_python(arguments: list[str]) -> str:
    if arguments[0] == "-m":
        return "" if importlib.util.find_spec(arguments[1]) else f"no module {arguments[1]}"
    return "" if (ROOT / arguments[0]).exists() else f"no file {arguments[0]}"


def _problem_of_kubectl(arguments: list[str]) -> str:
    verb = arguments[2 if arguments[0] == "-n" else 0]
    if verb not in KUBECTL:
        return f"unknown verb of kubectl: {verb}"
    inner = arguments[arguments.index("--") + 1 :] if "--" in arguments else []
    return _problem(inner) if inner[:1] == ["vgpu-exporter"] else ""


def _is_target(name: str) -> bool:
    return re.search(rf"^{re.escape(name)}:", (ROOT / "Makefile").read_text(), re.MULTILINE) is not None


def _refused(arguments: Sequence[str]) -> str:
    """Return why the real program refuses a command line, "" if it takes it; it is not carried out."""
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stderr(said):
        patch.setenv("NODE_NAME", "node-1")
        patch.setattr("exporter.logs.configure", lambda *_: None)
        for started in STARTED:
            patch.setattr(f"exporter.roles.{started}", lambda *_: True)
        code = cli.main([argument.replace("$(hostname)", "node-1") for argument in arguments])
    return "" if code == 0 else said.getvalue()


@pytest.mark.parametrize("block", blocks("sh", ""), ids=named)
def test_a_command_can_be_given(block: Block) -> None:
    """Each line is shell, its programs, verbs, targets and modules are known, and our own program takes its flags."""
    checked = subprocess.run(["bash", "-n"], input=block.text, text=True, capture_output=True, check=False)

    assert checked.stderr == ""
    assert [(words, said) for words in _commands(block.text) if (said := _problem(words))] == []


@pytest.mark.parametrize("text", sorted(set(_inline())))
def test_a_command_within_a_sentence_can_be_given(text: str) -> None:
    """What a sentence tells to type works as well."""
    needed = ["--out", "x"] if text == "vgpu-exporter capture" else []  # a bare name, as a table of commands has it

    assert _problem([*shlex.split(text), *needed]) == ""


def _charted() -> list[str]:
    """Return the command lines that install or change our chart, each once."""
    lines = {shlex.join(words) for block in blocks("sh", "") for words in _commands(block.text)}
    return sorted(line for line in lines if re.match(rf"helm (install|upgrade) \S+ {CHART.relative_to(ROOT)} ", line))


@pytest.mark.parametrize("line", _charted())
def test_the_chart_takes_the_values_that_the_pages_set(line: str) -> None:
    """The real Helm renders the chart with each command's own words."""
    words = [word for word in shlex.split(line)[2:] if word != "--reuse-values"]
    done = helm("template", *words)

    assert done.stderr == ""
    assert "kind: " in done.stdout


def test_the_proof_by_hand_adds_up_what_one_pod_holds(tmp_path: Path) -> None:
    """The commands of docs/proof.md count the processes of the pod, whichever way its UID is spelled, and no others."""
    [script] = (block.text for block in blocks("sh", "") if "--query-compute-apps" in block.text)
    uid = "13932904-757f-4cba-8a22-7f39047b2c10"
    assert f"POD_UID={uid}\n" in script
    cgroups = {
        11: f"/kubepods.slice/kubepods-burstable-pod{uid.replace('-', '_')}.slice/cri-containerd-1.scope",
        12: f"/kubepods/burstable/pod{uid}/1",
        13: "/kubepods/burstable/pod23932904-757f-4cba-8a22-7f39047b2c10/1",
    }
    for pid, cgroup in cgroups.items():
        (tmp_path / f"{pid}").mkdir()
        (tmp_path / f"{pid}" / "cgroup").write_text(f"0::{cgroup}\n")
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\nprintf 'GPU-1, 11, 1000\\nGPU-1, 12, 512\\nGPU-1, 13, 7\\nGPU-2, 11, 3\\n'\n")
    smi.chmod(0o755)

    done = subprocess.run(
        ["bash", "-c", script.replace("/proc/", f"{tmp_path}/")],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert sorted(done.stdout.splitlines()) == ["GPU-1 1512 MiB", "GPU-2 3 MiB"]
