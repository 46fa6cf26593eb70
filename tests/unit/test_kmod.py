# SPDX-License-Identifier: GPL-2.0-only
"""Loading and unloading: the right build, the kernel's word for it, all or nothing."""

from __future__ import annotations

import errno
import os

import pytest

from pyctl.errors import NotReady, OperationFailed
from pyctl.target import kmod
from pyctl.target.kmod import load, unload
from tests.unit.fake_machine import (
    RELEASE,
    TEST_SRCVERSION,
    Kernel,
    Machine,
    module_bytes,
)


@pytest.fixture
def kernel(kernel: Kernel, machine: Machine) -> Kernel:
    """A kernel with nothing of ours in it."""
    machine.unload_provider()
    machine.unload_test_module()
    return kernel


def actions(changes: list[kmod.ModuleChange]) -> list[tuple[str, str]]:
    return [(change.name, change.action) for change in changes]


def test_auto_loads_the_provider_where_there_is_none(kernel: Kernel) -> None:
    changes = load(kernel.machine.system)
    assert actions(changes) == [("memregion_test", "loaded"), ("smccc_cache", "loaded")]
    assert kernel.commands == ["insert memregion_test", "insert smccc_cache"]


def test_auto_leaves_a_provider_of_the_kernels_own_alone(kernel: Kernel) -> None:
    kernel.machine.info["provider"] = 1
    load(kernel.machine.system)
    assert kernel.commands == ["insert memregion_test"]


def test_auto_without_the_framework_loads_the_test_module_alone(kernel: Kernel) -> None:
    kernel.machine.info["framework"] = 0
    load(kernel.machine.system)
    assert kernel.commands == ["insert memregion_test"]


def test_ours_without_the_framework_is_told_why_and_undone(kernel: Kernel) -> None:
    """There is no such module for that kernel, and building it again would not help."""
    kernel.machine.info["framework"] = 0
    kernel.machine.remove("/built/smccc_cache.ko")
    with pytest.raises(NotReady, match="no place for a provider") as caught:
        load(kernel.machine.system, "ours")
    assert "6.19" in caught.value.hint
    assert kernel.commands == ["insert memregion_test", "remove memregion_test"]


@pytest.mark.parametrize(("provider", "loaded"), [("ours", 2), ("none", 1)])
def test_the_provider_can_be_chosen(kernel: Kernel, provider: str, loaded: int) -> None:
    kernel.machine.info["provider"] = int(provider == "ours")
    load(kernel.machine.system, provider)
    assert len(kernel.commands) == loaded


def test_raw_calls_are_a_parameter_of_the_module(kernel: Kernel) -> None:
    load(kernel.machine.system, "none", raw=True)
    assert kernel.commands == ["insert memregion_test raw_calls=1"]


def test_raw_on_a_module_that_is_loaded_without_is_not_ready(kernel: Kernel) -> None:
    kernel.machine.load_test_module()
    with pytest.raises(NotReady, match="without raw calls") as caught:
        load(kernel.machine.system, raw=True)
    assert "pyctl load --raw" in caught.value.hint


def test_loading_again_keeps_what_is_there(kernel: Kernel) -> None:
    load(kernel.machine.system)
    again = load(kernel.machine.system)
    assert actions(again) == [("memregion_test", "kept"), ("smccc_cache", "kept")]
    assert len(kernel.commands) == 2


@pytest.mark.parametrize("name", ["memregion_test", "smccc_cache"])
def test_another_build_that_is_loaded_is_not_ready(kernel: Kernel, name: str) -> None:
    load(kernel.machine.system)
    kernel.machine.write(f"/sys/module/{name}/srcversion", "ABCDEF\n")
    with pytest.raises(NotReady, match=f"{name} is loaded, but from another build") as caught:
        load(kernel.machine.system)
    assert "pyctl unload" in caught.value.hint


def test_a_module_for_another_kernel_is_x(kernel: Kernel) -> None:
    kernel.machine.write_bytes(
        "/built/memregion_test.ko", module_bytes(TEST_SRCVERSION, "6.12.1-arm64")
    )
    with pytest.raises(NotReady, match=r"built for kernel 6\.12\.1-arm64, but .* is running"):
        load(kernel.machine.system)
    assert kernel.commands == []


def test_a_missing_module_says_where_it_was_looked_for(kernel: Kernel, monkeypatch) -> None:
    kernel.machine.remove("/built/memregion_test.ko")
    with pytest.raises(NotReady, match=str(kernel.machine.modules)) as caught:
        load(kernel.machine.system)
    assert "pyctl build" in caught.value.hint
    assert RELEASE in caught.value.message


def test_half_a_module_file_is_not_ready(kernel: Kernel) -> None:
    kernel.machine.write_bytes("/built/memregion_test.ko", b"\x7fELF\0\0")
    with pytest.raises(NotReady, match="no kernel module"):
        load(kernel.machine.system)


def test_a_named_directory_comes_instead_of_all_others(kernel: Kernel, tmp_path) -> None:
    with pytest.raises(NotReady, match=str(tmp_path)):
        load(kernel.machine.system, directory=tmp_path)


