# SPDX-License-Identifier: GPL-2.0-only
"""The kinds of boards: how each comes from reset to its kernel (``pyctl.vm.plan.Recipe``)."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pyctl.cache import Entry, digest
from pyctl.errors import NotReady, UsageError
from pyctl.firmware.boot import GuestMap, boot_blob
from pyctl.vm.layout import (
    CONFIG_OFFSET,
    CXL_WINDOW_ADDR,
    DTB_OFFSET,
    FIRMWARE_SIZE,
    HIGH_TARGET_ADDR,
    INITRD_ADDR,
    KERNEL_ADDR,
    MIB,
    RAM_BASE,
    TARGET_SIZE,
)
from pyctl.vm.plan import BoardPlan, Parts, loaders
from pyctl.vm.roots import UEFI_IMAGE
from pyctl.vm.spec import CXL_WINDOW_MIB, MIN_MEMORY_MIB, Spec

_NVDIMM = "nvdimm/libnvdimm"
# For its namespaces of every mode.
_NAMESPACES = ("nvdimm/nd_btt", "nvdimm/nd_pmem", "dax/device_dax", "dax/dax_pmem")
# In the order in which they need each other.
_CXL = (
    *(_NVDIMM, "cxl/cxl_pmem", "dax/hmem/dax_hmem", "cxl/cxl_mem"),
    *("cxl/cxl_acpi", "cxl/cxl_pci", "dax/dax_cxl"),
)


@dataclass(frozen=True)
class DeviceTreeBoot:
    """The board whose kernel and device tree the host lays into memory."""

    spec: Spec
    machine: ClassVar[list[str]] = []
    leaves_copies: ClassVar[bool] = False

    @property
    def drivers(self) -> tuple[str, ...]:
        """For an NVDIMM that the device tree describes."""
        return (_NVDIMM, *_NAMESPACES, "nvdimm/of_pmem") if self.spec.nvdimm_mib else ()

    @property
    def target_addr(self) -> int:
        """The base address of the range that tests may aim at."""
        if self.spec.high_target:
            return HIGH_TARGET_ADDR
        return RAM_BASE + self.spec.memory_mib * MIB - TARGET_SIZE

    @property
    def firmware_addr(self) -> int:
        """The base address of what firmware keeps: the end of the low RAM, but for the target."""
        end = min(self.target_addr, RAM_BASE + self.spec.memory_mib * MIB)
        # Whole blocks of the stub's translation.
        return (end - FIRMWARE_SIZE) & ~(2 * MIB - 1)

    @property
    def ram_mib(self) -> int:
        """The size of the machine's RAM."""
        if self.spec.high_target:
            return (HIGH_TARGET_ADDR + TARGET_SIZE - RAM_BASE) // MIB
        return self.spec.memory_mib + self.spec.nvdimm_mib

    @property
    def persistent(self) -> range | None:
        """The NVDIMM's range, behind the memory that the kernel is told of."""
        if not self.spec.nvdimm_mib:
            return None
        start = RAM_BASE + self.spec.memory_mib * MIB
        return range(start, start + self.spec.nvdimm_mib * MIB)

    @property
    def key(self) -> str:
        """A key over the boot configuration."""
        return digest(self._blob())

    def _blob(self) -> bytes:
        """The boot configuration for the stub."""
        target = range(self.target_addr, self.target_addr + TARGET_SIZE)
        guest = GuestMap(KERNEL_ADDR, self.spec.memory_mib * MIB, target)
        return boot_blob(self.spec.firmware, self.spec.calls_by, guest)

    def arguments(self, plan: BoardPlan, parts: Parts, run_dir: Path) -> list[str]:
        """Write device tree and boot configuration; give what lays all into memory."""
        addr = INITRD_ADDR
        placed = [(parts.image, KERNEL_ADDR)]
        for path in parts.initrd:
            placed.append((path, addr))
            # Archives follow each other; the kernel skips zeros up to a word.
            addr += (path.stat().st_size + 511) & ~511
        if addr > self.firmware_addr:
            raise UsageError(
                f"--memory {self.spec.memory_mib} is too little: the guest's root does not fit.",
                f"Give at least {MIN_MEMORY_MIB} (MiB).",
            )
        _check_place(parts.image)
        # A restored board never needs the library behind it.
        from pyctl.vm import devicetree

        layout = devicetree.Layout(
            memory_bytes=self.spec.memory_mib * MIB,
            target_addr=self.target_addr,
            firmware_addr=self.firmware_addr,
            initrd_size=addr - INITRD_ADDR,
            conduit=self.spec.calls_by,
            bootargs=plan.bootargs(),
            persistent=self.persistent,
        )
        tree = run_dir / "board.dtb"
        made = plan.qemu.device_tree(plan.machine_arguments(), run_dir)
        tree.write_bytes(devicetree.patch(made, layout))
        config = run_dir / "firmware.cfg"
        config.write_bytes(self._blob())
        placed += [
            (tree, self.firmware_addr + DTB_OFFSET),
            (config, self.firmware_addr + CONFIG_OFFSET),
        ]
        return [*_stub(parts.stub, self.firmware_addr), *loaders(placed)]


