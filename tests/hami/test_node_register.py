"""What HAMi registers of a node's GPUs: every release's form, Volcano's, and texts that no plugin writes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import AnnotationError
from exporter.hami.node_register import FOURPD, HAMI, MAX_DEVICES, MAX_TEXT, VOLCANO, RegisteredDevice, choose, decode

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB: Final = 2**20
V100: Final = "GPU-00552014-5c87-89ac-b1a6-7b53aa24b0ec"
B: Final = "GPU-ebe7c3f7-303d-558d-435e-99a160631fe4"
DEVICE: Final = RegisteredDevice(V100, 10, 32768 * MIB, 1.0, "hami-core", healthy=True)
VOLCANOS: Final = replace(DEVICE, writer="volcano")
#: A V100 as HAMi 2.10.0 writes it; `one` changes it.
ITEM: Final = {
    "id": V100, "index": 1, "count": 10, "devmem": 32768, "devcore": 100, "type": "NVIDIA-Tesla V100-PCIE-32GB",
    "numa": 1, "mode": "hami-core", "health": True,
}  # fmt: skip
PROFILES: Final = [
    {"name": "1g.10gb", "memoryMB": 9856, "core": 14, "sliceCount": 1, "placements": [{"start": 0, "size": 1}]}
]


def one(*without: str, **changed: Any) -> str:  # noqa: ANN401 - any JSON
    """Return a JSON array with the one device, changed, and without these fields."""
    return json.dumps([{name: value for name, value in (ITEM | changed).items() if name not in without}])


@pytest.mark.parametrize(
    ("text", "devices"),
    [
        pytest.param(f"{V100},10,32768,100,NVIDIA-Tesla V100-PCIE-32GB,true:", (DEVICE,), id="2.3.4"),
        pytest.param(f"{V100},10,32768,100,NVIDIA-Tesla V100-PCIE-32GB,0,true:", (DEVICE,), id="2.4.1-protocol.md"),
        pytest.param(
            f"{V100},10,32768,100,NVIDIA-NVIDIA GeForce GTX 1080 Ti,0,true,1,hami-core:",
            (replace(DEVICE, index=1),),
            id="2.7.1-doubled-prefix",
        ),
        pytest.param(
            f"{V100},7,32768,100,NVIDIA-A100,0,true,0,mig:{B},10,8192,100,NVIDIA-A100,1,false,1,mps:",
            (
                replace(DEVICE, slots=7, mode="mig", index=0),
                RegisteredDevice(B, 10, 8192 * MIB, 1.0, "mps", healthy=False, index=1),
            ),
            id="2.7.1-two",
        ),
        pytest.param(
            '[{"id":"GPU-0","count":10,"devmem":8192,"devcore":100,"type":"NVIDIA-A100","numa":0,"health":true,"index":0,'
            '"mode":"hami-core"}]',
            (RegisteredDevice("GPU-0", 10, 8192 * MIB, 1.0, "hami-core", healthy=True, index=0),),
            id="2.8.0-scheduler_test.go",
        ),
        pytest.param(one(migProfiles=PROFILES), (replace(DEVICE, index=1),), id="2.10.0-mig-profiles"),
        pytest.param(f" {one()}\n", (replace(DEVICE, index=1),), id="json-in-blanks"),
        pytest.param(f"{V100},10,32768,NVIDIA-Tesla V100-PCIE-32GB,true,hami-core:", (VOLCANOS,), id="volcano"),
        pytest.param(
            f"{V100},7,32768,NVIDIA-NVIDIA A100,false,mig:",
            (replace(VOLCANOS, slots=7, mode="mig", healthy=False),),
            id="volcano-mig",
        ),
        pytest.param(f"{V100},10,32768,NVIDIA-Tesla V100-PCIE-32GB,true:", (VOLCANOS,), id="volcano-before-modes"),
        pytest.param(f"{V100},10,32768,100,T,true", (DEVICE,), id="no-final-colon"),
        pytest.param("", (), id="no-gpus-in-colons"),
        pytest.param("[]", (), id="no-gpus-in-json"),
        pytest.param("null", (), id="go-nil-list"),
    ],
)
def test_a_registration_is_decoded(text: str, devices: tuple[RegisteredDevice, ...]) -> None:
    """The form of every release is read, bytes from MiB and a ratio from percent, in the annotation's order."""
    assert decode(text) == devices


