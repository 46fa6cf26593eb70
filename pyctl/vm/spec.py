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
    conduit: str = "hvc"
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

    def __post_init__(self) -> None:
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
