"""The table of families: keys, names and units of every row, and what a container asks of one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from exporter.hami.families import FAMILIES, NODE_FAMILIES, NVIDIA, Family
from exporter.model import Container

MIB: Final = 2**20
BY_NAME: Final = {family.name: family for family in FAMILIES}


def container(**asks: int | None) -> Container:
    """Return a container that asks for so much of NVIDIA's `gpu`, `gpumem`, `gpumem_percentage`, `gpucores`."""
    return Container("c", "app", asks={f"nvidia.com/{name.replace('_', '-')}": asks[name] for name in asks})


def test_every_family_of_hami_has_its_row() -> None:
    """Each family has an annotation of its own, beside the two other writers of NVIDIA's GPUs."""
    assert {name: family.allocated.removeprefix("hami.io/") for name, family in BY_NAME.items()} == {
        "NVIDIA": "vgpu-devices-allocated",
        "4pd": "4pd.io/vgpu-ids-new",
        "Volcano": "volcano.sh/vgpu-ids-new",
        "MLU": "cambricon-mlu-devices-allocated",
        "DCU": "dcu-devices-allocated",
        "MR-V100": "MR-V100-devices-allocated",
        "MR-V50": "MR-V50-devices-allocated",
        "BI-V150": "BI-V150-devices-allocated",
        "BI-V100": "BI-V100-devices-allocated",
        "Iluvatar": "iluvatar-vgpu-devices-allocated",
        "Ascend910A": "Ascend910A-devices-allocated",
        "Ascend910B2": "Ascend910B2-devices-allocated",
        "Ascend910B3": "Ascend910B3-devices-allocated",
        "Ascend910B4": "Ascend910B4-devices-allocated",
        "Ascend910B4-1": "Ascend910B4-1-devices-allocated",
        "Ascend310P": "Ascend310P-devices-allocated",
        "Ascend910C": "Ascend910C-devices-allocated",
        "Mthreads": "mthreads-vgpu-devices-allocated",
        "Metax-GPU": "metax-gpu-devices-allocated",
        "Metax-SGPU": "metax-sgpu-devices-allocated",
        "Enflame": "enflame-vgpu-devices-allocated",
        "GCU": "enflame-gcu-devices-allocated",
        "kunlun": "kunlun-allocated",
        "XPU": "xpu-devices-allocated",
        "AWSNeuron": "aws-neuron-devices-allocated",
        "AMD": "amd-devices-allocated",
        "Vastai": "Vastai-devices-allocated",
        "Biren": "Biren-devices-allocated",
    }


def test_no_two_families_are_taken_for_each_other() -> None:
    """Names and annotations are unique, and so is each resource, but for those that HAMi took over from itself."""
    assert len(BY_NAME) == len(FAMILIES) == len({family.allocated for family in FAMILIES})
    names = [
        name
        for family in FAMILIES
        if family.name != "4pd"
        for name in (family.count, family.memory, family.memory_percentage, family.cores)
        if name
    ]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("name", "memory", "cores"),
    [
        ("NVIDIA", MIB, 100),
        ("4pd", MIB, 100),
        ("Volcano", None, 100),
        ("MLU", MIB, 100),
        ("DCU", MIB, 100),
        ("BI-V150", MIB, 100),
        ("Iluvatar", MIB, 100),
        ("Ascend910B4-1", MIB, None),
        ("Mthreads", MIB, 16),
        ("Metax-GPU", MIB, 100),
        ("Metax-SGPU", MIB, 100),
        ("Enflame", None, None),
        ("GCU", None, 100),
        ("kunlun", MIB, None),
        ("XPU", MIB, None),
        ("AWSNeuron", None, None),
        ("AMD", MIB, None),
        ("Vastai", MIB, None),
        ("Biren", MIB, None),
    ],
)
def test_the_annotation_s_units(name: str, memory: int | None, cores: int | None) -> None:
    """Bytes of a unit of memory, and units of cores in a whole device; None where nobody knows, or it is neither."""
    assert (BY_NAME[name].memory_unit, BY_NAME[name].core_units) == (memory, cores)


