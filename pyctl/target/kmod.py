# SPDX-License-Identifier: GPL-2.0-only
"""Loads and unloads the two modules, and undoes what it did where it fails.

insmod and rmmod do the work; that a module is really there, or gone, is known
from the kernel's own event, not from the passage of time.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pyctl.errors import NotReady, OperationFailed, PyctlError
from pyctl.target.debugfs import PROVIDER_MODULE, TEST_MODULE, Debugfs
from pyctl.target.modinfo import MODULES, LoadedModule, ModuleFile, require_file
from pyctl.target.system import System

EVENT_TIMEOUT_S = 10.0
"""For the kernel's event after insmod or rmmod have returned; it is sent before that."""

REBUILD = "Run `pyctl unload` and `pyctl load`; after a change of the source `pyctl build` first."


class Events(Protocol):
    """Module events of the kernel, collected since they were opened."""

    def wait(self, action: str, module: str, timeout_s: float) -> bool:
        """Whether ``action`` (add, remove) was announced for ``module`` in time."""


class KernelEvents:
    """Module events straight from the kernel's netlink socket; needs no udevd."""

    def __init__(self) -> None:
        import pyudev

        self._monitor = pyudev.Monitor.from_netlink(pyudev.Context(), source="kernel")
        self._monitor.filter_by("module")
        self._monitor.start()

    def wait(self, action: str, module: str, timeout_s: float) -> bool:
        """See Events."""
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            device = self._monitor.poll(timeout=left)
            # A device is a mapping in old pyudev, and then asking for its truth warns.
            if device is not None and device.action == action and device.sys_name == module:
                return True
        return False


@dataclass(frozen=True)
class Tools:
    """How modules get in and out of the kernel; the tests put something else here."""

    run: Callable[[Sequence[str]], subprocess.CompletedProcess[str]]
    events: Callable[[], Events]


def _run(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        raise NotReady(f"{command[0]} is not installed.", "On Debian: `apt install kmod`.")
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C"},
    )


SYSTEM_TOOLS = Tools(_run, KernelEvents)


@dataclass(frozen=True)
class Change:
    """What was done about one module: ``loaded``, ``kept``, ``unloaded`` or ``absent``."""

    name: str
    action: str
    path: Path | None = None

    def as_json(self) -> dict[str, object]:
        """One entry of ``modules`` in the answers of load and unload."""
        return {
            "name": self.name,
            "action": self.action,
            "path": str(self.path) if self.path else None,
        }


def load(
    system: System,
    provider: str = "auto",
    raw: bool = False,
    directory: Path | None = None,
    tools: Tools = SYSTEM_TOOLS,
) -> list[Change]:
    """Load memregion_test and, by ``provider``, smccc_cache; all or nothing.

    ``provider``: ``auto`` loads ours where the framework exists and has none,
    ``ours`` loads it in any case, ``none`` does not. ``raw`` enables raw SMCCC
    calls. Raises NotReady with the cure where something is missing.
    """
    _require_root(system)
    changes: list[Change] = []
    try:
        parameters = ["raw_calls=1"] if raw else []
        changes.append(_load_one(system, TEST_MODULE, directory, parameters, tools))
        if raw and not Debugfs(system).info().raw_calls:
            raise NotReady(
                "memregion_test is loaded already, without raw calls.",
                "Run `pyctl unload`, then `pyctl load --raw`.",
            )
        if provider == "ours" or (provider == "auto" and _wants_provider(system)):
            changes.append(_load_one(system, PROVIDER_MODULE, directory, [], tools))
    except (PyctlError, KeyboardInterrupt):
        _undo(system, changes, tools)
        raise
    return changes


def _wants_provider(system: System) -> bool:
    info = Debugfs(system).info()
    ours = LoadedModule.find(system, PROVIDER_MODULE)
    # One of ours that is there already is still checked for being the right build.
    return info.framework and (not info.provider or ours is not None)


def _undo(system: System, changes: list[Change], tools: Tools) -> None:
    for change in reversed(changes):
        if change.action == "loaded":
            _unload_one(system, change.name, tools)


