"""What HAMi registered of a node's GPUs: the annotation of each release, and Volcano's (hami-contract.md 2.1, 2.2).

    4pd.io/node-nvidia-register
      up to 2.3.4       device = id "," count "," devmem "," devcore "," type "," health ":"
    hami.io/node-nvidia-register
      2.3.9 to 2.4.1    … type "," numa "," health ":"
      2.5.0 to 2.7.1    … type "," numa "," health "," index "," mode ":"
      2.8.0 to 2.10.0   JSON array of objects with these names, each `omitempty`: a missing one is 0, "" or false
    volcano.sh/node-vgpu-register
      before modes      device = id "," count "," devmem "," type "," health ":"
      since             … health "," mode ":"

The form is told from the text, not from the key: the two of six fields differ in which field is `true` or `false`.
It is what the plugin promises the scheduler, not the GPU: `devmem` is MiB after scaling, so twice the card is right.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, NoReturn, TypeVar, cast, get_args

from exporter.errors import AnnotationError, shorten

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from exporter.model import SourceStatus

#: HAMi's annotation on a Node, its name up to 2.3.4, and Volcano's.
HAMI: Final = "hami.io/node-nvidia-register"
FOURPD: Final = "4pd.io/node-nvidia-register"
VOLCANO: Final = "volcano.sh/node-vgpu-register"
#: All of them; the first that is there is believed.
KEYS: Final = (HAMI, FOURPD, VOLCANO)
#: Characters and devices of one annotation; an honest one needs a third of the first, a hundredth of the second.
MAX_TEXT: Final = 64 * 1024
MAX_DEVICES: Final = 1024

Value = TypeVar("Value", int, str, bool)

#: How a GPU is shared: HAMi's words, "" where the annotation does not say, or says none of them.
Mode = Literal["hami-core", "mig", "mps", ""]

_MIB: Final = 2**20
_INT32_MAX: Final = 2**31 - 1
_UUID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,95}")
_HEALTH: Final = {"true": True, "false": False}
_ALL_CORES: Final = 100


@dataclass(frozen=True, slots=True)
class RegisteredDevice:
    """One GPU as its device plugin registered it with the scheduler.

    `slots`: containers that may share it. `memory`: bytes that may be granted, after scaling. `cores`: ratio of the
    GPU that may be granted, above 1 if scaled. `index`: NVML's, None where the form has none. `writer` "volcano":
    `memory` takes the plugin's `gpu-memory-factor` to be 1, its default; that plugin registers MiB ÷ factor and
    nowhere says the factor, but never scales: its true figure is what NVML has.
    """

    uuid: str
    slots: int
    memory: int
    cores: float
    mode: Mode
    healthy: bool
    index: int | None = None
    writer: Literal["hami", "volcano"] = "hami"

    def memory_factor(self, physical: int | None) -> int | None:
        """Return how many MiB a unit of this plugin's memory figures is; `physical` are the card's bytes.

        HAMi's is 1. Volcano's is the whole number by which the card's MiB were divided, None where there is none.
        """
        if self.writer == "hami":
            return 1
        units = self.memory // _MIB
        if physical is None or not 0 < units <= physical // _MIB:
            return None
        factor = round(physical / _MIB / units)
        return factor if physical // _MIB // factor == units else None


@dataclass(frozen=True, slots=True)
class NodeState:
    """What the own Node says; `devices` is None if it is not known (yet, or any more), () if nothing is registered.

    `status` is None where no API server is asked.
    """

    devices: tuple[RegisteredDevice, ...] | None
    status: SourceStatus | None


def decode(text: str) -> tuple[RegisteredDevice, ...]:
    """Return the devices in the annotation's order; "" and `null`, a Go list with nothing in it, are none.

    The same device written twice is returned once; one UUID with two readings is an error, as is a form, number, truth
    value or UUID that no release writes. An unknown mode is "": HAMi may learn one. Forms without a mode are from
    before there was a choice: `hami-core`, as HAMi's own decoder says.

    Raises AnnotationError with the offending piece, shortened.
    """
    if len(text) > MAX_TEXT:
        raise AnnotationError(f"node annotation of {len(text)} characters, {MAX_TEXT} are allowed: {shorten(text)}")
    if text.lstrip()[:1] == "[" or text.strip() == "null":
        return _once(_from_json(item) for item in _items(text))
    pieces = text.split(":")
    if len(pieces) > MAX_DEVICES + 1:
        raise AnnotationError(f"node annotation with more than {MAX_DEVICES} devices: {shorten(text)}")
    return _once(_from_fields(piece) for piece in pieces if piece)


def choose(annotations: Mapping[str, str]) -> str | None:
    """Return the key of the annotation to go by, None if there is none.

    HAMi's goes before its old one, and that before Volcano's. Two schedulers cannot share one node, and which of the
    plugins is gone nothing on the Node says reliably; so one of them is believed whole, and never a mixture.
    """
    return next((key for key in KEYS if key in annotations), None)


def _once(devices: Iterable[RegisteredDevice]) -> tuple[RegisteredDevice, ...]:
    found: dict[str, RegisteredDevice] = {}
    for device in devices:
        if found.setdefault(device.uuid, device) != device:
            raise AnnotationError(f"two different registrations of {shorten(device.uuid)}")
    return tuple(found.values())


# ---------------------------------------------------------------- colon forms


def _from_fields(piece: str) -> RegisteredDevice:
    """Read one device of a colon form; the number of its fields, and where its health is, tell which one."""
    match piece.split(","):
        case [uuid, count, memory, cores, _type, health] if health in _HEALTH:
            return _hami(piece, uuid, (count, memory, cores), health)
        case [uuid, count, memory, cores, _type, _numa, health]:
            return _hami(piece, uuid, (count, memory, cores), health)
        case [uuid, count, memory, cores, _type, _numa, health, index, mode]:
            return _hami(piece, uuid, (count, memory, cores), health, (index, mode))
        case [uuid, count, memory, _type, health]:
            return _volcano(piece, uuid, (count, memory), health, "hami-core")
        case [uuid, count, memory, _type, health, mode]:
            return _volcano(piece, uuid, (count, memory), health, mode)
        case fields:
            raise AnnotationError(f"device with {len(fields)} fields, no release writes so many: {shorten(piece)}")


def _hami(
    piece: str, uuid: str, numbers: tuple[str, str, str], health: str, place: tuple[str, str] | None = None
) -> RegisteredDevice:
    slots, memory, cores = (_digits(number, piece) for number in numbers)
    index, mode = (_digits(place[0], piece), _mode(place[1])) if place else (None, _mode("hami-core"))
    return RegisteredDevice(
        _uuid(uuid, piece), slots, memory * _MIB, cores / _ALL_CORES, mode, _truth(health, piece), index
    )


def _volcano(piece: str, uuid: str, numbers: tuple[str, str], health: str, mode: str) -> RegisteredDevice:
    """Volcano registers no cores: its scheduler grants up to 100 percent of each GPU."""
    slots, memory = (_digits(number, piece) for number in numbers)
    return RegisteredDevice(
        _uuid(uuid, piece), slots, memory * _MIB, 1.0, _mode(mode), _truth(health, piece), writer="volcano"
    )


def _digits(text: str, piece: str) -> int:
    """Read digits and nothing else: `int` would take blanks, underscores, other alphabets' digits and any length."""
    if text.isascii() and text.isdigit() and len(text) <= len(str(_INT32_MAX)) and int(text) <= _INT32_MAX:
        return int(text)
    raise AnnotationError(f"{shorten(text)} is no number from 0 to {_INT32_MAX}: {shorten(piece)}")