@pytest.mark.parametrize(
    ("name", "resources", "memory", "cores"),
    [
        ("NVIDIA", "nvidia.com/gpu nvidia.com/gpumem nvidia.com/gpucores", MIB, 100),
        ("4pd", "nvidia.com/gpu nvidia.com/gpumem nvidia.com/gpucores", MIB, 100),
        ("Volcano", "volcano.sh/vgpu-number volcano.sh/vgpu-memory volcano.sh/vgpu-cores", None, 100),
        ("MLU", "cambricon.com/vmlu cambricon.com/mlu.smlu.vmemory cambricon.com/mlu.smlu.vcore", 256 * MIB, 100),
        ("DCU", "hygon.com/dcunum hygon.com/dcumem hygon.com/dcucores", MIB, 100),
        ("MR-V50", "iluvatar.ai/MR-V50-vgpu iluvatar.ai/MR-V50.vMem iluvatar.ai/MR-V50.vCore", 256 * MIB, 100),
        ("Ascend310P", "huawei.com/Ascend310P huawei.com/Ascend310P-memory huawei.com/Ascend310P-core", MIB, None),
        ("Mthreads", "mthreads.com/vgpu mthreads.com/sgpu-memory mthreads.com/sgpu-core", 512 * MIB, 16),
        ("Metax-SGPU", "metax-tech.com/sgpu metax-tech.com/vmemory metax-tech.com/vcore", 1024 * MIB, 100),
        ("Enflame", "enflame.com/drs-gcu enflame.com/gcu-memory enflame.com/gcu-core", None, None),
        ("AMD", "amd.com/gpu amd.com/gpumem amd.com/gpucores", MIB, 100),
    ],
)
def test_the_resources_units(name: str, resources: str, memory: int | None, cores: int | None) -> None:
    """What is asked for has the chart's default names, and units of its own."""
    family = BY_NAME[name]
    assert [family.count, family.memory, family.cores] == resources.split()
    assert (family.asked_memory_unit, family.asked_core_units) == (memory, cores)


def test_the_node_role_reads_nvidia_s_writers_only() -> None:
    """On a node with NVML the annotation is HAMi's, its old one, or Volcano's, each with its own node beside it."""
    assert [(family.name, family.node) for family in NODE_FAMILIES] == [
        ("NVIDIA", "hami.io/vgpu-node"),
        ("4pd", "4pd.io/vgpu-node"),
        ("Volcano", "volcano.sh/vgpu-node"),
    ]


@pytest.mark.parametrize(
    ("asks", "devices", "only_hami"),
    [
        (container(), 0, False),
        (container(gpu=2), 2, False),
        (container(gpu=2, gpumem=1000), 2, True),
        (container(gpumem=1000), 1, True),
        (container(gpumem_percentage=50), 1, True),
        (container(gpucores=None), 1, True),
        (container(gpu=0, gpumem=1000), 0, True),
        (container(gpu=None), 0, False),
        (container(gpu=-1), 0, False),
        (container(priority=1), 0, False),
    ],
)
def test_how_many_devices_are_asked_for(asks: Container, devices: int, only_hami: bool) -> None:  # noqa: FBT001 - a table
    """The count says it; without one, whatever else is asked for makes one, as HAMi's webhook does."""
    assert (NVIDIA.asked(asks), NVIDIA.only_hami(asks)) == (devices, only_hami)


@pytest.mark.parametrize(
    ("asks", "devices"),
    [({"neuron": 2}, 2), ({"neuroncore": 4}, 4), ({"neuron": 1, "neuroncore": 4}, 1), ({"neuroncore": None}, 0)],
)
def test_neuron_cores_lie_on_at_most_as_many_devices(asks: dict[str, int | None], devices: int) -> None:
    """AWS Neuron's cores can be asked for without a count, and may be on a device each."""
    named = {f"aws.amazon.com/{name}": amount for name, amount in asks.items()}
    assert BY_NAME["AWSNeuron"].asked(Container("c", "app", asks=named)) == devices


def test_names_and_factor_can_be_set() -> None:
    """HAMi's chart can rename NVIDIA's resources and make a unit of memory larger."""
    renamed = replace(NVIDIA, count="x.com/vgpu", asked_memory_unit=1024 * MIB)
    assert isinstance(renamed, Family)
    assert renamed.asked(Container("c", "app", asks={"x.com/vgpu": 3})) == 3
