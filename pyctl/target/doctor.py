# SPDX-License-Identifier: GPL-2.0-only
"""Checks each prerequisite of the main job and says how to supply what is missing.

The order is that of the chain from the shell to the firmware, so the first
"missing" is the one to mend first. Later checks that cannot be answered
without an earlier one are "unknown", never "ok".
"""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Iterator
from dataclasses import dataclass

from pyctl.errors import PyctlError
from pyctl.smccc import VERSION_WITH_FEATURES, status_name, version_text
from pyctl.target.answers import Discovery, Info
from pyctl.target.debugfs import (
    LOCKDOWN_FIX,
    MOUNT_POINT,
    NO_DEBUGFS,
    NO_DEBUGFS_FIX,
    PROVIDER_MODULE,
    TEST_MODULE,
    Debugfs,
)
from pyctl.target.kmod import NEWER_KERNEL, NO_PLACE, SIGNING_FIX, UNSIGNED
from pyctl.target.modinfo import MODULES, LoadedModule, ModuleFile, failed_dkms_log, find_file
from pyctl.target.provider import find_provider
from pyctl.target.system import System
from pyctl.target.tracefs import NO_TRACING, NO_TRACING_FIX, tracefs_at

OK, MISSING, UNKNOWN = "ok", "missing", "unknown"
FRAMEWORK_CONFIG = "CONFIG_GENERIC_CPU_CACHE_MAINTENANCE"
TRACING_CONFIG = "CONFIG_KPROBE_EVENTS"
_LOAD_FIRST = "Run `pyctl load`, then ask again."


@dataclass(frozen=True)
class Check:
    """One prerequisite: its state (ok, missing, unknown), why, and the fix unless it is ok."""

    name: str
    state: str
    why: str
    fix: str = ""
    needed: bool = True
    """Whether the main job is impossible without it."""

    def as_json(self) -> dict[str, object]:
        """One entry of ``pyctl doctor --json``."""
        return {
            "name": self.name,
            "state": self.state,
            "why": self.why,
            "fix": self.fix or None,
            "needed": self.needed,
        }


def examine(system: System) -> list[Check]:
    """All checks, in the order of the chain."""
    info = discovery = None
    problem = ""
    try:
        info = Debugfs(system).info()
        discovery = Debugfs(system).discovery()
    except PyctlError as error:
        problem = error.message
    framework = _framework(system, info)
    return [
        _machine(system),
        _root(system),
        _debugfs(system),
        _lockdown(system, info),
        _signatures(system),
        framework,
        _headers(system, framework),
        *_modules(system, framework),
        _smccc(system, info, problem),
        _function(discovery, problem),
        _provider(system, info, problem),
        _tracing(system),
    ]


def is_ready(checks: list[Check]) -> bool:
    """Whether everything that the main job needs is there."""
    return all(check.state == OK for check in checks if check.needed)


def _machine(system: System) -> Check:
    if system.machine == "aarch64":
        return Check("arm64", OK, "This is an arm64 machine.")
    why = f"This machine is {system.machine}; the calls exist on arm64 only."
    return Check("arm64", MISSING, why, "Use an arm64 board, or a virtual one: `pyctl vm run`.")


def _root(system: System) -> Check:
    if system.euid == 0:
        return Check("root", OK, "Running as root.")
    return Check("root", MISSING, f"Running as user {system.euid}.", "Run pyctl with sudo.")


def _debugfs(system: System) -> Check:
    if system.has_mount(MOUNT_POINT, "debugfs"):
        return Check("debugfs", OK, f"Mounted at {MOUNT_POINT}.")
    if not system.offers("debugfs"):
        return Check("debugfs", MISSING, NO_DEBUGFS, NO_DEBUGFS_FIX)
    fix = f"Run `mount -t debugfs debugfs {MOUNT_POINT}`."
    return Check("debugfs", MISSING, f"Not mounted at {MOUNT_POINT}.", fix)


def _lockdown(system: System, info: Info | None) -> Check:
    if system.is_locked_down:
        state = system.text("/sys/kernel/security/lockdown")
        why = f"The kernel is locked down ({state}): no debugfs, no unsigned modules."
        return Check("lockdown", MISSING, why, LOCKDOWN_FIX)
    if system.is_locked_down is False:
        return Check("lockdown", OK, "The kernel is not locked down.")
    if info:
        try:
            Debugfs(system).require_requests()
        except PyctlError as error:
            return Check("lockdown", MISSING, error.message, error.hint)
        return Check("lockdown", OK, "debugfs takes requests, so nothing is locked down.")
    return Check(
        "lockdown",
        UNKNOWN,
        "The kernel does not say: securityfs is not mounted, or there is no lockdown.",
        "Run `mount -t securityfs securityfs /sys/kernel/security`, or just `pyctl load`.",
    )


