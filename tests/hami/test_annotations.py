"""HAMi's device annotation: grammar, hostile texts, and which container an entry is for in every release."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import AnnotationError
from exporter.hami.annotations import MAX_DEVICES, MAX_TEXT, decode, place
from exporter.model import Container, GrantedDevice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from exporter.hami.annotations import Entry
    from exporter.model import ContainerKind

A: Final = "GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b76"
B: Final = "GPU-ebe7c3f7-303d-558d-435e-99a160631fe4"


def encode(entries: Sequence[Entry]) -> str:
    """Write as HAMi does: every device followed by a colon, every container by a semicolon."""
    return "".join(
        "".join(f"{device.uuid},{device.family},{device.memory_mib},{device.cores_percent}:" for device in entry) + ";"
        for entry in entries
    )


def device(uuid: str = A, memory: int = 500, cores: int = 3, family: str = "NVIDIA") -> GrantedDevice:
    """Return a device as decoded."""
    return GrantedDevice(uuid, family, memory, cores)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        pytest.param("", (), id="nothing"),
        pytest.param(";", ((),), id="one-empty"),
        pytest.param(";;", ((), ()), id="two-empty"),
        pytest.param(f"{A},NVIDIA,500,3:;{B},NVIDIA,500,3:;", ((device(),), (device(B),)), id="two-containers"),
        pytest.param(f"{A},NVIDIA,500,3:{B},NVIDIA,500,3:;", ((device(), device(B)),), id="two-gpus"),
        pytest.param(f"{A},NVIDIA,500,3:;;", ((device(),), ()), id="init-with-a-gpu"),
        pytest.param(f";;{A},NVIDIA,500,3:;", ((), (), (device(),)), id="leading-empties"),
        pytest.param(f";,,0,0:;{A},NVIDIA,500,3:;", ((), (), (device(),)), id="both-spellings-of-empty"),
        pytest.param(f"{A},NVIDIA,500,3:;;,,0,0:;", ((device(),), (), ()), id="issue-991"),
        pytest.param(f"{A},NVIDIA,500,3", ((device(),),), id="no-final-separators"),
        pytest.param(f"{A},NVIDIA,500,3,more,,:;", ((device(),),), id="extra-fields"),
        pytest.param(f"junk:{A},NVIDIA,500,3:junk:;junk;", ((device(),), ()), id="pieces-without-comma"),
        pytest.param(f"{A}[7-9],NVIDIA,500,3:;", ((device(),),), id="mig-slot"),
        pytest.param(f"{A},NVIDIA-A100,500,3:;", ((device(family="NVIDIA-A100"),),), id="other-family-word"),
        pytest.param(f"{A},NVIDIA,500,3:;;{B},NVIDIA,500,3:", ((device(),), (), (device(B),)), id="joined-2.3.4"),
        pytest.param(
            ";n1-cambricon-mlu-0,MLU,256000,1:;",
            ((), (device("n1-cambricon-mlu-0", 256000, 1, "MLU"),)),
            id="made-up-uuid",
        ),
        pytest.param(
            "u,AMD Instinct (TM) MI300X,196608,304:;",
            ((device("u", 196608, 304, "AMD Instinct (TM) MI300X"),),),
            id="amd-product-name",
        ),
        pytest.param(f"{A},NVIDIA,2147483647,0:;", ((device(memory=2**31 - 1, cores=0),),), id="largest"),
        pytest.param(f"{A},NVIDIA,0500,3:;", ((device(),),), id="leading-zero"),
    ],
)
def test_an_annotation_is_decoded(text: str, entries: tuple[Entry, ...]) -> None:
    """Every form that a HAMi release writes, or reads, becomes one entry per separator, empties kept."""
    assert decode(text) == entries


@pytest.mark.parametrize(
    "piece",
    [
        pytest.param(f"{A},NVIDIA", id="two-fields"),  # the truncated annotation of #1106
        pytest.param(f"{A},NVIDIA,500", id="three-fields"),
        pytest.param("x,NVIDIA,,3", id="empty-number"),
        pytest.param("x,NVIDIA,many,3", id="word"),
        pytest.param("x,NVIDIA,-1,3", id="negative"),
        pytest.param("x,NVIDIA,+1,3", id="sign"),
        pytest.param("x,NVIDIA, 1,3", id="blank"),
        pytest.param("x,NVIDIA,1_0,3", id="underscore"),
        pytest.param("x,NVIDIA,1.5,3", id="fraction"),
        pytest.param("x,NVIDIA,٣,3", id="other-digits"),
        pytest.param("x,NVIDIA,²,3", id="superscript"),
        pytest.param("x,NVIDIA,500,2147483648", id="above-int32"),
        pytest.param(f"x,NVIDIA,{'9' * 5000},3", id="thousands-of-digits"),
        pytest.param(",,0,x", id="empty-slot-with-garbage"),
    ],
)
def test_what_breaks_the_grammar_is_an_error_that_shows_it(piece: str) -> None:
    """Too few fields and numbers that are no int32 raise, with the piece (shortened) in the message."""
    with pytest.raises(AnnotationError) as raised:
        decode(f"{A},NVIDIA,500,3:;{piece}:;")
    assert piece[:40] in str(raised.value)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(";" * (MAX_TEXT + 1), id="text"),
        pytest.param(f"{A},NVIDIA,1,1:" * (MAX_DEVICES + 1), id="devices-in-one-entry"),
        pytest.param(",,0,0:;" * (MAX_DEVICES + 1), id="empty-devices"),
    ],
)
def test_an_annotation_is_bounded(text: str) -> None:
    """More text or devices than any pod needs is refused as a whole."""
    with pytest.raises(AnnotationError, match="device annotation"):
        decode(text)


def test_the_largest_annotation_is_read() -> None:
    """The bounds themselves are allowed."""
    assert len(decode(",,0,0:;" * MAX_DEVICES)) == MAX_DEVICES
    assert len(decode(";" * MAX_TEXT)) == MAX_TEXT


WORDS: Final = st.text(st.characters(exclude_characters=",:;[", exclude_categories=["Cs"]), max_size=8)
INT32: Final = st.integers(0, 2**31 - 1)
DEVICES: Final = st.builds(GrantedDevice, WORDS.filter(bool), WORDS, INT32, INT32)
ENTRIES: Final = st.lists(st.lists(DEVICES, max_size=3).map(tuple), max_size=5).map(tuple)


@given(ENTRIES)
def test_what_hami_encodes_is_decoded_to_the_same(entries: tuple[Entry, ...]) -> None:
    """Decoding undoes HAMi's encoding, positions included."""
    assert decode(encode(entries)) == entries