@pytest.mark.parametrize(
    ("name", "number", "words"),
    [
        ("smccc_cache", errno.ENODEV, "firmware does not offer"),
        ("smccc_cache", errno.ENOENT, "lacks a function"),
        ("memregion_test", errno.EPERM, "forbids"),
        ("memregion_test", errno.EKEYREJECTED, r"memregion_test\.ko is not signed"),
        ("memregion_test", errno.ENOEXEC, "another configuration"),
        ("memregion_test", errno.EINVAL, "another configuration"),
    ],
)
def test_each_refusal_of_the_kernel_has_its_cure(
    kernel: Kernel, name: str, number: int, words: str
) -> None:
    kernel.failures[f"insert {name}"] = number
    with pytest.raises(NotReady, match=words) as caught:
        load(kernel.machine.system)
    assert caught.value.hint


def test_lockdown_is_named_when_it_forbids_the_module(kernel: Kernel) -> None:
    kernel.machine.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality")
    kernel.failures["insert memregion_test"] = errno.EPERM
    with pytest.raises(NotReady, match="locked down and refuses memregion_test") as caught:
        load(kernel.machine.system)
    assert "lockdown" in caught.value.hint


@pytest.mark.parametrize("number", [errno.EKEYREJECTED, errno.ENOKEY, errno.EBADMSG, errno.ENOPKG])
def test_a_signature_that_the_kernel_does_not_take_is_not_a_missing_one(
    kernel: Kernel, number: int
) -> None:
    kernel.machine.sign_modules()
    kernel.failures["insert memregion_test"] = number
    with pytest.raises(
        NotReady, match=r"does not trust the signature of .*memregion_test\.ko"
    ) as e:
        load(kernel.machine.system)
    assert "mokutil --import" in e.value.hint


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENODEV])
def test_a_kernel_without_debugfs_is_named_when_the_module_cannot_start(
    kernel: Kernel, number: int
) -> None:
    kernel.machine.write("/proc/filesystems", "nodev\tsysfs\n")
    kernel.failures["insert memregion_test"] = number
    with pytest.raises(NotReady, match="CONFIG_DEBUG_FS is off"):
        load(kernel.machine.system)


@pytest.mark.parametrize(
    ("number", "words"),
    [(errno.ENOMEM, "Cannot allocate memory"), (errno.EEXIST, "Somebody else has just loaded")],
)
def test_any_other_refusal_is_passed_on(kernel: Kernel, number: int, words: str) -> None:
    kernel.failures["insert memregion_test"] = number
    with pytest.raises(OperationFailed, match=words):
        load(kernel.machine.system)


def test_a_failure_undoes_what_this_command_loaded(kernel: Kernel) -> None:
    kernel.failures["insert smccc_cache"] = errno.ENODEV
    with pytest.raises(NotReady):
        load(kernel.machine.system)
    assert kernel.commands[-1] == "remove memregion_test"
    assert not kernel.machine.system.path("/sys/module/memregion_test").exists()


def test_a_failure_leaves_what_was_there_before(kernel: Kernel) -> None:
    load(kernel.machine.system, "none")
    kernel.failures["insert smccc_cache"] = errno.ENODEV
    with pytest.raises(NotReady):
        load(kernel.machine.system)
    assert kernel.machine.system.path("/sys/module/memregion_test").exists()


@pytest.mark.parametrize("name", ["memregion_test", "smccc_cache"])
def test_ctrl_c_undoes_what_this_command_loaded(kernel: Kernel, name: str) -> None:
    """Python hears of it when the system call has returned, with the module loaded."""
    kernel.interrupted_by = f"insert {name}"
    with pytest.raises(KeyboardInterrupt):
        load(kernel.machine.system)
    assert kernel.commands[-1] == "remove memregion_test"
    for module in ("memregion_test", "smccc_cache"):
        assert not kernel.machine.system.path(f"/sys/module/{module}").exists()


def test_unloading_takes_the_provider_first(kernel: Kernel) -> None:
    load(kernel.machine.system)
    changes = unload(kernel.machine.system)
    assert actions(changes) == [("smccc_cache", "unloaded"), ("memregion_test", "unloaded")]
    assert kernel.commands[2:] == ["remove smccc_cache", "remove memregion_test"]
    again = unload(kernel.machine.system)
    assert actions(again) == [("smccc_cache", "absent"), ("memregion_test", "absent")]


def test_a_module_in_use_says_what_to_do(kernel: Kernel) -> None:
    load(kernel.machine.system)
    kernel.failures["remove memregion_test"] = errno.EAGAIN
    with pytest.raises(OperationFailed, match="in use") as caught:
        unload(kernel.machine.system)
    assert "open" in caught.value.hint


def test_any_other_failure_to_unload_has_its_reason(kernel: Kernel) -> None:
    load(kernel.machine.system)
    kernel.failures["remove smccc_cache"] = errno.EBUSY
    with pytest.raises(OperationFailed, match="busy") as caught:
        unload(kernel.machine.system)
    assert "dmesg" in caught.value.hint


@pytest.mark.parametrize("job", [load, unload])
def test_only_root_may(kernel: Kernel, job) -> None:
    kernel.machine.become(euid=1000)
    with pytest.raises(NotReady, match="root") as caught:
        job(kernel.machine.system)
    assert "sudo" in caught.value.hint
    assert kernel.commands == []


@pytest.mark.skipif(os.uname().machine == "aarch64", reason="it would be tried")
def test_another_machine_than_arm64_is_told_so(machine: Machine) -> None:
    """System calls have other numbers there."""
    machine.unload_test_module()
    with pytest.raises(NotReady, match="arm64"):
        load(machine.system)
