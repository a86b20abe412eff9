"""The texts of /proc/<pid>, read so that no process name can pass for a fact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import ProcError
from exporter.processes import parse_nspid, parse_stat

#: A real /proc/<pid>/stat behind the name; the start time, field 22, is 123456 ticks.
REST = (
    " S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 5 0 123456 1000 200 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 3"
    " 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)


@pytest.mark.parametrize(
    "comm",
    [
        "python",
        "",
        "a b",
        "(sd-pam)",
        "x) S 1 1 (y",
        ") R 1 2 3 4 5 6",
        "((((",
        "))))",
        "two\nlines",
        "tab\tcr\r\x0b\x1c",
        "\\xff\\xfe",
        "名前",
    ],
)
def test_a_hostile_name_moves_no_field(comm: str) -> None:
    """Parentheses, blanks and line ends in a process's name change neither its start time nor the name."""
    assert parse_stat(f"7 ({comm}){REST}") == (1234.56, comm)


@given(comm=st.text(max_size=15), start=st.integers(0, 2**64 - 1))
def test_any_name_and_start_come_back(comm: str, start: int) -> None:
    """Whatever a process calls itself, its start time is the one the kernel wrote."""
    assert parse_stat(f"7 ({comm}){REST.replace('123456', str(start))}") == (start / 100, comm)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7",
        "7 (python)",
        "7 (python) S 1 2 3",
        "7 (python" + REST,
        "7 python)" + REST,
        "7 python" + REST,
        f"7 (python){REST}".replace("123456", "soon"),
        f"7 (python){REST}".replace("123456", "-1"),
        f"7 (python){REST}".replace("123456", "1_0"),
        f"7 (python){REST}".replace("123456", "٣"),
        f"7 (python){REST}".replace("123456", "9" * 400),
    ],
)
def test_what_the_kernel_does_not_write_is_refused(text: str) -> None:
    """A text that is no stat is refused, with the text in the message."""
    with pytest.raises(ProcError, match="not a /proc/<pid>/stat text: '"):
        parse_stat(text)


@given(st.text() | st.text("()0123456789 S\n"))
def test_any_text_gives_a_start_or_a_proc_error(text: str) -> None:
    """No text ends in anything but a start time from 0 on or a ProcError."""
    try:
        start, _ = parse_stat(text)
    except ProcError:
        return
    assert start >= 0


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Name:\tpython\nPid:\t740\nNSpid:\t740\t12\t1\nVmPeak:\t1 kB\n", (740, 12, 1)),
        ("Name:\tpython\nNSpid:\t740\n", (740,)),
        ("Name:\tpython\nNSpid:\n", ()),
        ("Name:\tpython\nPid:\t740\n", ()),
        ("", ()),
    ],
)
def test_nspid_lists_the_pids_from_the_host_inwards(status: str, expected: tuple[int, ...]) -> None:
    """A process's PIDs come from the host's namespace inwards; a kernel without NSpid gives none."""
    assert parse_nspid(status) == expected


@pytest.mark.parametrize("separator", ["\r", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029"])
def test_no_name_begins_a_line_of_its_own(separator: str) -> None:
    """A name such as CR NSpid: 1 is still the name: the kernel escapes only the newline in it."""
    assert parse_nspid(f"Name:\t{separator}NSpid:\t1\nNSpid:\t740\t12\n") == (740, 12)


@given(st.text())
def test_any_status_gives_pids(status: str) -> None:
    """No text fails, and what is no number is no PID."""
    assert all(pid >= 0 for pid in parse_nspid("NSpid:" + status))
