"""docs/examples/load.py against a server that speaks as vLLM does and as Xinference does."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.examples.retrieval_stub import (
    EMBED,
    MODELS,
    RERANK,
    Answer,
    Stub,
    serving,
    vllm,
    vllm_error,
    xinference,
    xinference_error,
)
from tests.rules.checkers import ROOT
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

PROGRAM = ROOT / "docs" / "examples" / "load.py"


def _program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("load_example", PROGRAM)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their own module up
    spec.loader.exec_module(module)
    return module


load = _program()


@pytest.fixture(name="stub", params=[vllm, xinference], ids=["vllm", "xinference"])
def _stub(request: pytest.FixtureRequest) -> Iterator[Stub]:
    with serving(request.param) as stub:
        yield stub


def run(stub: Stub, *more: str) -> int:
    """Return the exit status of a run with both models and next to no wait before a retry."""
    models = ("--embed", EMBED, "--rerank", RERANK)
    status: int = load.main(["--url", stub.url, *models, "--requests=4", "--concurrency=2", "--backoff=0.001", *more])
    return status


def rows(printed: str) -> dict[str, list[str]]:
    """Return the printed table's cells by the name of the line."""
    lines = [[cell.strip() for cell in line.strip("│").split("│")] for line in printed.splitlines() if "│" in line]
    return {name: cells for name, *cells in lines}


def test_both_stacks_are_loaded(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Each request embeds texts, then ranks documents, in the form that both stacks understand."""
    assert run(stub, "--texts=3", "--documents=5", "--words=2") == 0

    assert [path for path, _, _ in stub.asked].count("/v1/rerank") == 4
    [embedded, *_] = stub.bodies("/v1/embeddings")
    assert embedded.keys() == {"model", "input"}
    assert (embedded["model"], len(embedded["input"])) == (EMBED, 3)
    [ranked, *_] = stub.bodies("/v1/rerank")
    assert ranked.keys() == {"model", "query", "documents", "top_n"}
    assert (ranked["model"], len(ranked["documents"]), ranked["top_n"]) == (RERANK, 5, 3)
    found = rows(capsys.readouterr().out)
    assert {name: cells[:3] for name, cells in found.items()} == {
        "embeddings": ["4", "0", "0"], "rerank": ["4", "0", "0"], "whole request": ["4", "0", "0"],
    }  # fmt: skip


def test_one_model_alone_is_loaded(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --rerank there are embeddings alone, and no line for what was not called."""
    assert load.main(["--url", f"{stub.url}/v1/", "--embed", EMBED, "--requests=3"]) == 0

    assert {path for path, _, _ in stub.asked} == {"/v1/embeddings"}
    assert rows(capsys.readouterr().out).keys() == {"embeddings", "whole request"}


@pytest.mark.parametrize(
    "fault", [vllm_error(429, "queue full"), vllm_error(503, "no"), xinference_error(500, "x"), None]
)
def test_what_may_pass_is_tried_again(fault: Answer | None, capsys: pytest.CaptureFixture[str]) -> None:
    """Refusals for now, errors of the server and lost connections are retried and counted; the run succeeds."""
    with serving(vllm) as stub:
        stub.faults = [fault, fault]
        assert run(stub, "--concurrency=1") == 0

    found = rows(capsys.readouterr().out)
    assert (found["embeddings"][:3], found["whole request"][:3]) == (["4", "0", "2"], ["4", "0", "2"])


def test_a_service_that_says_when_is_believed(capsys: pytest.CaptureFixture[str]) -> None:
    """Retry-After takes the place of the wait, which here would outlast the test, and counts into the time."""
    with serving(vllm) as stub:
        stub.faults = [vllm_error(429, "later", Retry_After="1")]
        assert run(stub, "--requests=1", "--backoff=3600") == 0

    slowest = rows(capsys.readouterr().out)["embeddings"][5]
    assert 1000 <= int(slowest.removesuffix(" ms")) < 3000


def test_a_call_that_never_succeeds_fails_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """After its last retry the call is failed: counted, told with the service's own words, no part of any time."""
    with serving(vllm) as stub:
        stub.faults = [vllm_error(503, "engine is dead")] * 3
        assert run(stub, "--retries=2", "--requests=2", "--concurrency=1") == 1

    printed = capsys.readouterr().out
    found = rows(printed)
    assert (found["embeddings"][:3], found["rerank"][:3]) == (["1", "1", "2"], ["1", "0", "0"])
    assert "1 failed: /v1/embeddings: 503 engine is dead" in printed


def test_what_cannot_pass_is_not_tried_again(capsys: pytest.CaptureFixture[str]) -> None:
    """A request that is refused as wrong is refused the next time too; alike failures are told once."""
    with serving(vllm) as stub:
        stub.faults = [vllm_error(400, "too long")] * 2
        assert run(stub, "--requests=2") == 1
        assert len(stub.asked) == 2

    assert "2 failed: /v1/embeddings: 400 too long" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"data": [{"embedding": [0.1]}]}, id="too few"),
        pytest.param({"data": [{"embedding": []}] * 4}, id="empty"),
        pytest.param({"data": "none"}, id="no list"),
        pytest.param([], id="no object"),
        pytest.param(b"<html>", id="no JSON"),
    ],
)
def test_an_answer_without_embeddings_is_no_success(answer: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ANN401
    """A quick 200 with nothing in it must not make the percentiles look good."""
    with serving(vllm) as stub:
        stub.faults = [(200, answer, {})]
        assert run(stub, "--requests=1") == 1

    assert rows(capsys.readouterr().out)["embeddings"] == ["0", "1", "0", "-", "-", "-"]


@pytest.mark.parametrize(
    "results", [[], [{"index": 9, "relevance_score": 1}] * 2, [{"index": 0}] * 2, ["?"] * 2], ids=str
)
def test_an_answer_that_ranks_nothing_is_no_success(results: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: ANN401
    """Ranks are of documents that were sent, and have a score."""
    with serving(vllm) as stub:
        stub.faults = [(200, {"data": [{"embedding": [1]}]}, {}), (200, {"results": results}, {})]
        assert run(stub, "--requests=1", "--texts=1", "--documents=2") == 1

    assert rows(capsys.readouterr().out)["rerank"][:2] == ["0", "1"]


def test_sparse_embeddings_are_embeddings() -> None:
    """Xinference can answer with weights by token."""
    with serving(xinference) as stub:
        stub.faults = [(200, {"data": [{"embedding": {"17": 0.5}}]}, {})]
        assert run(stub, "--requests=1", "--texts=1") == 0


# ---------------------------------------------------------------- of no use at all


def test_a_wrong_model_is_told_before_anything_is_sent(stub: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    """With the names that there are."""
    assert load.main(["--url", stub.url, "--embed", "bge-m4"]) == 2

    assert stub.asked == []
    assert f"{stub.url} has no model 'bge-m4'; it has: {', '.join(MODELS)}" in capsys.readouterr().err


def test_a_service_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """With the address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    assert load.main(["--url", f"http://127.0.0.1:{port}", "--embed", EMBED]) == 2
    assert f"Cannot connect to host 127.0.0.1:{port}" in capsys.readouterr().err


def test_a_service_that_never_answers_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """After --timeout, not never."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert load.main(["--url", url, "--embed", EMBED, "--timeout=0.05"]) == 2

    assert "no answer in time" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((200, b"<html>hello</html>", {}), "is this an OpenAI-compatible service?"),
        ((200, {"status": "ok"}, {}), "is this an OpenAI-compatible service?"),
        ((404, b"404 page not found", {}), "/v1/models: 404 404 page not found"),
        ((401, {"error": "Unauthorized"}, {}), "/v1/models: 401 Unauthorized"),
        ((502, b"", {}), "/v1/models: 502 without a word"),
    ],
    ids=str,
)
def test_a_service_that_is_something_else_is_told(
    answer: Answer, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """In its own words, where it has some."""
    with serving(lambda _path, _body: answer) as stub:
        assert load.main(["--url", stub.url, "--embed", EMBED]) == 2

    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url=http://h"],
        ["--url=h:8000", "--embed=x"],
        ["--url=http://h", "--embed=x", "--requests=0"],
        ["--url=http://h", "--embed=x", "--concurrency=few"],
    ],
    ids=" ".join,
)
def test_options_without_sense_are_refused(arguments: list[str]) -> None:
    """Before anything is sent."""
    with pytest.raises(SystemExit) as ended:
        load.main(arguments)
    assert ended.value.code == 2


