# SPDX-License-Identifier: GPL-2.0-only
"""The doctor: each prerequisite taken away in turn is found, with a reason and a fix."""

from __future__ import annotations

import errno
import gzip
import os
from collections.abc import Callable

import pytest

from pyctl.target.answers import Discovery, Fields
from pyctl.target.doctor import MISSING, OK, UNKNOWN, Check, examine, is_ready, missing_function
from tests.unit.fake_machine import ATTRIBUTES, RELEASE, TEST_SRCVERSION, Machine, module_bytes

NAMES = [
    "arm64",
    "root",
    "debugfs",
    "lockdown",
    "signatures",
    "framework",
    "headers",
    "memregion_test",
    "smccc_cache",
    "smccc",
    "function",
    "provider",
    "tracing",
]


def check(machine: Machine, name: str) -> Check:
    return next(check for check in examine(machine.system) if check.name == name)


def test_a_ready_machine_is_ready(machine: Machine) -> None:
    checks = examine(machine.system)
    assert [c.name for c in checks] == NAMES
    assert {c.name: c.state for c in checks} == dict.fromkeys(NAMES, OK)
    assert is_ready(checks)


def not_mounted(machine: Machine) -> None:
    machine.write("/proc/mounts", "")
    machine.hide_debugfs()


def without_debugfs(machine: Machine) -> None:
    not_mounted(machine)
    machine.write("/proc/filesystems", "nodev\tsysfs\n")


ENFORCED = "/sys/module/module/parameters/sig_enforce"


def unsigned(machine: Machine) -> None:
    machine.unload_test_module()
    machine.write(ENFORCED, "Y\n")


def not_root(machine: Machine) -> None:
    machine.become(euid=1000)
    machine.hide_debugfs()


def without_function(machine: Machine) -> None:
    machine.set_attributes(**{**ATTRIBUTES, "features_clean_inv": -1})


LOCKED = "none [integrity] confidentiality\n"

FAULTS: list[tuple[str, Callable[[Machine], object]]] = [
    ("arm64", lambda m: m.become("x86_64")),
    ("root", not_root),
    ("debugfs", not_mounted),
    ("debugfs", without_debugfs),
    ("lockdown", lambda m: m.write("/sys/kernel/security/lockdown", LOCKED)),
    ("signatures", unsigned),
    ("framework", lambda m: m.set_info(framework=0)),
    ("memregion_test", lambda m: m.unload_test_module()),
    ("memregion_test", lambda m: m.write("/sys/module/memregion_test/srcversion", "1\n")),
    ("smccc_cache", lambda m: m.write("/sys/module/smccc_cache/srcversion", "1\n")),
    ("smccc", lambda m: m.set_info(conduit="none")),
    ("smccc", lambda m: m.set_info(smccc_version="0x10000")),
    ("function", without_function),
    ("provider", lambda m: m.unload_provider()),
]


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_each_fault_is_found_with_reason_and_fix(
    machine: Machine, name: str, fault: Callable[[Machine], object]
) -> None:
    fault(machine)
    checks = examine(machine.system)
    found = next(check for check in checks if check.name == name)
    assert found.state == MISSING
    assert found.why
    assert found.fix
    assert not is_ready(checks)


@pytest.mark.parametrize("name", ["smccc", "function", "provider"])
def test_what_only_the_module_knows_is_unknown_without_it(machine: Machine, name: str) -> None:
    machine.unload_test_module()
    found = check(machine, name)
    assert (found.state, found.fix != "") == (UNKNOWN, True)


def test_the_kernels_own_provider_does_as_well_as_ours(machine: Machine) -> None:
    machine.unload_provider(registered=1)
    assert check(machine, "smccc_cache").state == MISSING
    assert is_ready(examine(machine.system))


def test_headers_are_needed_only_where_nothing_is_built(machine: Machine) -> None:
    machine.remove(f"/lib/modules/{RELEASE}/build")
    assert check(machine, "headers").state == MISSING
    assert is_ready(examine(machine.system))
    machine.remove("/built/smccc_cache.ko")
    assert not is_ready(examine(machine.system))


