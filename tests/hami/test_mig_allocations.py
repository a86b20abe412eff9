"""HAMi 2.10.0's MIG allocations: its own JSON, hostile texts, and which device an allocation is for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.errors import AnnotationError
from exporter.hami.mig_allocations import MAX_ALLOCATIONS, MAX_TEXT, MigAllocation, decode, named
from exporter.model import GrantedDevice

if TYPE_CHECKING:
    from exporter.hami.annotations import Entry

A: Final = "GPU-8dcd427f-483b-b48f-d7e5-75fb19a52b76"
B: Final = "GPU-ebe7c3f7-303d-558d-435e-99a160631fe4"
MIG: Final = "MIG-6b4a8d3e-0f5c-5b3a-9e8d-2f1c0b9a8d7e"
#: An allocation before the device plugin made the instance, and what it adds then.
RESERVED: Final = {
    "containerIndex": 1, "deviceIndex": 0, "gpuUUID": A, "profile": "1g.10gb", "placement": {"start": 0, "size": 1},
}  # fmt: skip
IDENTITY: Final = {"migUUID": MIG, "gpuInstanceID": 7, "computeInstanceID": 0}


def one(*without: str, **changed: Any) -> str:  # noqa: ANN401 - any JSON
    """Return a JSON array with the one allocation, changed, and without these fields."""
    fields = RESERVED | IDENTITY | changed
    return json.dumps([{name: value for name, value in fields.items() if name not in without}])


@pytest.mark.parametrize(
    ("text", "allocations"),
    [
        pytest.param(json.dumps([RESERVED]), (MigAllocation(1, 0, A),), id="reserved"),
        pytest.param(one(), (MigAllocation(1, 0, A, MIG),), id="made"),
        pytest.param(one(gpuInstanceID=0), (MigAllocation(1, 0, A, MIG),), id="instance-0"),
        pytest.param(one("profile", "placement", more=[1]), (MigAllocation(1, 0, A, MIG),), id="fields-nobody-reads"),
        pytest.param(one("gpuInstanceID", migUUID="", computeInstanceID=None), (MigAllocation(1, 0, A),), id="empty"),
        pytest.param(
            json.dumps([RESERVED, RESERVED | {"deviceIndex": 1}]),
            (MigAllocation(1, 0, A), MigAllocation(1, 1, A)),
            id="two-slices-of-one-gpu",
        ),
        pytest.param("", (), id="nothing"),
        pytest.param("null", (), id="go-nil-list"),
        pytest.param("[]", (), id="no-allocations"),
    ],
)
def test_allocations_are_decoded(text: str, allocations: tuple[MigAllocation, ...]) -> None:
    """What HAMi 2.10.0 writes at scheduling, and what its device plugin makes of it, is read in order."""
    assert decode(text) == allocations


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("hello", "hello", id="word"),
        pytest.param("{}", "{}", id="object-without-array"),
        pytest.param("[5]", "int", id="number-in-array"),
        pytest.param("[[]]", "list", id="array-in-array"),
        pytest.param(one("containerIndex"), "containerIndex", id="no-container"),
        pytest.param(one("deviceIndex"), "deviceIndex", id="no-device"),
        pytest.param(one("gpuUUID"), "gpuUUID", id="no-gpu"),
        pytest.param(one(gpuUUID=""), "gpuUUID", id="empty-gpu"),
        pytest.param(one(gpuUUID=[A]), "list", id="gpu-is-an-array"),
        pytest.param(one(containerIndex=-1), "-1", id="negative"),
        pytest.param(one(containerIndex=1.0), "1.0", id="float"),
        pytest.param(one(containerIndex=True), "True", id="truth"),
        pytest.param(one(deviceIndex="0"), "deviceIndex", id="text-for-a-number"),
        pytest.param(one(deviceIndex=2**32), str(2**32), id="above-uint32"),
        pytest.param(one("migUUID"), "gpuInstanceID, computeInstanceID", id="identity-without-uuid"),
        pytest.param(one("gpuInstanceID"), "migUUID, computeInstanceID", id="identity-without-gi"),
        pytest.param(one("computeInstanceID"), "migUUID, gpuInstanceID", id="identity-without-ci"),
        pytest.param(one(gpuInstanceID="7"), "'7'", id="text-for-gi"),
        pytest.param(one(computeInstanceID=-1), "-1", id="negative-ci"),
        pytest.param(one(migUUID=5), "5", id="number-for-a-uuid"),
        pytest.param(json.dumps([RESERVED, RESERVED]), "container 1 device 0", id="twice-the-same"),
        pytest.param(json.dumps([RESERVED, RESERVED | {"gpuUUID": B}]), "container 1 device 0", id="twice-another"),
        pytest.param(one(x=float("nan")), "NaN", id="nan"),
        pytest.param(one(x=float("inf")), "Infinity", id="infinity"),
        pytest.param('[{"containerIndex":1e999}]', "inf", id="overflow"),
        pytest.param('[{"containerIndex":' + "9" * 4000 + "}]", "9" * 20, id="four-thousand-digits"),
        pytest.param('[{"containerIndex":' + "9" * 5000 + "}]", "containerIndex", id="five-thousand-digits"),
        pytest.param("[" * MAX_TEXT, "[" * 40, id="nested-without-end"),
        pytest.param('[{"x":' * (MAX_TEXT // 6), '[{"x":', id="nested-objects"),
        pytest.param(json.dumps([RESERVED])[:-2] + ":,…", "…", id="cut"),
        pytest.param("[" + "0," * MAX_ALLOCATIONS + "0]", str(MAX_ALLOCATIONS), id="too-many"),
        pytest.param("[" + " " * MAX_TEXT + "]", str(MAX_TEXT), id="too-long"),
    ],
)
def test_what_hami_does_not_write_is_an_error_that_shows_it(text: str, words: str) -> None:
    """Every break of the form raises, with the offending words in a message of bounded length."""
    with pytest.raises(AnnotationError) as raised:
        decode(text)
    assert words in str(raised.value)
    assert len(str(raised.value)) < 800


def test_the_largest_annotation_is_read() -> None:
    """The bound itself is allowed."""
    items = [{"containerIndex": number, "deviceIndex": 0, "gpuUUID": "G"} for number in range(MAX_ALLOCATIONS)]
    assert len(decode(json.dumps(items, separators=(",", ":")))) == MAX_ALLOCATIONS


def entry(*uuids: str) -> Entry:
    """Return a container's devices."""
    return tuple(GrantedDevice(uuid, "NVIDIA", 1, 1) for uuid in uuids)