@pytest.mark.parametrize(
    ("text", "device"),
    [
        pytest.param(one("index", "numa"), replace(DEVICE, index=0), id="first-gpu"),
        pytest.param(one("health"), replace(DEVICE, index=1, healthy=False), id="not-healthy"),
        pytest.param(one("count"), replace(DEVICE, index=1, slots=0), id="no-slots"),
        pytest.param(one("devmem"), replace(DEVICE, index=1, memory=0), id="no-memory"),
        pytest.param(one("devcore"), replace(DEVICE, index=1, cores=0.0), id="no-cores"),
        pytest.param(one("mode"), replace(DEVICE, index=1, mode=""), id="no-mode"),
        pytest.param(one(health=None, index=None), replace(DEVICE, index=0, healthy=False), id="null-is-absent"),
        pytest.param('[{"id":"GPU-0"}]', RegisteredDevice("GPU-0", 0, 0, 0.0, "", healthy=False, index=0), id="all"),
    ],
)
def test_what_go_omits_is_zero_or_false(text: str, device: RegisteredDevice) -> None:
    """A JSON field that is not there is Go's zero value of it: never "unknown", never "healthy"."""
    assert decode(text) == (device,)


def test_scaled_figures_are_taken_as_they_are() -> None:
    """With deviceMemoryScaling 2 and deviceCoreScaling 1.5 more is registered than the card has."""
    (device,) = decode(one(devmem=2 * 32768, devcore=150))
    assert (device.memory, device.cores) == (64 * 2**30, 1.5)


@pytest.mark.parametrize("mode", ["time-slicing", "MIG", "hami-core\n", "", "x" * 9999])
def test_a_mode_that_we_do_not_know_is_unknown(mode: str) -> None:
    """Another word than HAMi's three is no reason to lose the figures, and never gets into a label."""
    assert decode(one(mode=mode))[0].mode == ""
    assert decode(f"{V100},10,32768,100,T,0,true,0,{mode}:")[0].mode == ""


