# SPDX-License-Identifier: GPL-2.0-only
"""The board's memory map, as the stub has it in ``stub/layout.h``."""

from __future__ import annotations

MIB = 1024 * 1024
RAM_BASE = 0x4000_0000
# The block that firmware keeps: the stub at its base, and at these offsets what the
# host lays there for it. Given with -dtb, QEMU would replace the PSCI node and with it
# our conduit; so the stub puts our tree in the place of QEMU's, at the base of RAM.
FIRMWARE_SIZE = 16 * MIB
CONFIG_OFFSET = 0x1F_0000
DTB_OFFSET = 0x20_0000
KERNEL_ADDR = RAM_BASE + 4 * MIB
INITRD_ADDR = RAM_BASE + 128 * MIB
# The range that tests may aim at: reserved, and marked by its compatible string.
TARGET_SIZE = 16 * MIB
TARGET_COMPATIBLE = "memregion-test"
# Where QEMU's machine has the window for CXL memory: above the last of what is PCI's.
CXL_WINDOW_ADDR = 1 << 40
# Where that range lies on a board that has it beyond the reach of 32 bits.
HIGH_TARGET_ADDR = 1 << 32
