# SPDX-License-Identifier: GPL-2.0-only
"""CXL regions of RAM, set up through sysfs as ``cxl create-region`` does.

See Documentation/ABI/testing/sysfs-bus-cxl of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

DEVICES = Path("/sys/bus/cxl/devices")
ROOT = DEVICES / "decoder0.0"
GRANULARITY = 256
"""The bytes after which the next of several devices has its turn."""


def make_region(memory: Sequence[str] = ("mem0",), size: int | None = None) -> Path:
    """Set a region up on one device, or in turns on several; give its directory.

    ``size`` is what each device gives, by default all that it has.
    """
    name = (ROOT / "create_ram_region").read_text().strip()
    (ROOT / "create_ram_region").write_text(name)
    region = DEVICES / name
    (region / "interleave_granularity").write_text(f"{GRANULARITY}")
    (region / "interleave_ways").write_text(f"{len(memory)}")
    given = [_give(device, size) for device in memory]
    (region / "size").write_text(hex(sum(bytes_given for _, bytes_given in given)))
    for number, (decoder, _) in enumerate(given):
        (region / f"target{number}").write_text(decoder)
    return region


def _give(device: str, size: int | None) -> tuple[str, int]:
    """Reserve memory of a device for a region; the name of its decoder, and how much."""
    [port] = (
        each for each in DEVICES.glob("endpoint*") if (each / "uport").resolve().name == device
    )
    free = [each for each in port.glob("decoder*.*") if not (each / "region").read_text().strip()]
    decoder = min(free, key=lambda each: int(each.name.rpartition(".")[2]))
    size = size or int((DEVICES / device / "ram/size").read_text(), 0)
    # It keeps the memory of a region that is gone.
    (decoder / "dpa_size").write_text("0")
    (decoder / "mode").write_text("ram")
    (decoder / "dpa_size").write_text(hex(size))
    return decoder.name, size


def commit(region: Path) -> None:
    """Have the kernel tell the hardware of a region."""
    (region / "commit").write_text("1")


def decommit(region: Path) -> None:
    """Undo ``commit``."""
    (region / "commit").write_text("0")


def delete(region: Path) -> None:
    """Undo ``make_region``."""
    (ROOT / "delete_region").write_text(region.name)