def _signatures(system: System) -> Check:
    """Whether the kernel takes our modules, as far as signatures decide it."""
    name = "signatures"
    if system.text("/sys/module/module/parameters/sig_enforce") != "Y":
        return Check(name, OK, "The kernel does not insist on signed modules.")
    if LoadedModule.find(system, TEST_MODULE):
        return Check(name, OK, "The kernel insists on signed modules, and has taken ours.")
    files = _built(system)
    if unsigned := [file for file in files if not file.is_signed]:
        return Check(name, MISSING, UNSIGNED.format(file=unsigned[0].path), SIGNING_FIX)
    if files:
        why = "The kernel insists on signed modules, and ours are signed; loading shows by whom."
        return Check(name, UNKNOWN, why, "Run `pyctl load`, then ask again.")
    why = "The kernel insists on signed modules, and none is built."
    return Check(name, UNKNOWN, why, f"Run `pyctl build`. {SIGNING_FIX}")


def _framework(system: System, info: Info | None) -> Check:
    if info:
        state, source = (OK if info.framework else MISSING), "memregion_test says so"
    else:
        state, source = _configured(system, FRAMEWORK_CONFIG)
    if state == OK:
        why = f"The kernel has cpu_cache_invalidate_memregion() ({source})."
        return Check("framework", OK, why)
    if state == UNKNOWN:
        return Check("framework", UNKNOWN, f"The configuration is not here: {source}.", _LOAD_FIRST)
    return Check(
        "framework",
        MISSING,
        f"Kernel {system.release} has no cpu_cache_invalidate_memregion() ({source}).",
        NEWER_KERNEL,
    )


def _configured(system: System, option: str) -> tuple[str, str]:
    """State of an option of the kernel, and the file that says so."""
    release = system.release
    places = (
        "/proc/config.gz",
        f"/boot/config-{release}",
        f"/lib/modules/{release}/config",
        f"/lib/modules/{release}/build/.config",
        f"/lib/modules/{release}/build/include/config/auto.conf",
    )
    for place in places:
        path = system.path(place)
        try:
            data = path.read_bytes()
        except OSError:
            continue
        text = gzip.decompress(data) if path.suffix == ".gz" else data
        found = f"{option}=y".encode() in text.splitlines()
        return (OK if found else MISSING), f"{place} {'has' if found else 'lacks'} it"
    return UNKNOWN, f"none of {', '.join(places)} can be read"


def _headers(system: System, framework: Check) -> Check:
    wanted = len(MODULES) - (framework.state == MISSING)
    built = len(_built(system)) >= wanted
    place = system.headers
    if (place / "Makefile").exists():
        return Check("headers", OK, f"Kernel headers are in {place}.", needed=not built)
    why = f"There are no kernel headers in {place}"
    why += "; the modules are built already." if built else "."
    fix = "On Debian: `apt install linux-headers-$(uname -r)`."
    return Check("headers", MISSING, why, fix, needed=not built)


def _built(system: System) -> list[ModuleFile]:
    """The modules that are built and whole."""
    found = []
    for name in MODULES:
        with contextlib.suppress(PyctlError):
            if file := find_file(system, name):
                found.append(file)
    return found


def _modules(system: System, framework: Check) -> Iterator[Check]:
    """One check for each module: loaded, and from the build that we have."""
    for name in MODULES:
        if name == PROVIDER_MODULE and framework.state == MISSING:
            yield Check(name, MISSING, NO_PLACE, framework.fix, needed=False)
            continue
        try:
            yield _module(system, name)
        except PyctlError as error:
            yield Check(name, MISSING, error.message, error.hint, name == TEST_MODULE)