def test_the_same_device_written_twice_is_one() -> None:
    """A repeated registration counts once; one that says something else makes the whole text worth nothing."""
    text = f"{V100},10,32768,100,T,0,true,0,hami-core:"
    assert decode(text * 3) == decode(text)
    with pytest.raises(AnnotationError, match=f"two different registrations of '{V100}'"):
        decode(text + text.replace("32768", "65536"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("hello", "hello", id="word"),
        pytest.param(f"{V100},10:", f"{V100},10", id="two-fields"),
        pytest.param("x,10,32768,T:", "x,10,32768,T", id="four-fields"),
        pytest.param("x,10,32768,100,T,0,true,0:", "x,10,32768,100,T,0,true,0", id="eight-fields"),
        pytest.param("x,10,32768,100,T,0,true,0,mig,more:", "mig,more", id="ten-fields"),
        pytest.param("x,10,32768,100,T,0,yes:", "yes", id="health-is-a-word"),
        pytest.param("x,10,32768,100,T,TRUE:", "32768,100,T,TRUE", id="health-in-capitals"),
        pytest.param("x,,32768,100,T,0,true:", "x,,32768", id="empty-number"),
        pytest.param("x,-1,32768,100,T,0,true:", "-1", id="negative"),
        pytest.param("x,10, 5,100,T,0,true:", " 5", id="blank"),
        pytest.param("x,10,1_0,100,T,0,true:", "1_0", id="underscore"),
        pytest.param("x,10,٣,100,T,0,true:", "٣", id="other-digits"),
        pytest.param("x,10,1.5,100,T,0,true:", "1.5", id="fraction"),
        pytest.param("x,10,2147483648,100,T,0,true:", "2147483648", id="above-int32"),
        pytest.param(f"x,10,{'9' * 5000},100,T,0,true:", "9" * 20, id="thousands-of-digits"),
        pytest.param(",10,32768,100,T,0,true:", ",10,32768", id="no-uuid"),
        pytest.param("a b,10,32768,100,T,0,true:", "a b", id="blank-in-uuid"),
        pytest.param("é,10,32768,100,T,0,true:", "é", id="uuid-beyond-ascii"),
        pytest.param(f"{'G' * 97},10,32768,100,T,0,true:", "G" * 40, id="long-uuid"),
        pytest.param("[", "[", id="half-an-array"),
        pytest.param("[5]", "5", id="number-in-array"),
        pytest.param("[[]]", "list", id="array-in-array"),
        pytest.param('{"id":"GPU-0"}', "'{\"id\"'", id="object-without-array"),
        pytest.param("[{}]", "''", id="no-id"),
        pytest.param(one(id=5), "5", id="id-is-a-number"),
        pytest.param(one(id="a\ud800"), "ud800", id="surrogate"),
        pytest.param(one(count="10"), "10", id="text-for-a-number"),
        pytest.param(one(count=10.0), "10.0", id="float"),
        pytest.param(one(count=True), "True", id="truth-for-a-number"),
        pytest.param(one(devmem=-1), "-1", id="negative-in-json"),
        pytest.param(one(devmem=2**31), str(2**31), id="above-int32-in-json"),
        pytest.param(one(devmem=[1]), "list", id="array-for-a-number"),
        pytest.param(one(health="true"), "true", id="text-for-a-truth"),
        pytest.param(one(health=1), "1", id="number-for-a-truth"),
        pytest.param(one(devcore=float("nan")), "NaN", id="nan"),
        pytest.param(one(devmem=float("inf")), "Infinity", id="infinity"),
        pytest.param('[{"id":"GPU-0","devmem":1e999}]', "inf", id="overflow"),
        pytest.param('[{"id":"GPU-0","devmem":' + "9" * 4000 + "}]", "9" * 20, id="four-thousand-digits"),
        pytest.param('[{"id":"GPU-0","devmem":' + "9" * 5000 + "}]", "GPU-0", id="five-thousand-digits"),
        pytest.param("[" * MAX_TEXT, "[" * 40, id="nested-without-end"),
        pytest.param('[{"id":' * (MAX_TEXT // 8), '[{"id":', id="nested-objects"),
    ],
)
def test_what_no_release_writes_is_an_error_that_shows_it(text: str, words: str) -> None:
    """Every break of the grammar raises, with the offending words in a message of bounded length."""
    with pytest.raises(AnnotationError) as raised:
        decode(text)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 800


def many(count: int) -> str:
    """Return short colon forms of that many devices."""
    return "".join(f"G{number},1,1,1,T,true:" for number in range(count))


def test_a_registration_is_bounded() -> None:
    """1024 devices are read in either form; one more, or more than 64 KiB of text, is refused as a whole."""
    items = [{"id": f"G{number}"} for number in range(MAX_DEVICES + 1)]
    assert len(decode(many(MAX_DEVICES))) == MAX_DEVICES
    assert len(decode(json.dumps(items[1:]))) == MAX_DEVICES
    for text in (many(MAX_DEVICES + 1), json.dumps(items), ":" * (MAX_TEXT + 1), "[" + " " * MAX_TEXT + "]"):
        with pytest.raises(AnnotationError, match="node annotation"):
            decode(text)


@pytest.mark.parametrize("depth", [50, 300, 900, 20_000])
def test_fields_that_nobody_reads_may_hold_anything(depth: int) -> None:
    """An unknown field, or MIG profiles of another shape, is passed over, unless it is nested beyond reason."""
    text = one()[:-2] + ',"migProfiles":' + "[" * depth + "]" * depth + "}]"
    try:
        assert decode(text) == (replace(DEVICE, index=1),)
    except AnnotationError:
        assert depth > 300


@pytest.mark.parametrize(
    ("there", "key"),
    [
        ([], None),
        (["other"], None),
        ([HAMI, "other"], HAMI),
        ([VOLCANO], VOLCANO),
        ([FOURPD], FOURPD),
        ([VOLCANO, HAMI], HAMI),
        ([VOLCANO, FOURPD], FOURPD),
        ([VOLCANO, FOURPD, HAMI], HAMI),
    ],
)
def test_one_of_the_annotations_is_believed(there: list[str], key: str | None) -> None:
    """HAMi's goes before its old one, and that before Volcano's; they are never mixed."""
    assert choose(dict.fromkeys(there, "")) == key


INT32: Final = st.integers(0, 2**31 - 1)
UUIDS: Final = st.from_regex(r"GPU-[0-9a-f-]{1,40}", fullmatch=True)
DEVICES: Final = st.builds(
    RegisteredDevice,
    UUIDS,
    INT32,
    INT32.map(lambda mib: mib * MIB),
    INT32.map(lambda percent: percent / 100),
    st.sampled_from(["hami-core", "mig", "mps"]),
    healthy=st.booleans(),
    index=INT32,
)
NODES: Final = st.lists(DEVICES, max_size=5, unique_by=lambda device: device.uuid).map(tuple)


def go_fields(device: RegisteredDevice) -> dict[str, Any]:
    """Return the device's fields in the JSON order of HAMi's struct."""
    return {
        "id": device.uuid, "index": device.index, "count": device.slots, "devmem": device.memory // MIB,
        "devcore": round(device.cores * 100), "type": "NVIDIA-NVIDIA A100, 80 GB", "numa": 0, "mode": device.mode,
        "health": device.healthy,
    }  # fmt: skip


@given(NODES)
def test_what_hami_encodes_as_json_is_decoded_to_the_same(devices: Sequence[RegisteredDevice]) -> None:
    """Decoding undoes `json.Marshal` with omitempty, whatever is left out."""
    items = [{name: value for name, value in go_fields(device).items() if value} for device in devices]
    assert decode(json.dumps(items)) == devices


@given(NODES)
def test_what_hami_encodes_with_colons_is_decoded_to_the_same(devices: Sequence[RegisteredDevice]) -> None:
    """Decoding undoes `EncodeNodeDevices` of 2.5.0 to 2.7.1."""
    text = ""
    for device in devices:
        fields = go_fields(device) | {"type": "NVIDIA-A", "health": str(device.healthy).lower()}
        order = ("id", "count", "devmem", "devcore", "type", "numa", "health", "index", "mode")
        text += ",".join(str(fields[name]) for name in order) + ":"
    assert decode(text) == devices


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(ITEM)), inner, max_size=9),
    max_leaves=30,
)
WORDS: Final = st.sampled_from([*',,,,:[]{}"-019 ', "true", "false", "GPU-0", '"id":', "mig", "\ud800", "9" * 30])


@given(st.text() | st.lists(WORDS, max_size=60).map("".join) | st.lists(JSON, max_size=4).map(json.dumps))
def test_any_text_is_decoded_or_an_error(text: str) -> None:
    """Whatever stands there, the answer is devices with sane values, each UUID once, or an AnnotationError."""
    try:
        devices = decode(text)
    except AnnotationError:
        return
    assert len({device.uuid for device in devices}) == len(devices)
    assert all(device.uuid.isascii() and 0 <= device.memory < 2**51 and device.cores >= 0 for device in devices)
