"""Sections of a YAML file with secrets: known keys, right kinds, and errors that quote no secret."""

from __future__ import annotations

import pytest

from exporter.errors import ParseError
from exporter.web_yaml import Section, root


def section(text: str, *known: str) -> Section:
    """Return the file's own section."""
    return Section("", root(text), known or ("a", "b"))


def refusal(text: str) -> str:
    """Return the sentence that a file is refused with when all its keys are read in every way."""
    with pytest.raises(ParseError) as caught:
        section(text).section("b", ("c", "d")).text("c")
    return str(caught.value)


def test_a_key_without_a_value_is_not_there() -> None:
    """Nothing, an empty text and no key at all are the same, as with the toolkit."""
    for text in ("", "# nothing\n", "a:\n", "a: ~\n", "a: ''\n", "b: 1\n"):
        assert section(text).text("a") == ""
        assert section(text).texts("a") == ()
        assert section(text).flag("a", default=True) is True
        assert section(text).choice("a", ("x", "y")) == "x"
        assert "a" not in section(text).given()


def test_values_are_texts_as_they_are_written() -> None:
    """A number stays the text it was, and a truth value may be spelt in YAML's ways."""
    assert section("a: 0123").text("a") == "0123"
    assert section("a: [1, x]").texts("a") == ("1", "x")
    assert [section(f"a: {text}").flag("a", default=True) for text in ("yes", "On", "off", "FALSE")] == [
        True, True, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- a\n", "line 1: the file must map keys to values"),
        ("a: 1\nz: 2\n", "line 2: unknown key 'z'; keys are a, b"),
        ("a: 1\na: 2\n", "line 2: the key 'a' is there twice"),
        ("[a]: 1\n", "line 1: a key is no text"),
        ("b: 1\n", "line 1: b must map keys to values"),
        ("b:\n  z: 1\n", "line 2: b: unknown key 'z'; keys are c, d"),
        ("b:\n  c: [secret]\n", "line 2: b: 'c' must be one text"),
        ("b: &b {c: *b}\n", "line 1: b: 'c' must be one text"),
        ("a: 1\nb: {c: 'secret\n", "not YAML at line 3, column 1"),
        ("a: se\x00cret\n", "no YAML: a character that it cannot have, or nested too deep"),
        ("a: " + "[" * 1000, "no YAML: a character that it cannot have, or nested too deep"),
        ("a: 1\n--- {}\n", "not YAML at line 2, column 1"),
        ("$2y$10$secret: x\n", "line 1: unknown key (which is no name); keys are a, b"),
    ],
)
def test_what_is_wrong_is_named_by_its_place(text: str, expected: str) -> None:
    """An error says where, and never what stands there if that may be a secret."""
    assert refusal(text) == expected


@pytest.mark.parametrize("text", ["a: x", "a: {x: 1}", "a: [[x]]", "a: [~]"])
def test_a_list_is_a_list_of_texts(text: str) -> None:
    """Anything else in the place of a list is refused."""
    with pytest.raises(ParseError, match="line 1: a: a list of texts was expected"):
        section(text).texts("a")


def test_a_value_out_of_few_is_shown_with_its_choices() -> None:
    """What is no secret may be quoted, shortened."""
    with pytest.raises(ParseError, match=r"^line 1: a: 'zz' is not x or y \(really\)$"):
        section("a: zz").choice("a", ("x", "y"), " (really)")
    with pytest.raises(ParseError, match=r"^line 1: a: 'maybe' is not true or false$"):
        section("a: Maybe").flag("a", default=False)