def made(container: int, *gpus: str) -> list[MigAllocation]:
    """Return a container's allocations; each instance is called after container and device."""
    return [MigAllocation(container, index, gpu, f"{container}/{index}") for index, gpu in enumerate(gpus)]


@pytest.mark.parametrize(
    ("entries", "allocations", "instances"),
    [
        pytest.param([entry(A)], made(0, A), [["0/0"]], id="one"),
        pytest.param([(), entry(A)], made(1, A), [[], ["1/0"]], id="placeholder-kept-by-both"),
        pytest.param([(), entry(A)], made(0, A), [[], ["0/0"]], id="placeholder-lost-in-one"),
        pytest.param([entry(A)], made(5, A), [["5/0"]], id="placeholders-lost-in-the-other"),
        pytest.param([entry(A), entry(A)], [*made(2, A), *made(4, A)], [["2/0"], ["4/0"]], id="order-decides"),
        pytest.param([entry(A), entry(A)], [*made(4, A), *made(2, A)], [["2/0"], ["4/0"]], id="written-in-any-order"),
        pytest.param([entry(A, B)], made(0, A, B), [["0/0", "0/1"]], id="two-gpus"),
        pytest.param([entry(A, A)], made(0, A, A), [["0/0", "0/1"]], id="two-slices-of-one-gpu"),
        pytest.param([entry(A, B)], made(0, A), [["0/0", ""]], id="only-the-first-device-is-mig"),
        pytest.param([entry(A, B)], [MigAllocation(0, 1, B, "m")], [["", "m"]], id="only-the-second-device-is-mig"),
        pytest.param([entry(A), entry(B)], made(0, B), [[""], ["0/0"]], id="only-one-container-has-mig"),
        pytest.param([entry(A)], [MigAllocation(0, 0, A)], [[""]], id="not-made-yet"),
        pytest.param([entry(A), ()], [], [[""], []], id="no-allocations"),
    ],
)
def test_allocations_name_the_devices_instances(
    entries: list[Entry], allocations: list[MigAllocation], instances: list[list[str]]
) -> None:
    """Containers are matched by their order and by their GPUs, never by an index that 2.10.0 may have compacted."""
    answer = named(entries, allocations)
    assert [[device.instance for device in each] for each in answer] == instances
    assert [[device.uuid for device in each] for each in answer] == [[d.uuid for d in each] for each in entries]


@pytest.mark.parametrize(
    ("entries", "allocations"),
    [
        pytest.param([entry(A)], made(0, B), id="another-gpu"),
        pytest.param([entry(A)], [*made(0, A), *made(1, A)], id="more-containers-than-entries"),
        pytest.param([entry(A)], made(0, A, A), id="more-devices-than-the-entry"),
        pytest.param([entry(A), entry(B)], [*made(0, B), *made(1, A)], id="other-order"),
        pytest.param([entry(A, B)], made(0, B, A), id="other-order-in-a-container"),
        pytest.param([entry(A), entry(A)], made(0, A), id="one-of-two-alike"),
        pytest.param([()], made(0, A), id="only-an-empty-entry"),
        pytest.param([], made(0, A), id="no-entries"),
    ],
)
def test_what_fits_in_no_one_way_is_an_error(entries: list[Entry], allocations: list[MigAllocation]) -> None:
    """Where the GPUs do not agree, or two containers fit equally well, nothing is guessed."""
    with pytest.raises(AnnotationError, match="in no one way"):
        named(entries, allocations)


JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.floats() | st.text(max_size=5) | st.sampled_from([A, MIG]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(sorted(RESERVED | IDENTITY)), inner, max_size=8)
    ),
    max_leaves=30,
)
ITEMS: Final = st.lists(
    st.fixed_dictionaries(
        {"containerIndex": st.integers(0, 3), "deviceIndex": st.integers(0, 2), "gpuUUID": st.sampled_from([A, B])},
        optional=dict.fromkeys(IDENTITY, st.integers(0, 3) | st.just(MIG)),
    ),
    max_size=4,
)


TEXTS: Final = st.text() | (ITEMS | st.lists(JSON, max_size=4) | JSON).map(json.dumps)


@given(TEXTS, st.lists(st.lists(st.sampled_from([A, B]))))
def test_any_text_names_instances_or_is_an_error(text: str, devices: list[list[str]]) -> None:
    """Whatever stands there, the answer is the same devices with instances from the text, or an AnnotationError."""
    entries = [entry(*uuids) for uuids in devices]
    try:
        allocations = decode(text)
        answer = named(entries, allocations)
    except AnnotationError:
        return
    assert [[device.uuid for device in each] for each in answer] == devices
    assert {device.instance for each in answer for device in each} <= {"", *(each.instance for each in allocations)}