def test_a_kernel_without_the_framework_lacks_no_provider_of_ours(machine: Machine) -> None:
    """It has no place for one, so that none is built is no reason to build again."""
    machine.unload_provider()
    machine.set_info(framework=0)
    machine.remove("/built/smccc_cache.ko")
    machine.remove(f"/lib/modules/{RELEASE}/build")
    assert "the modules are built already" in check(machine, "headers").why
    found = check(machine, "smccc_cache")
    assert (found.state, found.needed) == (MISSING, False)
    assert "no place for a provider" in found.why
    assert "pyctl build" not in found.fix
    machine.remove("/built/memregion_test.ko")
    assert check(machine, "headers").needed


def test_a_build_for_another_kernel_is_named(machine: Machine) -> None:
    machine.unload_test_module()
    data = module_bytes(TEST_SRCVERSION, "6.12.1")
    machine.write_bytes("/built/memregion_test.ko", data)
    assert "6.12.1" in check(machine, "memregion_test").why


def test_a_broken_module_file_is_named_and_not_a_crash(machine: Machine) -> None:
    machine.write_bytes("/built/memregion_test.ko", b"")
    found = check(machine, "memregion_test")
    assert found.state == MISSING
    assert "no kernel module" in found.why


def test_lockdown_without_securityfs_is_answered_by_debugfs_itself(machine: Machine) -> None:
    machine.remove("/sys/kernel/security/lockdown")
    assert check(machine, "lockdown").state == OK
    machine.unload_test_module()
    assert check(machine, "lockdown").state == UNKNOWN


def test_lockdown_is_found_where_only_reading_is_left(machine: Machine, monkeypatch) -> None:
    """It leaves files that are only read, so that they can be read says nothing."""
    machine.remove("/sys/kernel/security/lockdown")
    allowed = os.open

    def locked(path, flags, *rest, **more):
        if str(path).endswith("/invalidate"):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        return allowed(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", locked)
    found = check(machine, "lockdown")
    assert found.state == MISSING
    assert "lockdown=" in found.fix


def test_a_kernel_without_debugfs_is_not_told_to_mount_it(machine: Machine) -> None:
    not_mounted(machine)
    assert "mount -t debugfs" in check(machine, "debugfs").fix
    machine.write("/proc/filesystems", "nodev\tsysfs\n")
    found = check(machine, "debugfs")
    assert "CONFIG_DEBUG_FS" in found.why
    assert "mount -t" not in found.fix


def test_signatures_are_asked_for_only_where_the_kernel_insists(machine: Machine) -> None:
    machine.unload_test_module()
    machine.write(ENFORCED, "N\n")
    assert check(machine, "signatures").state == OK
    machine.write(ENFORCED, "Y\n")
    found = check(machine, "signatures")
    assert (found.state, "memregion_test.ko is not signed" in found.why) == (MISSING, True)
    assert "mokutil --import" in found.fix
    assert "DKMS" in found.fix
    # Somebody has signed them; who is trusted only the kernel knows.
    machine.sign_modules()
    assert check(machine, "signatures").state == UNKNOWN
    machine.load_test_module()
    assert check(machine, "signatures").state == OK
    machine.unload_test_module()
    for name in ("memregion_test", "smccc_cache"):
        machine.remove(f"/built/{name}.ko")
    found = check(machine, "signatures")
    assert (found.state, "pyctl build" in found.fix) == (UNKNOWN, True)


CONFIG = "CONFIG_A=y\nCONFIG_GENERIC_CPU_CACHE_MAINTENANCE=y\n"
WITHOUT = "# CONFIG_GENERIC_CPU_CACHE_MAINTENANCE is not set\n"


@pytest.mark.parametrize(("text", "state"), [(CONFIG, OK), (WITHOUT, MISSING), ("", MISSING)])
@pytest.mark.parametrize("place", ["config.gz", "boot", "modules"])
def test_without_the_module_the_configuration_answers(
    machine: Machine, place: str, text: str, state: str
) -> None:
    machine.unload_test_module()
    machine.remove(f"/boot/config-{RELEASE}")
    if place == "config.gz":
        machine.write_bytes("/proc/config.gz", gzip.compress(text.encode()))
    else:
        path = f"/boot/config-{RELEASE}" if place == "boot" else f"/lib/modules/{RELEASE}/config"
        machine.write(path, text)
    assert check(machine, "framework").state == state


def test_without_module_and_configuration_the_framework_is_unknown(machine: Machine) -> None:
    machine.unload_test_module()
    machine.remove(f"/boot/config-{RELEASE}")
    assert check(machine, "framework").state == UNKNOWN


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"conduit": "none"}, "conduit"),
        ({"smccc_version": "0x10000"}, "1.0"),
        ({"features_clean_inv": -1}, "SMCCC_ARCH_CLEAN_INV_MEMREGION (ARCH"),
        ({"features_attributes": -1}, "MEMREGION_ATTRIBUTES"),
        ({"status": -3}, "INVALID_PARAMETER"),
        ({"features_clean_inv": None}, "was not asked"),
    ],
)
def test_every_row_of_discovery_has_its_sentence(
    changes: dict[str, object], words: str | None
) -> None:
    pairs = {k: v for k, v in {**ATTRIBUTES, **changes}.items() if v is not None}
    text = "\n".join(f"{key}={value}" for key, value in pairs.items())
    why = missing_function(Discovery.parse(Fields("attributes", text)))
    assert why is None if words is None else words in (why or "")


