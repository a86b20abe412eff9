"""Every family of accelerators that HAMi schedules: its annotation, its resources and its units, as a table.

From hami-contract.md: keys and units of the annotation 1.2 and 1.7, resource names 3.1 and 3.2 (the chart's defaults).
NVIDIA's GPUs have three writers: HAMi, HAMi before 2.3.9 (`4pd.io`), and Volcano's scheduler with its own plugin.

A unit is None where it is not known, or where the figure means something else: then there is no figure. Of cores that
is so for Ascend (AI cores, or percent, by mode), AMD (compute units), AWS Neuron (a bit mask) and Kunlun's vXPU (a
share of the memory); of memory for Volcano (its plugin's `gpu-memory-factor`, which no pod tells).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from exporter.model import Container

_MIB: Final = 2**20
#: Units of cores that are one whole device: percent, for most.
_PERCENT: Final = 100
#: The annotation with the node that HAMi chose, whatever the family; written together with the devices.
_NODE: Final = "hami.io/vgpu-node"


@dataclass(frozen=True, slots=True)
class Family:
    """One family, or one writer of NVIDIA's; `name` is HAMi's word where it has one, and unique.

    Annotations of a pod: `allocated` has the devices, written by the scheduler and never erased, `node` the node that
    was chosen for them. Resources: `count` of devices; `memory`, `memory_percentage` and `cores` of each of them (Moore
    Threads: of all together); "" where there is none.

    `memory_unit`: bytes of one unit of memory in the annotation; `core_units`: how many units of cores there are one
    whole device. `asked_memory_unit` and `asked_core_units` are the same of the resources; HAMi's chart can set
    NVIDIA's names and its `memoryFactor`: `replace(NVIDIA, count=…, asked_memory_unit=factor * 2**20)`.

    `templates`: memory is rounded up to the next slice that the device can be cut into, so more than asked is right.
    `cores_count`: cores can be asked for without a count, and then lie on at most as many devices.
    """

    name: str
    allocated: str
    count: str
    memory: str = ""
    memory_percentage: str = ""
    cores: str = ""
    memory_unit: int | None = _MIB
    core_units: int | None = None
    asked_memory_unit: int | None = None
    asked_core_units: int | None = None
    node: str = _NODE
    templates: bool = False
    cores_count: bool = False

    def only_hami(self, container: Container) -> bool:
        """Tell whether it asks for what the vendor's own device plugin does not know."""
        return any(container.asks.get(name, 0) != 0 for name in (self.memory, self.memory_percentage, self.cores))

    def asked(self, container: Container) -> int:
        """Return how many devices HAMi has to find for the container, at most; 0 if none.

        Without a count but with another of the names it is one, as HAMi's webhook makes it (`defaultGPUNum`). A count
        that is no whole number is none: HAMi reads it so, and the API server would not have admitted it.
        """
        if self.count in container.asks:
            return max(container.asks[self.count] or 0, 0)
        if self.cores_count:
            return max(container.asks.get(self.cores, 0) or 0, 0)
        return int(self.only_hami(container))


NVIDIA: Final = Family(
    name="NVIDIA",
    allocated="hami.io/vgpu-devices-allocated",
    count="nvidia.com/gpu",
    memory="nvidia.com/gpumem",
    memory_percentage="nvidia.com/gpumem-percentage",
    cores="nvidia.com/gpucores",
    core_units=_PERCENT,
    asked_memory_unit=_MIB,
    asked_core_units=_PERCENT,
)
#: HAMi 2.2 to 2.3.4, by another name; its resources are the same.
_4PD: Final = replace(NVIDIA, name="4pd", allocated="4pd.io/vgpu-ids-new", node="4pd.io/vgpu-node")
_VOLCANO: Final = Family(
    name="Volcano",
    allocated="volcano.sh/vgpu-ids-new",
    count="volcano.sh/vgpu-number",
    memory="volcano.sh/vgpu-memory",
    memory_percentage="volcano.sh/vgpu-memory-percentage",
    cores="volcano.sh/vgpu-cores",
    memory_unit=None,
    core_units=_PERCENT,
    asked_core_units=_PERCENT,
    node="volcano.sh/vgpu-node",
)


def _iluvatar(chip: str) -> Family:
    """Return the family of one of Iluvatar's chips, as since 2.7.1."""
    return Family(
        name=chip,
        allocated=f"hami.io/{chip}-devices-allocated",
        count=f"iluvatar.ai/{chip}-vgpu",
        memory=f"iluvatar.ai/{chip}.vMem",
        cores=f"iluvatar.ai/{chip}.vCore",
        core_units=_PERCENT,
        asked_memory_unit=256 * _MIB,
        asked_core_units=_PERCENT,
    )