def _truth(text: str, piece: str) -> bool:
    if text not in _HEALTH:
        raise AnnotationError(f"{shorten(text)} is neither true nor false: {shorten(piece)}")
    return _HEALTH[text]


# ---------------------------------------------------------------- JSON


def _items(text: str) -> list[object]:
    """Return the array's items; what JSON does not know (NaN), or nobody reads (nesting without end), is an error."""
    try:
        items = json.loads(text, parse_constant=_refuse) or []
    except (ValueError, RecursionError) as error:
        raise AnnotationError(f"no JSON ({shorten(str(error))}): {shorten(text)}") from error
    if len(items) > MAX_DEVICES:
        raise AnnotationError(f"node annotation with more than {MAX_DEVICES} devices: {shorten(text)}")
    return cast("list[object]", items)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _from_json(raw: object) -> RegisteredDevice:
    """Read one object; Go's `omitempty` leaves out what is 0, "" or false, and fields that we do not know may stand."""
    if not isinstance(raw, dict):
        raise AnnotationError(f"a device is {_shown(raw)}, no object")
    uuid = _field(raw, "id", "")
    return RegisteredDevice(
        uuid=_uuid(uuid, uuid),
        slots=_number(raw, "count"),
        memory=_number(raw, "devmem") * _MIB,
        cores=_number(raw, "devcore") / _ALL_CORES,
        mode=_mode(_field(raw, "mode", "")),
        healthy=_field(raw, "health", False),  # noqa: FBT003 - what its absence means
        index=_number(raw, "index"),
    )


def _number(raw: Mapping[str, object], name: str) -> int:
    number = _field(raw, name, 0)
    if not 0 <= number <= _INT32_MAX:
        raise AnnotationError(f"{name} is {_shown(number)}, no number from 0 to {_INT32_MAX}")
    return number


def _field(raw: Mapping[str, object], name: str, absent: Value) -> Value:
    """Return the field, `absent` where it is missing or null; a value of another type than `absent` is an error."""
    value = raw.get(name)
    if value is None:
        return absent
    if type(value) is not type(absent):
        raise AnnotationError(f"{name} is {_shown(value)}, no {type(absent).__name__}")
    return value


def _shown(value: object) -> str:
    """Return a plain value, shortened; of one with something inside only the type: it may be nested without end."""
    return shorten(str(value)) if isinstance(value, str | int | float) else f"a {type(value).__name__}"


# ---------------------------------------------------------------- both


def _uuid(text: str, piece: str) -> str:
    """Hold a UUID, which may become a label, to the characters and length that NVML's have."""
    if not _UUID.fullmatch(text):
        raise AnnotationError(f"{shorten(text)} is no device UUID: {shorten(piece)}")
    return text


def _mode(text: str) -> Mode:
    return cast("Mode", text) if text in get_args(Mode) else ""
