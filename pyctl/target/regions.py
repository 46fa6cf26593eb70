# SPDX-License-Identifier: GPL-2.0-only
"""The physical ranges of this machine, and which of them may be targeted.

Every source (iomem, device tree, nd, cxl, dax and memory-block devices) makes
claims. The claims overlap: a CXL window holds a region that holds a DAX device
that holds System RAM. They are flattened so that each byte has one owner: one
who uses it before one who says that it is free, and who says nothing about
users comes last. So memory is safe only where somebody vouches for it and
nobody uses it.
"""

from __future__ import annotations

import enum
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from pyctl.errors import NotReady, PyctlError, UsageError
from pyctl.ranges import Range, intersection, subtract
from pyctl.target.debugfs import Debugfs
from pyctl.target.sysfs import Device, devices, number, processes_holding
from pyctl.target.system import System

TEST_COMPATIBLE = "memregion-test"
"""A reserved-memory node that exists to be a target."""

DEVICE_KIND = "device"
"""Registers and windows: no memory, so not listed, but good to name in a refusal."""


class Use(enum.IntEnum):
    """What a claim says of users; where claims overlap, the higher one counts."""

    UNKNOWN = 0
    FREE = 1
    BUSY = 2


@dataclass(frozen=True)
class Region:
    """A range with one owner; ``why`` says in a sentence why it is safe or not."""

    range: Range
    kind: str
    name: str
    use: Use
    why: str
    depth: int = 0
    """Among claims with the same ``use`` the deeper, more exact one counts."""

    @property
    def safe(self) -> bool:
        """Whether it may be targeted without --force."""
        return self.use is Use.FREE

    def as_json(self) -> dict[str, object]:
        """One entry of ``pyctl regions --json``."""
        return {
            "addr": f"0x{self.range.addr:x}",
            "size": self.range.size,
            "kind": self.kind,
            "name": self.name,
            "safe": self.safe,
            "why": self.why,
        }


def regions(system: System) -> list[Region]:
    """All known ranges in ascending order, no two overlapping.

    Raises NotReady where the kernel hides the addresses (not root).
    """
    offline = list(_offline_blocks(system))
    claims = list(_iomem_claims(system, offline))
    for source in (_device_tree_claims, _named_claims, _nd_claims, _cxl_claims, _dax_claims):
        claims += source(system)
    return flatten(claims)


def check_target(known: Iterable[Region], target: Range, force: bool) -> None:
    """Refuse a range of which any byte is unsafe or not described; ``force`` lets it pass."""
    if force:
        return
    position = target.addr
    for region in known:
        if not region.range.overlaps(target):
            continue
        if region.range.addr > position:
            break
        if not region.safe:
            raise _unsafe(
                f"The range {target} overlaps {region.range} ({region.kind}, {region.name}): "
                f"{region.why}"
            )
        position = region.range.end
    if position < target.end:
        raise _unsafe(f"Nothing on this machine describes the memory at 0x{position:x}.")


def _unsafe(why: str) -> UsageError:
    return UsageError(
        why,
        "`pyctl regions` lists ranges that are safe to target; without --addr there is scratch "
        "memory; --force targets this one.",
    )


def flatten(claims: Iterable[Region]) -> list[Region]:
    """Give every byte to one claim; neighbouring pieces of the same claim are joined."""
    claims = [claim for claim in claims if claim.range.size > 0]
    starts = sorted(claims, key=lambda claim: claim.range.addr, reverse=True)
    borders = sorted({border for c in claims for border in (c.range.addr, c.range.end)})
    active: list[Region] = []
    result: list[Region] = []
    for addr, end in itertools.pairwise(borders):
        while starts and starts[-1].range.addr <= addr:
            active.append(starts.pop())
        active = [claim for claim in active if claim.range.end > addr]
        if not active:
            continue
        owner = max(active, key=lambda claim: (claim.use, claim.depth, -claim.range.size))
        piece = replace(owner, range=Range(addr, end))
        last = result[-1] if result else None
        if last and last.range.end == addr and replace(last, range=piece.range) == piece:
            result[-1] = replace(last, range=Range(last.range.addr, end))
        else:
            result.append(piece)
    return result


# /proc/iomem: "  addr-end : name", two blanks per level of nesting.


@dataclass(frozen=True)
class _Resource:
    range: Range
    name: str
    level: int


