"""HAMi's device annotations on a pod: their grammar, and which container an entry is for.

Every family has one, under a key of its own (`families.py`), and the text is the same from 2.3.11 to 2.10.0:

    value   = *( entry ";" )                       an entry per container, or nearly so: see `place`
    entry   = *( device ":" )                      empty for a container without a device
    device  = UUID "," family "," memory "," cores

HAMi up to 2.3.4 and Volcano leave out the last ";". UUIDs are NVML's for NVIDIA; other families have some that HAMi
makes up (`<node>-cambricon-mlu-0`). The second field is HAMi's word for the family (AMD's is the product's name), but
nothing rests on it: the key says the family. Dropping an entry for an odd word would shift all that follow it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from exporter.errors import AnnotationError, shorten
from exporter.model import GrantedDevice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.model import Container

#: Characters and devices of one annotation; an honest one needs a hundredth of it.
MAX_TEXT: Final = 64 * 1024
MAX_DEVICES: Final = 1024
_FIELDS: Final = 4
_INT32_MAX: Final = 2**31 - 1
_DIGITS: Final = len(str(_INT32_MAX))

#: The devices of one container, in HAMi's order.
Entry: TypeAlias = tuple[GrantedDevice, ...]


def decode(text: str) -> tuple[Entry, ...]:
    """Return the annotation's entries in order, empty ones included, without the one behind the last `;`.

    HAMi writes an empty slot as nothing or as `,,0,0:` (#991): both are empty here. A MIG slot behind the UUID
    (`GPU-…[1-0]`, 2.5.0 to 2.9.0) is cut off. As in HAMi's decoder, pieces without a comma and fields beyond the
    fourth are ignored; unlike before 2.9.0, a number that is none is an error and not 0.

    Raises AnnotationError with the offending piece, shortened.
    """
    if len(text) > MAX_TEXT:
        raise AnnotationError(f"device annotation of {len(text)} characters, {MAX_TEXT} are allowed: {shorten(text)}")
    if text.count(",") > MAX_DEVICES and _devices(text) > MAX_DEVICES:
        raise AnnotationError(f"device annotation with more than {MAX_DEVICES} devices: {shorten(text)}")
    entries = text.split(";")
    if not entries[-1]:
        entries.pop()
    return tuple(map(_entry, entries))


def place(entries: Sequence[Entry], asking: Sequence[Container]) -> Mapping[str, Entry] | None:
    """Return container name → entry, or None where the entries fit no reading of the pod ("unplaced").

    `asking` are the containers that ask for vGPUs, finished ones included, in the pod's order (init containers and
    native sidecars, then app containers). Only they can get an entry, whatever the text says: ephemeral containers and
    those that ask for nothing never do.

    The entries that are not empty follow the order of the containers that ask, in every release: 2.9.0 and later write
    one for each, 2.3.11 to 2.8.3 one for each app container. (A pod without GPU init containers reads the same both
    ways; one with some has fewer app containers than askers, so the two readings never compete.) An asker without an
    entry, an init container before 2.9.0, is absent from the answer. No reading, so None: an asker that was left out,
    more entries than askers, and several containers in one entry (2.3.9, 2.3.10).

    Positions decide nothing and veto nothing. They count init containers or not (2.8, 2.9), skip containers without a
    GPU (2.10.0, #2899), or are plainly wrong: the only GPU at position 0 while the second of five containers asks
    (#991).
    """
    given = [entry for entry in entries if entry]
    everyone = [container for container in asking if container.kind != "ephemeral"]
    apps = [container for container in everyone if container.kind == "app"]
    for askers in (everyone, apps):
        if len(given) == len(askers):
            return {container.name: entry for container, entry in zip(askers, given, strict=True)}
    return None


def _devices(text: str) -> int:
    return sum("," in piece for piece in text.replace(";", ":").split(":"))


def _entry(text: str) -> Entry:
    devices = [_device(piece) for piece in text.split(":") if "," in piece]
    return tuple([device for device in devices if device.uuid])


def _device(piece: str) -> GrantedDevice:
    fields = piece.split(",")
    if len(fields) < _FIELDS:
        raise AnnotationError(f"device with fewer than {_FIELDS} fields: {shorten(piece)}")
    uuid, family, memory, cores = fields[:_FIELDS]
    return GrantedDevice(uuid.partition("[")[0], family, _int32(memory, piece), _int32(cores, piece))


def _int32(text: str, piece: str) -> int:
    """Read digits and nothing else: `int` would take blanks, underscores, other alphabets' digits and any length."""
    if len(text) <= _DIGITS and text.isascii() and text.isdigit() and (number := int(text)) <= _INT32_MAX:
        return number
    raise AnnotationError(f"{shorten(text)} is no number from 0 to {_INT32_MAX}: {shorten(piece)}")
