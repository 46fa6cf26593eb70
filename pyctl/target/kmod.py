# SPDX-License-Identifier: GPL-2.0-only
"""Loads and unloads the two modules, and undoes what it did where it fails.

The system calls do it themselves: they return once a module is in use, or gone, and
say with an errno why it is not.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyctl.errors import NotReady, OperationFailed, PyctlError
from pyctl.target.debugfs import (
    LOCKDOWN_FIX,
    NO_DEBUGFS,
    NO_DEBUGFS_FIX,
    PROVIDER_MODULE,
    TEST_MODULE,
    Debugfs,
)
from pyctl.target.modinfo import (
    MODULES,
    PACKED,
    LoadedModule,
    ModuleFile,
    module_bytes,
    require_file,
)
from pyctl.target.system import System

REBUILD = "Run `pyctl unload` and `pyctl load`; after a change of the source `pyctl build` first."
NO_PLACE = (
    "This kernel has no place for a provider: it lacks cpu_cache_invalidate_memregion() "
    "(CONFIG_GENERIC_CPU_CACHE_MAINTENANCE)."
)
NEWER_KERNEL = "Boot Linux 6.19 or later; until then use --via smccc or --via va."
UNSIGNED = "The kernel takes signed modules only, and {file} is not signed."
SIGNING_FIX = (
    "Let DKMS build the modules: it signs them with a key of this machine. Enrol that key once "
    "with `mokutil --import /var/lib/dkms/mok.pub` and a reboot; see module/README.md."
)
_BAD_SIGNATURE = (errno.EKEYREJECTED, errno.ENOKEY, errno.EBADMSG, errno.ENOPKG)
"""What verification ends with (module_sig_check() and verify_pkcs7_signature())."""
_LIBC = ctypes.CDLL(None, use_errno=True)
_INIT_MODULE, _DELETE_MODULE, _FINIT_MODULE = 105, 106, 273
"""Numbers of system calls on arm64 (include/uapi/asm-generic/unistd.h)."""


def insert(file: Path, *parameters: str) -> None:
    """Load a module from its file; it is in use when this returns (finit_module(2)).

    One that is compressed is unpacked here: not every kernel does that (init_module(2)).
    Raises OSError with the kernel's errno, or that of the module's own start.
    """
    if file.suffix in PACKED:
        data = module_bytes(file)
        _system_call(_INIT_MODULE, data, len(data), " ".join(parameters).encode())
        return
    with file.open("rb") as opened:
        _system_call(_FINIT_MODULE, opened.fileno(), " ".join(parameters).encode(), 0)


def remove(name: str) -> None:
    """Unload a module; it is gone when this returns (delete_module(2)).

    Raises OSError, EAGAIN where somebody uses it.
    """
    _system_call(_DELETE_MODULE, name.encode(), os.O_NONBLOCK)


def _system_call(number: int, *arguments: int | bytes) -> None:
    if os.uname().machine != "aarch64":
        raise NotReady(
            f"The modules are for arm64 machines; this one is {os.uname().machine}.",
            "Use an arm64 board, or a virtual one: `pyctl vm run`.",
        )
    if _LIBC.syscall(number, *arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass(frozen=True)
class ModuleChange:
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
) -> list[ModuleChange]:
    """Load memregion_test and, by ``provider``, smccc_cache; all or nothing.

    ``provider``: ``auto`` loads ours where the framework exists and has none,
    ``ours`` loads it in any case, ``none`` does not. ``raw`` enables raw SMCCC
    calls. Raises NotReady with the cure where something is missing.
    """
    _require_root(system)
    changes: list[ModuleChange] = []
    try:
        _load_one(system, TEST_MODULE, directory, ["raw_calls=1"] if raw else [], changes)
        if raw and not Debugfs(system).info().raw_calls:
            raise NotReady(
                "memregion_test is loaded already, without raw calls.",
                "Run `pyctl unload`, then `pyctl load --raw`.",
            )
        if provider == "ours" and not Debugfs(system).info().framework:
            raise NotReady(NO_PLACE, NEWER_KERNEL)
        if provider == "ours" or (provider == "auto" and _wants_provider(system)):
            _load_one(system, PROVIDER_MODULE, directory, [], changes)
    except (PyctlError, KeyboardInterrupt):
        for change in reversed(changes):
            if change.action == "loaded":
                _unload_one(system, change.name)
        raise
    return changes


def _wants_provider(system: System) -> bool:
    info = Debugfs(system).info()
    ours = LoadedModule.find(system, PROVIDER_MODULE)
    # One of ours that is there already is still checked for being the right build.
    return info.framework and (not info.provider or ours is not None)


def _load_one(
    system: System,
    name: str,
    directory: Path | None,
    parameters: Sequence[str],
    changes: list[ModuleChange],
) -> None:
    """Load a module unless it is there; add to ``changes`` what was done."""
    file = require_file(system, name, directory)
    loaded = LoadedModule.find(system, name)
    if loaded:
        if loaded.matches(file) is False:
            raise NotReady(f"{name} is loaded, but from another build than {file.path}.", REBUILD)
        changes.append(ModuleChange(name, "kept", file.path))
        return
    # Before the call: a Ctrl-C is heard right after it, and must find what there is to undo.
    changes.append(ModuleChange(name, "loaded", file.path))
    try:
        insert(file.path, *parameters)
    except OSError as error:
        changes.pop()
        raise _load_failure(system, file, error) from None


def _load_failure(system: System, file: ModuleFile, error: OSError) -> PyctlError:
    """Why the kernel did not take a module, by its errno."""
    name, number = file.name, error.errno
    if name == PROVIDER_MODULE and number == errno.ENODEV:
        return NotReady(
            "Our provider did not register: firmware does not offer the cache call "
            "(SMCCC 1.1, both functions announced, attributes readable).",
            "`pyctl load --provider none` and `pyctl attributes` show what firmware answers.",
        )
    if number in _BAD_SIGNATURE:
        if not file.is_signed:
            return NotReady(UNSIGNED.format(file=file.path), SIGNING_FIX)
        return NotReady(f"The kernel does not trust the signature of {file.path}.", SIGNING_FIX)
    # With these the test module itself ends, as debugfs tells it to.
    ended_itself = name == TEST_MODULE and number in (errno.EPERM, errno.ENODEV)
    if ended_itself and not system.offers("debugfs"):
        return NotReady(NO_DEBUGFS, NO_DEBUGFS_FIX)
    if number == errno.EPERM and system.is_locked_down:
        return NotReady(
            f"The kernel is locked down and refuses {name}: it is not signed by anybody whom the "
            "kernel trusts.",
            LOCKDOWN_FIX,
        )
    if number == errno.EPERM:
        return NotReady(
            f"The kernel forbids loading {name}.",
            "Loading needs CAP_SYS_MODULE (no container) and /proc/sys/kernel/modules_disabled=0.",
        )
    if number in (errno.ENOEXEC, errno.EINVAL):
        return NotReady(
            f"The kernel does not accept {file.path}: it was built for another configuration.",
            "Run `pyctl build` against the headers of the running kernel; `dmesg` has the details.",
        )
    if number == errno.ENOENT:
        return NotReady(
            f"The kernel lacks a function that {name} needs (the kernel log names it).",
            "smccc_cache needs Linux 6.19 with GENERIC_CPU_CACHE_MAINTENANCE; "
            "`pyctl load --provider none` loads memregion_test alone.",
        )
    if number == errno.EEXIST:
        return OperationFailed(f"Somebody else has just loaded {name}.", "Run `pyctl status`.")
    return OperationFailed(
        f"{name} was not loaded: {error.strerror}.", "See the kernel log (`dmesg`)."
    )


def unload(system: System) -> list[ModuleChange]:
    """Unload our modules, the provider first; those not loaded are passed over."""
    _require_root(system)
    return [_unload_one(system, name) for name in reversed(MODULES)]


def _unload_one(system: System, name: str) -> ModuleChange:
    if LoadedModule.find(system, name) is None:
        return ModuleChange(name, "absent")
    try:
        remove(name)
    except OSError as error:
        if error.errno == errno.EAGAIN:
            raise OperationFailed(
                f"{name} was not unloaded: it is in use.",
                "Something has one of its debugfs files open: end it first.",
            ) from None
        raise OperationFailed(
            f"{name} was not unloaded: {error.strerror}.", "See the kernel log (`dmesg`)."
        ) from None
    return ModuleChange(name, "unloaded")


def _require_root(system: System) -> None:
    if system.euid != 0:
        raise NotReady("Only root can load and unload modules.", "Run this with sudo.")
