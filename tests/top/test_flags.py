"""The flags of `top`: what goes together, and that no password is among them."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from exporter.cli import main
from exporter.errors import ConfigError
from exporter.top.choice import Choice
from exporter.top.flags import PASSWORD, TopSettings, add, settings

SECRET = "geheim"  # noqa: S105 - of nobody


def read(_flag: str, path: str) -> str:
    """Return a file's text."""
    return Path(path).read_text()


def resolved(*flags: str, **environ: str) -> TopSettings:
    """Return what these flags say in that environment."""
    parser = argparse.ArgumentParser()
    add(parser)
    return settings(parser.parse_args(flags), environ, read)


def test_without_flags_it_is_the_exporter_of_this_machine() -> None:
    """Live, by memory, every two seconds."""
    found = resolved()

    assert (found.url, found.cluster, found.once, found.json) == ("http://127.0.0.1:9836", False, False, False)
    assert (found.choice, found.interval, found.access.user) == (Choice(), 2.0, None)


def test_a_prometheus_is_another_address() -> None:
    """With everything that may be chosen."""
    found = resolved("--prometheus", "https://[::1]:9090/x", "--sort", "cores", "--filter", "a", "--tenants", "--once")

    assert (found.url, found.cluster, found.once) == ("https://[::1]:9090/x", True, True)
    assert found.choice == Choice("cores", "a", tenants=True)


def test_a_password_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    """The file's line end is none of it; the settings do not show it."""
    file = tmp_path / "password"
    file.write_text(f"{SECRET}\n")
    of_file = resolved("--user", "u", "--password-file", str(file), **{PASSWORD: "other"})

    assert resolved("--user", "u", **{PASSWORD: SECRET}).access.password == SECRET
    assert of_file.access.password == SECRET
    assert SECRET not in repr(of_file)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--user", "u"], f"--user needs a password: set {PASSWORD}"),
        (["--password-file", "x"], "--password-file is nothing without --user"),
        (["--key-file", "k"], "--key-file is nothing without --cert-file"),
        (["--ca-file", "c"], "are for TLS: http://127.0.0.1:9836 should begin with https://"),
    ],
)
def test_what_does_not_go_together_is_said(flags: list[str], said: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")):
        resolved(*flags)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--url", "127.0.0.1:9836"], "'127.0.0.1:9836' is not an address such as http://127.0.0.1:9836"),
        (["--url", "ftp://a"], "is not an address"),
        (["--url", "http://a/\x1b[31m"], "is not an address"),
        (["--url", "http://a/?b"], "is not an address"),
        (["--prometheus", f"http://u:{SECRET}@a"], "a password does not belong there"),
        (["--url", "http://a", "--prometheus", "http://b"], "not allowed with argument"),
        (["--interval", "0.1"], "is not a number from 0.5 to 3600"),
        (["--interval", "nan"], "is not a number from 0.5 to 3600"),
        (["--sort", "x"], "invalid choice"),
        (["--once", "--user", "u", "--password-file", "/nothing/there"], "--password-file: /nothing/there cannot be"),
        (["--once", "--url", "https://a", "--ca-file", "/nothing/there"], "--ca-file: /nothing/there is no usable"),
        (["--once", "--url", "https://a", "--cert-file", "/nothing/there"], "--cert-file: /nothing/there cannot be"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_two(
    flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the flag, and never repeats a password or a control character."""
    code, err = main(["top", *flags]), capsys.readouterr().err

    assert (code, err.count("\n")) == (2, 1)
    assert said in err
    assert SECRET not in err
    assert "\x1b" not in err
