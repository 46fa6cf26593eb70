# SPDX-License-Identifier: GPL-2.0-only
"""The board's memory map, as the stub has it in ``stub/layout.h``."""

from __future__ import annotations

MIB = 1024 * 1024
RAM_BASE = 0x4000_0000
# Given with -dtb, QEMU would replace the PSCI node and with it our conduit; so
# its own tree stays at the base of RAM, and ours follows at a distance.
DTB_ADDR = RAM_BASE + 1 * MIB
STUB_ADDR = RAM_BASE + 2 * MIB
STUB_SIZE = 2 * MIB
CONFIG_ADDR = STUB_ADDR + STUB_SIZE - 64 * 1024
KERNEL_ADDR = RAM_BASE + 4 * MIB
# Where firmware models a cache: memory behind it that no load or store reaches.
MEDIA_SIZE = 8 * MIB
MEDIA_ADDR = RAM_BASE + 120 * MIB
INITRD_ADDR = RAM_BASE + 128 * MIB
# The range that tests may aim at: reserved, and marked by its compatible string.
TARGET_SIZE = 16 * MIB
TARGET_COMPATIBLE = "memregion-test"
# Where that range lies on a board that has it beyond the reach of 32 bits.
HIGH_TARGET_ADDR = 1 << 32