@dataclass(frozen=True)
class UefiBoot:
    """The board with UEFI in its flash, which describes it to the kernel with ACPI.

    Nothing on it is made for tests. ``flash`` is the cache entry of UEFI's image.
    """

    spec: Spec
    flash: Entry
    # UEFI and the kernel's own stub hand the root on from one to the other.
    leaves_copies: ClassVar[bool] = True

    @property
    def machine(self) -> list[str]:
        """Firmware in the flash: with it QEMU makes devices that ACPI needs."""
        return ["-bios", str(self.flash.path / UEFI_IMAGE), *self._nvdimm(), *self._cxl()]

    def _nvdimm(self) -> Iterator[str]:
        """A slot for memory with an NVDIMM in it."""
        if size_mib := self.spec.nvdimm_mib:
            yield from ("-machine", "nvdimm=on")
            yield from ("-m", f"slots=1,maxmem={self.ram_mib + size_mib}M")
            yield from ("-object", f"memory-backend-ram,id=nvdimm,size={size_mib}M")
            yield from ("-device", "nvdimm,memdev=nvdimm")

    def _cxl(self) -> Iterator[str]:
        """A window for CXL memory, a host bridge, and in each root port a device of type 3."""
        if self.spec.cxl_mib:
            window = f"cxl-fmw.0.targets.0=cxl,cxl-fmw.0.size={CXL_WINDOW_MIB}M"
            yield from ("-machine", f"cxl=on,{window}")
            yield from ("-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl")
        for number, size_mib in enumerate(self.spec.cxl_mib):
            memory, port = f"cxl-memory-{number}", f"cxl-port-{number}"
            place = f"port={number},chassis=0,slot={number + 2}"
            yield from ("-object", f"memory-backend-ram,id={memory},size={size_mib}M")
            yield from ("-device", f"cxl-rp,bus=cxl,id={port},{place},romfile=")
            yield from ("-device", f"cxl-type3,bus={port},volatile-memdev={memory}")

    @property
    def drivers(self) -> tuple[str, ...]:
        """For an NVDIMM and CXL that ACPI describes."""
        nvdimm = (_NVDIMM, *_NAMESPACES, "acpi/nfit/nfit") if self.spec.nvdimm_mib else ()
        return tuple(dict.fromkeys((*nvdimm, *(_CXL if self.spec.cxl_mib else ()))))

    @property
    def ram_mib(self) -> int:
        """The size of the machine's RAM, firmware's part included."""
        return self.spec.memory_mib

    @property
    def firmware_addr(self) -> int:
        """The base address of what firmware keeps: the end of RAM."""
        return (RAM_BASE + self.ram_mib * MIB - FIRMWARE_SIZE) & ~(2 * MIB - 1)

    @property
    def key(self) -> str:
        """A key over the boot configuration and UEFI."""
        return digest(self._blob(), self.flash.key)

    def _blob(self) -> bytes:
        """The boot configuration for the stub: the guest begins in the flash."""
        cxl = range(CXL_WINDOW_ADDR, CXL_WINDOW_ADDR + sum(self.spec.cxl_mib) * MIB)
        guest = GuestMap(0, self.firmware_addr - RAM_BASE, cxl)
        return boot_blob(self.spec.firmware, self.spec.calls_by, guest)

    def arguments(self, plan: BoardPlan, parts: Parts, run_dir: Path) -> list[str]:
        """Write the memory's description, the boot configuration and the guest's root.

        UEFI takes kernel, root and command line from QEMU, and the size of memory from
        the device tree at the base of RAM, which the stub puts there. Firmware's memory
        is not in it, and so in nothing that UEFI tells the kernel.
        """
        # A restored board never needs the library behind it.
        from pyctl.vm import devicetree

        tree, config = run_dir / "board.dtb", run_dir / "firmware.cfg"
        initrd = run_dir / "initrd.cpio"
        made = plan.qemu.device_tree(plan.machine_arguments(), run_dir)
        tree.write_bytes(devicetree.with_memory(made, self.firmware_addr - RAM_BASE))
        config.write_bytes(self._blob())
        with initrd.open("wb") as whole:
            for path in parts.initrd:
                with path.open("rb") as part:
                    shutil.copyfileobj(part, whole)
                # Archives follow each other; the kernel skips zeros up to a word.
                whole.write(bytes(-whole.tell() % 4))
        return [
            *_stub(parts.stub, self.firmware_addr),
            *loaders(
                [
                    (tree, self.firmware_addr + DTB_OFFSET),
                    (config, self.firmware_addr + CONFIG_OFFSET),
                ]
            ),
            *("-kernel", str(parts.image), "-initrd", str(initrd), "-append", plan.bootargs()),
        ]


def _stub(path: Path, addr: int) -> list[str]:
    """The arguments that lay the stub into memory and let the first CPU begin there."""
    option, value = loaders([(path, addr)])
    return [option, f"{value},cpu-num=0"]


def _check_place(image: Path) -> None:
    """Raise NotReady where a kernel would grow into the guest's root, which lies above it."""
    with image.open("rb") as f:
        # struct arm64_image_header: Linux Documentation/arch/arm64/booting.rst.
        _code, _text_offset, image_size = struct.unpack("<8sQQ", f.read(24))
    if image_size > INITRD_ADDR - KERNEL_ADDR:
        raise NotReady(
            f"The kernel {image} needs {image_size >> 20} MiB, and a board has "
            f"{INITRD_ADDR - KERNEL_ADDR >> 20} MiB of memory for it.",
            "Configure a smaller kernel: debugging options are what makes it large.",
        )