def _iomem(system: System) -> list[_Resource]:
    text = system.text("/proc/iomem")
    if text is None:
        raise NotReady(
            "/proc/iomem cannot be read, so the memory of this machine is not known.",
            "Is /proc mounted? Run `mount -t proc proc /proc`.",
        )
    found = []
    for line in text.splitlines():
        span, _, name = line.partition(" : ")
        first, _, last = span.strip().partition("-")
        level = (len(span) - len(span.lstrip())) // 2
        found.append(_Resource(Range(int(first, 16), int(last, 16) + 1), name.strip(), level))
    if found and all(resource.range.end == 1 for resource in found):
        raise NotReady(
            "The kernel shows the addresses in /proc/iomem to root only.", "Run this with sudo."
        )
    return found


def _iomem_claims(system: System, offline: list[Range]) -> Iterator[Region]:
    """One claim per resource; reserved parts and offline blocks are cut out of System RAM."""
    resources = _iomem(system)
    for index, resource in enumerate(resources):
        claim = _classify(resource)
        if claim.kind != "ram":
            # What the kernel has reserved inside its RAM was cut out of the RAM's claim.
            yield claim
            continue
        inside = [
            inner.range
            for inner in _descendants(resources, index)
            if _classify(inner).kind == "reserved"
        ]
        for piece in subtract(claim.range, inside + offline):
            yield replace(claim, range=piece)
        for block in offline:
            if block.overlaps(claim.range):
                yield replace(
                    claim,
                    range=intersection(block, claim.range),
                    use=Use.FREE,
                    why="This memory block is offline, so the kernel does not use it.",
                )


def _descendants(resources: list[_Resource], index: int) -> Iterator[_Resource]:
    for resource in resources[index + 1 :]:
        if resource.level <= resources[index].level:
            return
        yield resource


def _classify(resource: _Resource) -> Region:
    """What the name of an iomem entry says; the names are those of the kernel's sources."""
    name = resource.name
    lower = name.lower()
    if lower.startswith("system ram"):
        kind, use, why = "ram", Use.BUSY, "The kernel and its programs use this memory."
    elif lower in ("kernel code", "kernel rodata", "kernel data", "kernel bss", "crash kernel"):
        kind, use, why = "kernel", Use.BUSY, "The running kernel itself, or its crash kernel."
    elif lower == "reserved":
        kind, use = "reserved", Use.UNKNOWN
        why = "Reserved by firmware or the kernel, and nobody says for what."
    elif lower.startswith("persistent memory"):
        kind, use = "pmem", Use.UNKNOWN
        why = "Persistent memory that no namespace describes; what it holds is not known."
    elif lower.startswith("soft reserved"):
        kind, use = "reserved", Use.UNKNOWN
        why = "Memory with a special purpose that no device has claimed."
    elif lower.startswith("cxl window"):
        kind, use, why = "cxl", Use.UNKNOWN, "A CXL window in which no region is set up here."
    elif lower.startswith(("region", "dax_region")):
        kind, use, why = "cxl", Use.UNKNOWN, "A CXL or DAX region whose state is not known."
    elif lower.startswith(("dax", "hmem", "namespace", "pmem")):
        kind, use = "dax" if lower[0] in "dh" else "pmem", Use.UNKNOWN
        why = "A driver holds this range; its device says nothing about users."
    else:
        kind, use, why = DEVICE_KIND, Use.BUSY, "A device: registers or a bus window, no memory."
    # A window or bus that holds memory must not hide the memory inside it.
    if kind == DEVICE_KIND and "bus" in lower:
        use = Use.UNKNOWN
    return Region(resource.range, kind, name, use, why, depth=resource.level)


# /proc/device-tree/reserved-memory


def _device_tree_claims(system: System) -> Iterator[Region]:
    """Reserved-memory nodes (devicetree specification 3.5); memregion-test ones are targets."""
    top = system.path("/proc/device-tree/reserved-memory")
    if not top.is_dir():
        return
    address_cells = _cells(top / "#address-cells", 2)
    size_cells = _cells(top / "#size-cells", 2)
    for node in sorted(path for path in top.iterdir() if (path / "reg").is_file()):
        status = _strings(node / "status")
        if status and status[0] not in ("okay", "ok"):
            continue
        if TEST_COMPATIBLE in _strings(node / "compatible"):
            kind, use, why = "test", Use.FREE, "Reserved in the device tree as a test target."
        else:
            kind, use = "reserved", Use.UNKNOWN
            why = "Reserved in the device tree for firmware or a driver."
        for span in _reg(node / "reg", address_cells, size_cells):
            yield Region(span, kind, node.name, use, why, depth=1)


def _named_claims(system: System) -> Iterator[Region]:
    """What the kernel's command line has set aside under our name, which the module can ask for."""
    try:
        found = Debugfs(system).reserved()
    except PyctlError:
        # No module, or one that does not know it: nothing is claimed.
        return
    for one in found:
        why = "Reserved on the kernel's command line (reserve_mem=) as a test target."
        yield Region(Range(one.addr, one.addr + one.size), "test", one.name, Use.FREE, why, depth=2)