@given(st.text() | st.lists(st.sampled_from([*",:;[]-019", A, "NVIDIA"]), max_size=40).map("".join))
def test_any_text_is_decoded_or_an_error(text: str) -> None:
    """Whatever a tenant writes, the answer is entries or an AnnotationError."""
    try:
        entries = decode(text)
    except AnnotationError:
        return
    assert all(device.uuid and 0 <= device.memory_mib < 2**31 for entry in entries for device in entry)


def container(name: str, kind: ContainerKind = "app") -> Container:
    """Return a container that asks (which `place` takes for granted)."""
    return Container(name, kind)


INIT, SIDE, ONE, TWO, DEBUG = (
    container("init", "init"),
    container("side", "sidecar"),
    container("one"),
    container("two"),
    container("debug", "ephemeral"),
)
E1, E2, E3 = (device(A),), (device(B),), (device(A), device(B))


@pytest.mark.parametrize(
    ("entries", "asking", "placed"),
    [
        pytest.param([E1], [ONE], {"one": E1}, id="one"),
        pytest.param([(), E1, ()], [ONE], {"one": E1}, id="empties-mean-nothing"),
        pytest.param([E1, E2], [ONE, TWO], {"one": E1, "two": E2}, id="in-order"),
        pytest.param([E1, E2], [INIT, ONE], {"init": E1, "one": E2}, id="init-counted-2.9"),
        pytest.param([E2], [INIT, ONE], {"one": E2}, id="init-not-counted-2.8"),
        pytest.param([E1, E2, E3], [INIT, ONE, TWO], {"init": E1, "one": E2, "two": E3}, id="init-and-two-2.9"),
        pytest.param([E1, E2], [INIT, ONE, TWO], {"one": E1, "two": E2}, id="init-and-two-2.8"),
        pytest.param([E1, E2], [SIDE, ONE], {"side": E1, "one": E2}, id="sidecar-2.9"),
        pytest.param([E2], [SIDE, ONE], {"one": E2}, id="sidecar-2.8"),
        pytest.param([E1], [INIT], {"init": E1}, id="only-init-2.9"),
        pytest.param([()], [INIT], {}, id="only-init-2.8"),
        pytest.param([E1], [ONE, DEBUG], {"one": E1}, id="ephemeral-never-takes-part"),
        pytest.param([], [], {}, id="nobody-asks"),
        pytest.param([E1], [], None, id="nobody-asks-but-an-entry"),
        pytest.param([E1], [DEBUG], None, id="only-an-ephemeral-one-asks"),
        pytest.param([], [ONE], None, id="asked-but-no-entry"),
        pytest.param([E1], [ONE, TWO], None, id="one-left-out"),
        pytest.param([E3], [ONE, TWO], None, id="concatenated-2.3.9"),
        pytest.param([E1, E2], [ONE], None, id="one-too-many"),
        pytest.param([E1], [INIT, ONE, TWO], None, id="fewer-than-apps"),
        pytest.param([E1, E2], [INIT, INIT, INIT, ONE], None, id="between-the-readings"),
    ],
)
def test_entries_go_to_the_containers_that_ask_in_their_order(
    entries: list[Entry], asking: list[Container], placed: dict[str, Entry] | None
) -> None:
    """As many entries as askers are zipped with them, as many as app askers with those; else nothing is placed."""
    assert place(entries, asking) == placed
