# SPDX-License-Identifier: GPL-2.0-only
"""What a machine is refused for before QEMU starts."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, cast

import pytest

from pyctl.cache import Cache, Entry
from pyctl.errors import NotReady, UsageError
from pyctl.vm.build import Builder
from pyctl.vm.kernel import Kernel
from pyctl.vm.layout import INITRD_ADDR, KERNEL_ADDR
from pyctl.vm.plan import BoardPlan, Parts
from pyctl.vm.recipes import DeviceTreeBoot, UefiBoot
from pyctl.vm.roots import Roots
from pyctl.vm.spec import Spec


@pytest.mark.parametrize("too_much", [1, 1 << 30])
def test_a_kernel_that_would_grow_into_the_root_is_refused(tmp_path: Path, too_much: int) -> None:
    image = tmp_path / "Image"
    image.write_bytes(struct.pack("<8sQQ", b"", 0, INITRD_ADDR - KERNEL_ADDR + too_much))
    with pytest.raises(NotReady, match=r"The kernel .*Image needs \d+ MiB"):
        DeviceTreeBoot(Spec()).arguments(cast(BoardPlan, None), Parts(image, image, ()), tmp_path)


def test_an_nvdimm_lies_behind_the_memory_that_the_kernel_is_told_of() -> None:
    boot = DeviceTreeBoot(Spec(memory_mib=512, nvdimm_mib=64))
    assert boot.persistent == range(0x6000_0000, 0x6400_0000)
    assert boot.ram_mib == 576
    assert boot.target_addr == DeviceTreeBoot(Spec()).target_addr


def test_what_both_kinds_of_memory_need_is_loaded_once() -> None:
    boot = UefiBoot(Spec(boot="uefi", nvdimm_mib=64, cxl_mib=(256,)), Entry("uefi", "x", Path("x")))
    assert boot.drivers[0] == "nvdimm/libnvdimm"
    assert boot.drivers.index("acpi/nfit/nfit") < boot.drivers.index("cxl/cxl_pmem")
    assert len(set(boot.drivers)) == len(boot.drivers)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ({"nvdimm_mib": 24}, "--nvdimm 24M"),
        ({"nvdimm_mib": 64, "high_target": True}, "not both"),
        ({"cxl_mib": (256,)}, "no CXL"),
        ({"cxl_mib": (100,), "boot": "uefi"}, "--cxl 100M"),
        ({"cxl_mib": (0,), "boot": "uefi"}, "--cxl 0M"),
        ({"cxl_mib": (512, 768), "boot": "uefi"}, "1280M have no room"),
    ],
)
def test_hardware_that_cannot_be_is_refused(choice: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Spec(**choice)


def test_a_kernel_of_ones_own_has_no_drivers_for_hardware(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    kernel = Kernel("x/Image", "9.9", "key", Path("Image"), tmp_path, None, {})
    with pytest.raises(NotReady, match="only Debian's kernels"):
        Builder(cache, Roots(cache)).agent(kernel, ("nvdimm/of_pmem",))
