# SPDX-License-Identifier: GPL-2.0-only
"""The device tree of a virtual board: QEMU's own, with what our firmware adds.

QEMU describes the machine that it emulates. Firmware would then add where the
initramfs lies, which memory it keeps for itself, and how to call it; on this
board the host does that before the machine starts.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import fdt

from pyctl.vm.layout import (
    FIRMWARE_SIZE,
    INITRD_ADDR,
    RAM_BASE,
    TARGET_COMPATIBLE,
    TARGET_SIZE,
)


@dataclass(frozen=True)
class Layout:
    """What differs between one board's device tree and another's."""

    # What the guest's kernel is told of from the base of RAM on.
    memory_bytes: int
    target_addr: int
    firmware_addr: int
    initrd_size: int
    conduit: str
    bootargs: str
    # Memory that keeps its contents without power, if there is any.
    persistent: range | None = None


def patch(blob: bytes, layout: Layout) -> bytes:
    """QEMU's device tree blob with the board's additions.

    Fresh random seeds go in each time, as a boot loader would give them.
    """
    tree = fdt.parse_dtb(blob)
    chosen = tree.get_node("/chosen")
    for name in ("kaslr-seed", "linux,initrd-start", "linux,initrd-end", "bootargs", "rng-seed"):
        if chosen.exist_property(name):
            chosen.remove_property(name)
    chosen.append(fdt.PropStrings("bootargs", layout.bootargs))
    chosen.append(_cells("linux,initrd-start", INITRD_ADDR))
    chosen.append(_cells("linux,initrd-end", INITRD_ADDR + layout.initrd_size))
    chosen.append(fdt.PropBytes("rng-seed", data=os.urandom(64)))

    banks = [RAM_BASE, layout.memory_bytes]
    if layout.target_addr >= RAM_BASE + layout.memory_bytes:
        # The RAM between the two is nobody's: it would only have to be looked after.
        banks += [layout.target_addr, TARGET_SIZE]
    _set_memory(tree, *banks)

    if layout.persistent:
        tree.root.append(_persistent(layout.persistent))
    psci = tree.get_node("/psci")
    psci.set_property("method", layout.conduit)

    reserved = fdt.Node("reserved-memory")
    reserved.append(fdt.PropWords("#address-cells", 2))
    reserved.append(fdt.PropWords("#size-cells", 2))
    reserved.append(fdt.Property("ranges"))
    reserved.append(_region("firmware", layout.firmware_addr, FIRMWARE_SIZE))
    reserved.append(_region(TARGET_COMPATIBLE, layout.target_addr, TARGET_SIZE, TARGET_COMPATIBLE))
    tree.root.append(reserved)
    data: bytes = tree.to_dtb(version=17)
    return data


def with_memory(blob: bytes, size_bytes: int) -> bytes:
    """QEMU's device tree blob with so much memory, from the base of RAM on."""
    tree = fdt.parse_dtb(blob)
    _set_memory(tree, RAM_BASE, size_bytes)
    data: bytes = tree.to_dtb(version=17)
    return data


def _set_memory(tree: fdt.FDT, *banks: int) -> None:
    memory = tree.get_node(f"/memory@{RAM_BASE:x}")
    memory.remove_property("reg")
    memory.append(_cells("reg", *banks))


def _cells(name: str, *values: int) -> fdt.PropWords:
    return fdt.PropWords(
        name, *(word for value in values for word in (value >> 32, value & 0xFFFF_FFFF))
    )


def _persistent(memory: range) -> fdt.Node:
    """A node as Linux Documentation/devicetree/bindings/pmem/pmem-region.txt describes it."""
    node = fdt.Node(f"pmem@{memory.start:x}")
    node.append(fdt.PropStrings("compatible", "pmem-region"))
    node.append(_cells("reg", memory.start, len(memory)))
    return node


def _region(name: str, base: int, size: int, compatible: str | None = None) -> fdt.Node:
    node = fdt.Node(f"{name}@{base:x}")
    if compatible:
        node.append(fdt.PropStrings("compatible", compatible))
    node.append(_cells("reg", base, size))
    # Without no-map Linux would use firmware's memory as its own.
    node.append(fdt.Property("no-map"))
    return node