# ---------------------------------------------------------------- how much, how fast


def test_a_key_is_sent(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the environment, so that it is not in the list of processes."""
    monkeypatch.setenv("LOAD_API_KEY", "secret")
    run(stub)

    assert {key for _, _, key in stub.asked} == {"Bearer secret"}


def test_no_two_texts_are_alike(stub: Stub) -> None:
    """Else a cache would answer."""
    run(stub, "--requests=20")

    texts = [text for body in stub.bodies("/v1/embeddings") for text in body["input"]]
    assert len(set(texts)) == len(texts) == 80


def test_as_many_are_sent_at_once_as_allowed() -> None:
    """With --concurrency=3 three requests meet in a server that takes its time, and never four."""

    def slow(path: str, body: dict[str, Any]) -> Answer:
        time.sleep(0.01)
        return vllm(path, body)

    with serving(slow) as stub:
        assert run(stub, "--requests=20", "--concurrency=3") == 0
        assert stub.most_at_once == 3


def test_percentiles_are_calls_that_took_so_long() -> None:
    """Nearest rank: no value between two calls, and none where too few calls could tell."""
    seconds = [number / 100 for number in range(100, 0, -1)]

    assert (load.percentile(seconds, 50), load.percentile(seconds, 95)) == (0.5, 0.95)
    assert (load.percentile(seconds[:20], 95), load.percentile(seconds[:19], 95)) == (0.99, None)
    assert (load.percentile([0.7, 0.3], 50), load.percentile([0.7], 50)) == (0.3, None)


def test_ctrl_c_still_prints_the_table() -> None:
    """What was done until then is told, and the run is not a success."""
    with serving(vllm) as stub:
        command = [sys.executable, str(PROGRAM), "--url", stub.url, "--embed", EMBED, "--requests=1000000"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as child:
            try:
                until(lambda: len(stub.asked) > 20)
                child.send_signal(signal.SIGINT)
                output, errors = child.communicate(timeout=30)
            finally:
                child.kill()

    assert child.returncode == 1, errors
    assert int(rows(output)["embeddings"][0]) > 10
    assert "Traceback" not in errors


def test_it_is_a_program_of_its_own(stub: Stub) -> None:
    """It is executable, and needs nothing of the checkout."""
    command = [sys.executable, "-I", str(PROGRAM), "--url", stub.url, "--rerank", RERANK, "--requests=2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", timeout=30)

    assert (done.returncode, os.access(PROGRAM, os.X_OK)) == (0, True), done.stderr
    assert rows(done.stdout)["rerank"][0] == "2"
    assert "2/2" in done.stderr
