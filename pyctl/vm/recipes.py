# SPDX-License-Identifier: GPL-2.0-only
"""The kinds of boards: how each comes from reset to its kernel (``pyctl.vm.plan.Recipe``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pyctl.errors import UsageError
from pyctl.firmware.boot import boot_blob
from pyctl.vm.layout import (
    CONFIG_ADDR,
    DTB_ADDR,
    HIGH_TARGET_ADDR,
    INITRD_ADDR,
    KERNEL_ADDR,
    MIB,
    RAM_BASE,
    TARGET_SIZE,
)
from pyctl.vm.plan import Parts, Plan, loaders
from pyctl.vm.spec import MIN_MEMORY_MIB, Spec


@dataclass(frozen=True)
class DeviceTreeBoot:
    """The board whose kernel and device tree the host lays into memory."""

    spec: Spec

    @property
    def target_addr(self) -> int:
        """The base address of the range that tests may aim at."""
        if self.spec.high_target:
            return HIGH_TARGET_ADDR
        return RAM_BASE + self.spec.memory_mib * MIB - TARGET_SIZE

    @property
    def ram_mib(self) -> int:
        """The size of the machine's RAM."""
        if self.spec.high_target:
            return (HIGH_TARGET_ADDR + TARGET_SIZE - RAM_BASE) // MIB
        return self.spec.memory_mib

    @property
    def blob(self) -> bytes:
        """The boot configuration for the stub."""
        target = range(self.target_addr, self.target_addr + TARGET_SIZE)
        return boot_blob(self.spec.firmware, self.spec.conduit, target)

    def arguments(self, plan: Plan, parts: Parts, run_dir: Path) -> list[str]:
        """Write device tree and boot configuration; give what lays all into memory."""
        addr = INITRD_ADDR
        placed = [(parts.image, KERNEL_ADDR)]
        for path in parts.initrd:
            placed.append((path, addr))
            # Archives follow each other; the kernel skips zeros up to a word.
            addr += (path.stat().st_size + 511) & ~511
        if addr > self.target_addr:
            raise UsageError(
                f"--memory {self.spec.memory_mib} is too little: the guest's root does not fit.",
                f"Give at least {MIN_MEMORY_MIB} (MiB).",
            )
        # A restored board never needs the library behind it.
        from pyctl.vm import devicetree

        layout = devicetree.Layout(
            memory_bytes=self.spec.memory_mib * MIB,
            target_addr=self.target_addr,
            initrd_size=addr - INITRD_ADDR,
            conduit=self.spec.conduit,
            bootargs=plan.bootargs(),
        )
        tree = run_dir / "board.dtb"
        made = plan.qemu.device_tree(plan.machine_arguments(), run_dir)
        tree.write_bytes(devicetree.patch(made, layout))
        config = run_dir / "firmware.cfg"
        config.write_bytes(self.blob)
        placed += [(tree, DTB_ADDR), (config, CONFIG_ADDR)]
        return ["-kernel", str(parts.stub), *loaders(placed)]
