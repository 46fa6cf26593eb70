# SPDX-License-Identifier: GPL-2.0-only
"""Devices in sysfs, and the processes that hold one.

libudev can look at the real /sys only, and knows there what a directory listing
does not (moved and renamed buses); a tree of a test is listed as it is.
"""

from __future__ import annotations

import os
from pathlib import Path

from pyctl.errors import NotReady
from pyctl.target.system import System

Device = Path
"""A device's directory in sysfs, or a node of the device tree."""


def devices(system: System, subsystem: str) -> list[Device]:
    """Directories of the devices of a bus, by name; empty if there is no such bus.

    Raises NotReady where pyudev finds no libudev.
    """
    top = system.path(f"/sys/bus/{subsystem}/devices")
    if not top.is_dir():
        return []
    if system.is_real:
        import pyudev

        try:
            found = pyudev.Context().list_devices(subsystem=subsystem)
        except ImportError:
            raise NotReady(
                "The library libudev is not there, so devices cannot be listed.",
                "On Debian: `apt install libudev1`, then `ldconfig`.",
            ) from None
        return sorted(Path(device.sys_path) for device in found)
    return sorted(top.iterdir())


def number(path: Path, hexadecimal: bool = False) -> int | None:
    """The number in an attribute; None where there is none."""
    try:
        return int(path.read_text().strip(), 16 if hexadecimal else 0)
    except (OSError, ValueError):
        return None


def processes_holding(system: System, device: str) -> list[str]:
    """Processes that have a device node open or mapped, as ``name (pid)``."""
    import psutil

    path = str(system.path(device))
    if not os.path.exists(path):
        return []
    holders = []
    for process in psutil.process_iter(["pid", "name"]):
        if path in _open_paths(process.pid):
            holders.append(f"{process.info['name']} ({process.pid})")
    return holders


def _open_paths(pid: int) -> set[str]:
    """Targets of a process's descriptors and mappings; empty once it is gone."""
    paths = set()
    for directory in (f"/proc/{pid}/fd", f"/proc/{pid}/map_files"):
        try:
            entries = list(os.scandir(directory))
        except OSError:
            continue
        for entry in entries:
            try:
                paths.add(os.readlink(entry.path))
            except OSError:
                continue
    return paths
