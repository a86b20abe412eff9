"""HAMi's device-config.yaml: the names of NVIDIA's resources and the factor, from whoever wrote it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.device_config import DeviceConfig, parse
from exporter.errors import DeviceConfigError
from exporter.hami.families import FAMILIES, NVIDIA

#: As HAMi's chart writes it, cut down.
CHART = """
nvidia:
  resourceCountName: nvidia.com/gpu
  resourceMemoryName: nvidia.com/gpumem
  resourceMemoryPercentageName: nvidia.com/gpumem-percentage
  resourceCoreName: nvidia.com/gpucores
  resourcePriorityName: nvidia.com/priority
  overwriteEnv: false
  memoryFactor: 1
  migProfileAllowlist:
  - models: [ "A30" ]
cambricon:
  resourceCountName: cambricon.com/vmlu
"""


def test_the_charts_own_file_gives_the_defaults() -> None:
    """What HAMi's chart writes by default changes no family."""
    assert parse(CHART).families() == FAMILIES


def test_a_flat_file_is_read_like_the_section() -> None:
    """The keys of the section may stand alone; what is empty says nothing."""
    assert parse("resourceCoreName: nvidia.com/cores\nresourceCountName:\nresourceMemoryName: ''\n") == DeviceConfig(
        cores="nvidia.com/cores"
    )


def test_names_and_factor_reach_everyone_who_writes_for_nvidia() -> None:
    """A name or a factor changes the families with NVIDIA's own names, and no other."""
    families = DeviceConfig(memory="nvidia.com/vram", memory_factor=1024).families()

    changed = {family.name: family for family, before in zip(families, FAMILIES, strict=True) if family != before}
    assert set(changed) == {"NVIDIA", "4pd"}
    assert changed["NVIDIA"].memory == "nvidia.com/vram"
    assert changed["NVIDIA"].count == NVIDIA.count
    assert changed["NVIDIA"].asked_memory_unit == 1024 * 2**20
    assert changed["NVIDIA"].memory_unit == 2**20


def test_one_wins_over_the_other_name_by_name() -> None:
    """What the first says counts, and for the rest the second."""
    first = DeviceConfig(memory="a/mem", memory_factor=2)
    second = DeviceConfig(count="b/gpu", memory="b/mem", memory_percentage="b/share", cores="b/cores", memory_factor=3)

    assert first.over(second) == DeviceConfig("b/gpu", "a/mem", "b/share", "b/cores", 2)


def test_factor_0_is_1() -> None:
    """HAMi multiplies by what is above 1 only."""
    assert parse("memoryFactor: 0").memory_factor == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "none of resourceCountName, resourceMemoryName"),
        ("[1]", "none of"),
        ("cambricon:\n  resourceCountName: cambricon.com/vmlu", "none of"),
        ("nvidia: [", "not YAML: "),
        ("nvidia: 5", "none of"),
        ("resourceCountName: gpu", "resourceCountName ('gpu') is not a resource's name"),
        ("resourceCountName: [nvidia.com/gpu]", "resourceCountName (a list or mapping) is not"),
        ("memoryFactor: -1", "memoryFactor ('-1') is not a whole number"),
        ("memoryFactor: 1.5", "memoryFactor ('1.5') is not a whole number"),
        ("memoryFactor: 2147483648", "of at most 2147483647"),
    ],
)
def test_what_says_nothing_is_refused_in_one_line(text: str, expected: str) -> None:
    """A text that says nothing of NVIDIA, or what cannot be, is refused with what is wrong."""
    with pytest.raises(DeviceConfigError) as caught:
        parse(text)

    assert expected in str(caught.value)
    assert str(caught.value).splitlines() == [str(caught.value)]


@given(st.text() | st.text("nvidia: resourceCountName\n-[]{}&*"))
def test_any_text_gives_names_or_a_sentence(text: str) -> None:
    """Whatever stands there, it is a configuration or DeviceConfigError."""
    try:
        assert isinstance(parse(text), DeviceConfig)
    except DeviceConfigError:
        return