def _load_one(
    system: System, name: str, directory: Path | None, parameters: Sequence[str], tools: Tools
) -> Change:
    file = require_file(system, name, directory)
    loaded = LoadedModule.find(system, name)
    if loaded:
        if loaded.matches(file) is False:
            raise NotReady(f"{name} is loaded, but from another build than {file.path}.", REBUILD)
        return Change(name, "kept", file.path)
    events = tools.events()
    result = tools.run(["insmod", str(file.path), *parameters])
    if result.returncode:
        raise _load_failure(system, file, result.stderr)
    if not events.wait("add", name, EVENT_TIMEOUT_S):
        raise OperationFailed(
            f"insmod said that {name} is loaded, but the kernel did not announce it within "
            f"{EVENT_TIMEOUT_S:g} s.",
            "See the kernel log (`dmesg`) and `pyctl status`.",
        )
    return Change(name, "loaded", file.path)


def _load_failure(system: System, file: ModuleFile, stderr: str) -> PyctlError:
    """Why insmod failed; it prints the kernel's errno in words."""

    def says(*numbers: int) -> bool:
        return any(os.strerror(number) in stderr for number in numbers)

    name = file.name
    if name == PROVIDER_MODULE and says(errno.ENODEV):
        return NotReady(
            "Our provider did not register: firmware does not offer the cache call "
            "(SMCCC 1.1, both functions announced, attributes readable).",
            "`pyctl load --provider none` and `pyctl attributes` show what firmware answers.",
        )
    if says(errno.EKEYREJECTED, errno.ENOKEY) or (says(errno.EPERM) and system.is_locked_down):
        return NotReady(
            f"The kernel refuses {name} because it is not signed.",
            "Turn Secure Boot off or boot without lockdown=, or sign the module with a key that "
            "the kernel trusts.",
        )
    if says(errno.EPERM):
        return NotReady(
            f"The kernel forbids loading {name}.",
            "Loading needs CAP_SYS_MODULE (no container) and /proc/sys/kernel/modules_disabled=0.",
        )
    if says(errno.ENOEXEC):
        return NotReady(
            f"The kernel does not accept {file.path}: it was built for another configuration.",
            "Run `pyctl build` against the headers of the running kernel.",
        )
    if "Unknown symbol" in stderr or says(errno.ENOENT):
        return NotReady(
            f"The kernel lacks a function that {name} needs (the kernel log names it).",
            "smccc_cache needs Linux 6.19 with GENERIC_CPU_CACHE_MAINTENANCE; "
            "`pyctl load --provider none` loads memregion_test alone.",
        )
    return OperationFailed(
        f"{name} was not loaded: {stderr.strip() or 'insmod gave no reason'}.",
        "See the kernel log (`dmesg`).",
    )


def unload(system: System, tools: Tools = SYSTEM_TOOLS) -> list[Change]:
    """Unload our modules, the provider first; those not loaded are passed over."""
    _require_root(system)
    return [_unload_one(system, name, tools) for name in reversed(MODULES)]


def _unload_one(system: System, name: str, tools: Tools) -> Change:
    if LoadedModule.find(system, name) is None:
        return Change(name, "absent")
    events = tools.events()
    result = tools.run(["rmmod", name])
    if result.returncode:
        # kmod looks first and says it in its own words; busybox passes on the kernel's EAGAIN.
        busy = "in use" in result.stderr or os.strerror(errno.EAGAIN) in result.stderr
        raise OperationFailed(
            f"{name} was not unloaded: {result.stderr.strip() or 'rmmod gave no reason'}.",
            "Something has one of its debugfs files open: end it first."
            if busy
            else "See the kernel log (`dmesg`).",
        )
    if not events.wait("remove", name, EVENT_TIMEOUT_S):
        raise OperationFailed(
            f"rmmod said that {name} is gone, but the kernel did not announce it within "
            f"{EVENT_TIMEOUT_S:g} s.",
            "See the kernel log (`dmesg`) and `pyctl status`.",
        )
    return Change(name, "unloaded")


def _require_root(system: System) -> None:
    if system.euid != 0:
        raise NotReady("Only root can load and unload modules.", "Run this with sudo.")
