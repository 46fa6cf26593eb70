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
    append: str = ""
    # Whether the range that tests may aim at lies above 4 GiB instead of at the end of RAM.
    high_target: bool = False
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
