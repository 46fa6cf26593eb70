# SPDX-License-Identifier: GPL-2.0-only
"""Which firmware a run was about: everything by which a lab can tell two builds apart."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pyctl import __version__
from pyctl.smccc import version_text
from pyctl.target.answers import Info
from pyctl.target.system import System

_BIOS = ("sys_vendor", "product_name", "bios_vendor", "bios_version", "bios_date")
_SOC = ("machine", "family", "soc_id", "revision")


def identify(system: System, info: Info) -> dict[str, Any]:
    """Firmware, kernel, project and time, for the head of an answer and of a ledger.

    ``attributes`` is for the run to fill in. What a machine does not show is None:
    ``soc`` is what firmware's SOC_ID or a driver gave to sysfs, ``bios`` is DMI's (server
    boards), ``model`` the device tree's.
    """
    return {
        "firmware": {
            "smccc_version": version_text(info.smccc_version),
            "conduit": info.conduit,
            "attributes": None,
            **of_machine(system),
        },
        "kernel": system.release,
        "version": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def of_machine(system: System) -> dict[str, Any]:
    """What names the board and its firmware without a call; no serial numbers."""
    model = system.text("/proc/device-tree/model")
    return {
        "soc": _texts(system, "/sys/bus/soc/devices/soc0", _SOC),
        "bios": _texts(system, "/sys/class/dmi/id", _BIOS),
        "model": model.rstrip("\0") if model else None,
    }


def _texts(system: System, directory: str, names: tuple[str, ...]) -> dict[str, str | None] | None:
    if not system.path(directory).is_dir():
        return None
    return {name: system.text(f"{directory}/{name}") for name in names}