def _module(system: System, name: str) -> Check:
    # A provider of the kernel's own does as well as ours; the check "provider" decides.
    needed = name == TEST_MODULE
    file, loaded = find_file(system, name), LoadedModule.find(system, name)
    if loaded is None:
        why = f"Not loaded; built for this kernel: {'no' if file is None else file.path}."
        if file and file.release != system.release:
            why = f"Not loaded, and {file.path} was built for kernel {file.release}."
            return Check(name, MISSING, why, "Run `pyctl build`, then `pyctl load`.", needed)
        if file:
            file.require_version()
            return Check(name, MISSING, why, "Run `pyctl load`.", needed)
        fix = "Run `pyctl build`, then `pyctl load`."
        if log := failed_dkms_log(system):
            why = f"Not loaded, and DKMS could not build it for this kernel: {log} tells why."
            fix = "Mend what the log names, then run `pyctl build` and `pyctl load`."
        return Check(name, MISSING, why, fix, needed)
    matches = loaded.matches(file) if file else None
    if matches:
        return Check(name, OK, f"Loaded from {file.path if file else name}.", needed=needed)
    if matches is False:
        why = f"Loaded from another build than {file.path if file else name}."
        return Check(name, MISSING, why, "Run `pyctl unload`, then `pyctl load`.", True)
    why = "Loaded, but there is no build of it here to compare with."
    return Check(name, UNKNOWN, why, "Run `pyctl build`, or set PYCTL_MODULES.", False)


def _smccc(system: System, info: Info | None, problem: str) -> Check:
    if info is None:
        conduit = system.psci_conduit
        known = f" The machine's description names the conduit {conduit}." if conduit else ""
        return Check("smccc", UNKNOWN, f"{problem}{known}", _LOAD_FIRST)
    text = version_text(info.smccc_version)
    fix = "Firmware must offer SMCCC 1.1 or later through PSCI 1.0: update it."
    if info.conduit == "none":
        return Check("smccc", MISSING, f"SMCCC {text}, but no conduit (hvc or smc).", fix)
    if info.smccc_version < VERSION_WITH_FEATURES:
        return Check("smccc", MISSING, f"SMCCC {text} has no ARCH_FEATURES.", fix)
    return Check("smccc", OK, f"SMCCC {text}, conduit {info.conduit}.")


def _function(discovery: Discovery | None, problem: str) -> Check:
    if discovery is None:
        return Check("function", UNKNOWN, problem, _LOAD_FIRST)
    why = missing_function(discovery)
    if why:
        fix = "Only firmware can supply it: update the firmware, or use the virtual board."
        return Check("function", MISSING, why, fix)
    return Check("function", OK, "Firmware announces the cache call and its attributes.")


def missing_function(discovery: Discovery) -> str | None:
    """What keeps a provider from registering, in the order of discovery; None if nothing."""
    if discovery.conduit == "none":
        return "There is no SMCCC conduit, so firmware cannot be called."
    if discovery.smccc_version < VERSION_WITH_FEATURES:
        text = version_text(discovery.smccc_version)
        return f"SMCCC {text} cannot announce functions: ARCH_FEATURES came with 1.1."
    for name, answer in (
        ("SMCCC_ARCH_CLEAN_INV_MEMREGION", discovery.clean_inv),
        ("SMCCC_ARCH_CLEAN_INV_MEMREGION_ATTRIBUTES", discovery.attributes),
    ):
        if answer is None or answer < 0:
            said = "was not asked" if answer is None else f"answered {status_name(answer)}"
            return f"Firmware does not announce {name} (ARCH_FEATURES {said})."
    if discovery.status != 0:
        said = "nothing" if discovery.status is None else status_name(discovery.status)
        return f"Firmware announces both functions, but reading the attributes gave {said}."
    return None


def _provider(system: System, info: Info | None, problem: str) -> Check:
    if info is None:
        return Check("provider", UNKNOWN, problem, _LOAD_FIRST)
    provider = find_provider(system, info)
    if provider.registered:
        return Check("provider", OK, f"Provider: {provider}.")
    return Check(
        "provider",
        MISSING,
        "No provider is registered: the kernel's call would succeed and do nothing.",
        "Run `pyctl load`, unless a check above says why no provider can register.",
    )


def _tracing(system: System) -> Check:
    """What `pyctl watch` needs and nothing else does."""
    name, place = "tracing", tracefs_at(system)
    if place:
        state = OK if system.path(f"{place}/kprobe_events").exists() else MISSING
        source = f"{place}/kprobe_events is {'there' if state == OK else 'missing'}"
    elif not system.offers("tracefs"):
        state, source = MISSING, "it has no tracefs"
    else:
        state, source = _configured(system, TRACING_CONFIG)
    if state == OK:
        return Check(name, OK, f"The kernel can be watched ({source}).", needed=False)
    if state == UNKNOWN:
        why = f"The configuration is not here: {source}."
        return Check(name, UNKNOWN, why, "Just try `pyctl watch`.", needed=False)
    return Check(name, MISSING, f"{NO_TRACING[:-1]} ({source}).", NO_TRACING_FIX, needed=False)