def _ascend(word: str) -> Family:
    """Return the family of one of Ascend's chips, by HAMi's `commonWord`."""
    return Family(
        name=word,
        allocated=f"hami.io/{word}-devices-allocated",
        count=f"huawei.com/{word}",
        memory=f"huawei.com/{word}-memory",
        cores=f"huawei.com/{word}-core",
        asked_memory_unit=_MIB,
        templates=True,
    )


#: Every family of HAMi 2.2 to 2.10.0; of several that an annotation and a request fit, the first applies.
FAMILIES: Final = (
    NVIDIA,
    _4PD,
    _VOLCANO,
    Family(
        name="MLU",
        allocated="hami.io/cambricon-mlu-devices-allocated",
        count="cambricon.com/vmlu",
        memory="cambricon.com/mlu.smlu.vmemory",
        cores="cambricon.com/mlu.smlu.vcore",
        core_units=_PERCENT,
        asked_memory_unit=256 * _MIB,
        asked_core_units=_PERCENT,
    ),
    Family(
        name="DCU",
        allocated="hami.io/dcu-devices-allocated",
        count="hygon.com/dcunum",
        memory="hygon.com/dcumem",
        cores="hygon.com/dcucores",
        core_units=_PERCENT,
        asked_memory_unit=_MIB,
        asked_core_units=_PERCENT,
    ),
    *(_iluvatar(chip) for chip in ("MR-V100", "MR-V50", "BI-V150", "BI-V100")),
    Family(  # up to 2.7.0
        name="Iluvatar",
        allocated="hami.io/iluvatar-vgpu-devices-allocated",
        count="iluvatar.ai/vgpu",
        memory="iluvatar.ai/vcuda-memory",
        cores="iluvatar.ai/vcuda-core",
        core_units=_PERCENT,
        asked_memory_unit=256 * _MIB,
        asked_core_units=_PERCENT,
    ),
    *(_ascend(f"Ascend{chip}") for chip in ("910A", "910B2", "910B3", "910B4", "910B4-1", "310P", "910C")),
    Family(
        name="Mthreads",
        allocated="hami.io/mthreads-vgpu-devices-allocated",
        count="mthreads.com/vgpu",
        memory="mthreads.com/sgpu-memory",
        cores="mthreads.com/sgpu-core",
        core_units=16,
        asked_memory_unit=512 * _MIB,
        asked_core_units=16,
    ),
    Family(
        name="Metax-GPU",
        allocated="hami.io/metax-gpu-devices-allocated",
        count="metax-tech.com/gpu",
        core_units=_PERCENT,
    ),
    Family(
        name="Metax-SGPU",
        allocated="hami.io/metax-sgpu-devices-allocated",
        count="metax-tech.com/sgpu",
        memory="metax-tech.com/vmemory",
        cores="metax-tech.com/vcore",
        core_units=_PERCENT,
        asked_memory_unit=1024 * _MIB,  # of a quantity without a suffix
        asked_core_units=_PERCENT,
    ),
    Family(
        name="Enflame",
        allocated="hami.io/enflame-vgpu-devices-allocated",
        count="enflame.com/drs-gcu",
        memory="enflame.com/gcu-memory",
        cores="enflame.com/gcu-core",
        memory_unit=None,
    ),
    Family(
        name="GCU",
        allocated="hami.io/enflame-gcu-devices-allocated",
        count="enflame.com/gcu",
        memory_unit=None,  # 100 is a whole one, of whatever size
        core_units=_PERCENT,
    ),
    Family(
        name="kunlun",
        allocated="hami.io/kunlun-allocated",
        count="kunlunxin.com/xpu",
    ),
    Family(
        name="XPU",
        allocated="hami.io/xpu-devices-allocated",
        count="kunlunxin.com/vxpu",
        memory="kunlunxin.com/vxpu-memory",
        asked_memory_unit=_MIB,
    ),
    Family(
        name="AWSNeuron",
        allocated="hami.io/aws-neuron-devices-allocated",
        count="aws.amazon.com/neuron",
        cores="aws.amazon.com/neuroncore",
        memory_unit=None,
        cores_count=True,
    ),
    Family(
        name="AMD",
        allocated="hami.io/amd-devices-allocated",
        count="amd.com/gpu",
        memory="amd.com/gpumem",
        cores="amd.com/gpucores",
        asked_memory_unit=_MIB,
        asked_core_units=_PERCENT,
    ),
    Family(
        name="Vastai",
        allocated="hami.io/Vastai-devices-allocated",
        count="vastaitech.com/va",
    ),
    Family(
        name="Biren",
        allocated="hami.io/Biren-devices-allocated",
        count="birentech.com/gpu",
    ),
)
#: The writers whose devices NVML knows: all that the node role reads.
NODE_FAMILIES: Final = (NVIDIA, _4PD, _VOLCANO)
