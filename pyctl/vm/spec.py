# SPDX-License-Identifier: GPL-2.0-only
"""What a user can choose about a board."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyctl.errors import UsageError
from pyctl.firmware.settings import Setting

QEMU = "qemu-system-aarch64"
DEFAULT_CPU = "neoverse-n1"
MIN_MEMORY_MIB = 320
MAX_CPUS = 64
# The kernel lays namespaces out in such steps (memremap_compat_align() on arm64).
NVDIMM_UNIT_MIB = 16
# CXL_CAPACITY_MULTIPLIER of the specification, and the window for all devices.
CXL_UNIT_MIB = 256
CXL_WINDOW_MIB = 1024


@dataclass(frozen=True)
class Spec:
    """What a user can choose about a board; ``pyctl.vm.plan`` says what it comes to.

    Raises UsageError where no board can be like that.
    """

    kernel: str | None = None
    kdir: Path | None = None
    # What hands the machine to the kernel: "dt", the host with a device tree, or "uefi".
    boot: str = "dt"
    # Empty: the one that is usual for such a board.
    conduit: str = ""
    cpus: int = 2
    memory_mib: int = 512
    cpu: str = DEFAULT_CPU
    accel: str = "auto"
    qemu: str = QEMU
    firmware: tuple[Setting, ...] = ()
    # Another source of the stub, in place of the project's own.
    stub: Path | None = None
    append: str = ""
    # Whether the range that tests may aim at lies above 4 GiB instead of at the end of RAM.
    high_target: bool = False
    # An NVDIMM of this size, 0 for none.
    nvdimm_mib: int = 0
    # CXL memory devices of these sizes, each in a port of one host bridge.
    cxl_mib: tuple[int, ...] = ()
    # Whether a ready board has the modules loaded.
    load: bool = True
    # Whether it has the target tests collected.
    tests: bool = False

    @property
    def calls_by(self) -> str:
        """The conduit by which the guest calls firmware."""
        return self.conduit or ("smc" if self.boot == "uefi" else "hvc")

    def __post_init__(self) -> None:
        if self.boot == "uefi" and self.conduit not in ("", "smc"):
            raise UsageError(
                f"--conduit {self.conduit} is not possible with --boot uefi: ACPI's tables, which "
                "QEMU makes, say smc.",
                "Leave --conduit out, or boot with a device tree (--boot dt).",
            )
        if self.boot == "uefi" and self.high_target:
            raise UsageError("A board with UEFI has no range that tests may aim at, high or low.")
        if self.high_target and self.nvdimm_mib:
            raise UsageError(
                "A board has an NVDIMM or a high range that tests may aim at, not both."
            )
        if self.nvdimm_mib < 0 or self.nvdimm_mib % NVDIMM_UNIT_MIB:
            raise UsageError(
                f"--nvdimm {self.nvdimm_mib}M is no size of an NVDIMM.",
                f"Give a multiple of {NVDIMM_UNIT_MIB}M.",
            )
        if self.cxl_mib and self.boot != "uefi":
            raise UsageError(
                "A board with a device tree has no CXL: the kernel finds it in ACPI's tables.",
                "Add --boot uefi.",
            )
        for size_mib in self.cxl_mib:
            if size_mib <= 0 or size_mib % CXL_UNIT_MIB:
                raise UsageError(
                    f"--cxl {size_mib}M is no size of a CXL memory device.",
                    f"Give a multiple of {CXL_UNIT_MIB}M.",
                )
        if sum(self.cxl_mib) > CXL_WINDOW_MIB:
            raise UsageError(
                f"CXL memory devices of {sum(self.cxl_mib)}M have no room on the board.",
                f"Give up to {CXL_WINDOW_MIB}M in all.",
            )
        if not 1 <= self.cpus <= MAX_CPUS:
            raise UsageError(
                f"--cpus {self.cpus} is no number of CPUs of a board.",
                f"Give a number from 1 to {MAX_CPUS}.",
            )
        if self.memory_mib < MIN_MEMORY_MIB:
            raise UsageError(
                f"--memory {self.memory_mib} is too little for a board.",
                f"Give at least {MIN_MEMORY_MIB} (MiB).",
            )