def fadt(flags: int) -> bytes:
    """ACPI's table up to the flags about Arm, which are 16 bits at offset 129."""
    return b"FACP".ljust(129, b"\xff") + flags.to_bytes(2, "little") + bytes(16)


@pytest.mark.parametrize(
    ("path", "content", "conduit"),
    [
        ("/proc/device-tree/psci/method", b"hvc\0", "hvc"),
        ("/proc/device-tree/psci/method", b"smc\0", "smc"),
        ("/sys/firmware/acpi/tables/FACP", fadt(0b01), "smc"),
        ("/sys/firmware/acpi/tables/FACP", fadt(0b11), "hvc"),
        ("/sys/firmware/acpi/tables/FACP", fadt(0b10), None),
        ("/sys/firmware/acpi/tables/FACP", b"FACP", None),
    ],
)
def test_without_the_module_the_machines_description_tells_the_conduit(
    machine: Machine, path: str, content: bytes, conduit: str | None
) -> None:
    machine.unload_test_module()
    machine.write_bytes(path, content)
    assert machine.system.psci_conduit == conduit
    found = check(machine, "smccc")
    assert found.state == UNKNOWN
    assert (f"names the conduit {conduit}." in found.why) == (conduit is not None)


@pytest.mark.parametrize(
    ("config", "mounted", "filesystems", "state"),
    [
        ("CONFIG_KPROBE_EVENTS=y\n", False, "nodev\ttracefs\n", OK),
        ("# CONFIG_KPROBE_EVENTS is not set\n", False, "nodev\ttracefs\n", MISSING),
        ("CONFIG_KPROBE_EVENTS=y\n", False, "nodev\tsysfs\n", MISSING),
        (None, False, "nodev\ttracefs\n", UNKNOWN),
        (None, True, "nodev\ttracefs\n", MISSING),
    ],
)
def test_whether_the_kernel_can_be_watched(
    machine: Machine, config: str | None, mounted: bool, filesystems: str, state: str
) -> None:
    machine.remove(f"/boot/config-{RELEASE}")
    if config:
        machine.write(f"/boot/config-{RELEASE}", config)
    machine.write("/proc/filesystems", filesystems)
    if mounted:
        machine.write("/proc/mounts", "none /sys/kernel/tracing tracefs rw 0 0\n")
    found = check(machine, "tracing")
    assert (found.state, found.needed) == (state, False)
    assert bool(found.fix) == (state != OK)
    machine.write("/sys/kernel/tracing/kprobe_events", "")
    if mounted:
        assert check(machine, "tracing").state == OK