def _cells(path: Device, default: int) -> int:
    try:
        return int.from_bytes(path.read_bytes(), "big")
    except OSError:
        return default


def _strings(path: Device) -> list[str]:
    try:
        return path.read_text(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return []


def _reg(path: Device, address_cells: int, size_cells: int) -> Iterator[Range]:
    data = path.read_bytes()
    entry = 4 * (address_cells + size_cells)
    for offset in range(0, len(data) - entry + 1, entry or len(data) + 1):
        addr = int.from_bytes(data[offset : offset + 4 * address_cells], "big")
        size = int.from_bytes(data[offset + 4 * address_cells : offset + entry], "big")
        yield Range(addr, addr + size)


# Devices in sysfs


def _offline_blocks(system: System) -> Iterator[Range]:
    """Memory blocks that the kernel has given up (Documentation/admin-guide/mm/memory-hotplug)."""
    size = number(system.path("/sys/devices/system/memory/block_size_bytes"), hexadecimal=True)
    if not size:
        return
    # With memmap_on_memory a block holds the kernel's own page structures even while offline.
    if system.text("/sys/module/memory_hotplug/parameters/memmap_on_memory") not in (None, "N"):
        return
    for block in devices(system, "memory"):
        index = number(block / "phys_index", hexadecimal=True)
        if index is not None and _text(block / "state") == "offline":
            yield Range(index * size, (index + 1) * size)


def _nd_claims(system: System) -> Iterator[Region]:
    """NVDIMM regions and namespaces (Documentation/driver-api/nvdimm)."""
    for device in devices(system, "nd"):
        span = _device_range(device)
        if span is None:
            continue
        if not device.name.startswith(("namespace", "pfn", "dax", "btt")):
            yield Region(
                span, "pmem", device.name, Use.UNKNOWN, "A part without a namespace.", depth=4
            )
        elif user := _text(device / "holder") or _driver(device):
            why = f"{user} uses this namespace."
            yield Region(span, "pmem", device.name, Use.BUSY, why, depth=5)
        else:
            why = "No driver is bound to this namespace, so nobody uses it."
            yield Region(span, "pmem", device.name, Use.FREE, why, depth=5)


def _cxl_claims(system: System) -> Iterator[Region]:
    """CXL windows and regions (Documentation/ABI/testing/sysfs-bus-cxl)."""
    for device in devices(system, "cxl"):
        if device.name.startswith("region"):
            span = _device_range(device)
            if span is None:
                continue
            if number(device / "commit") == 0:
                why = "This CXL region is not committed: there is no memory behind it."
                yield Region(span, "cxl", device.name, Use.UNKNOWN, why, depth=4)
            elif not _driver(device):
                why = "No driver is bound to this CXL region, so nobody uses it."
                yield Region(span, "cxl", device.name, Use.FREE, why, depth=4)
            else:
                why = "This CXL region is active, and nothing says what uses it."
                yield Region(span, "cxl", device.name, Use.UNKNOWN, why, depth=4)
        elif device.name.startswith("decoder0."):
            start, size = number(device / "start"), number(device / "size")
            if start is not None and size:
                why = "A CXL window in which no region is set up here."
                span = Range(start, start + size)
                yield Region(span, "cxl", device.name, Use.UNKNOWN, why, depth=3)


def _dax_claims(system: System) -> Iterator[Region]:
    """DAX devices (Documentation/ABI/testing/sysfs-bus-dax)."""
    for device in devices(system, "dax"):
        span = _device_range(device)
        if span is None:
            continue
        driver = _driver(device)
        holders = processes_holding(system, f"/dev/{device.name}")
        if holders:
            use, why = Use.BUSY, f"Open in {', '.join(holders)}."
        elif driver == "kmem":
            use, why = Use.UNKNOWN, "Handed to the kernel as ordinary memory (kmem)."
        elif driver:
            use, why = Use.FREE, f"A DAX device ({driver}) that no process has open."
        else:
            use, why = Use.FREE, "No driver is bound to this DAX device, so nobody uses it."
        yield Region(span, "dax", device.name, use, why, depth=6)


def _device_range(device: Device) -> Range | None:
    start, size = number(device / "resource"), number(device / "size")
    # An unset resource reads as all ones.
    if start is None or not size or start + size > 1 << 64:
        return None
    return Range(start, start + size)


def _text(path: Device) -> str:
    return path.read_text().strip() if path.is_file() else ""


def _driver(device: Device) -> str | None:
    link = device / "driver"
    return link.resolve().name if link.exists() else None
