# SPDX-License-Identifier: GPL-2.0-only
"""Loading and unloading: the right build, the kernel's word for it, all or nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pyctl.errors import NotReady, OperationFailed
from pyctl.target import kmod
from pyctl.target.kmod import KernelEvents, Tools, load, unload
from tests.unit.fake_machine import RELEASE, TEST_SRCVERSION, Machine, module_bytes


@dataclass
class Kernel:
    """insmod, rmmod and the kernel's events, on the fake machine."""

    machine: Machine
    provider_registers: bool = True
    failures: dict[str, str] = field(default_factory=dict)
    """Module or ``-module`` (on unloading) -> what insmod or rmmod prints."""
    silent: bool = False
    commands: list[str] = field(default_factory=list)
    opened: int = 0

    @property
    def tools(self) -> Tools:
        return Tools(self.run, self.events)

    def events(self) -> Kernel:
        self.opened += 1
        return self

    def wait(self, action: str, module: str, timeout_s: float) -> bool:
        if self.silent:
            return False
        assert timeout_s > 0
        loaded = self.machine.system.path(f"/sys/module/{module}").exists()
        return loaded == (action == "add")

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        assert self.opened > len(self.commands), "events must be listened to before"
        self.commands.append(" ".join([command[0], os.path.basename(command[1]), *command[2:]]))
        name = os.path.basename(command[1]).removesuffix(".ko")
        failure = self.failures.get(name if command[0] == "insmod" else f"-{name}")
        if failure:
            return subprocess.CompletedProcess(command, 1, "", failure)
        provider = name == "smccc_cache"
        if command[0] == "rmmod":
            undo = self.machine.unload_provider if provider else self.machine.unload_test_module
            undo()
        elif provider:
            self.machine.load_provider()
            self.machine.set_info(provider=int(self.provider_registers))
        else:
            self.machine.info["raw_calls"] = int("raw_calls=1" in command)
            self.machine.load_test_module()
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def kernel(machine: Machine) -> Kernel:
    """A kernel with nothing of ours in it."""
    machine.unload_provider()
    machine.unload_test_module()
    return Kernel(machine)


def actions(changes: list[kmod.Change]) -> list[tuple[str, str]]:
    return [(change.name, change.action) for change in changes]


def test_auto_loads_the_provider_where_there_is_none(kernel: Kernel) -> None:
    changes = load(kernel.machine.system, tools=kernel.tools)
    assert actions(changes) == [("memregion_test", "loaded"), ("smccc_cache", "loaded")]
    assert kernel.commands == ["insmod memregion_test.ko", "insmod smccc_cache.ko"]


def test_auto_leaves_a_provider_of_the_kernels_own_alone(kernel: Kernel) -> None:
    kernel.machine.info["provider"] = 1
    load(kernel.machine.system, tools=kernel.tools)
    assert kernel.commands == ["insmod memregion_test.ko"]


def test_auto_without_the_framework_loads_the_test_module_alone(kernel: Kernel) -> None:
    kernel.machine.info["framework"] = 0
    load(kernel.machine.system, tools=kernel.tools)
    assert kernel.commands == ["insmod memregion_test.ko"]


@pytest.mark.parametrize(("provider", "loaded"), [("ours", 2), ("none", 1)])
def test_the_provider_can_be_chosen(kernel: Kernel, provider: str, loaded: int) -> None:
    kernel.machine.info["provider"] = int(provider == "ours")
    load(kernel.machine.system, provider, tools=kernel.tools)
    assert len(kernel.commands) == loaded


def test_raw_calls_are_a_parameter_of_the_module(kernel: Kernel) -> None:
    load(kernel.machine.system, "none", raw=True, tools=kernel.tools)
    assert kernel.commands == ["insmod memregion_test.ko raw_calls=1"]


def test_raw_on_a_module_that_is_loaded_without_is_not_ready(kernel: Kernel) -> None:
    kernel.machine.load_test_module()
    with pytest.raises(NotReady, match="without raw calls") as caught:
        load(kernel.machine.system, raw=True, tools=kernel.tools)
    assert "pyctl load --raw" in caught.value.hint


def test_loading_again_keeps_what_is_there(kernel: Kernel) -> None:
    load(kernel.machine.system, tools=kernel.tools)
    again = load(kernel.machine.system, tools=kernel.tools)
    assert actions(again) == [("memregion_test", "kept"), ("smccc_cache", "kept")]
    assert len(kernel.commands) == 2


@pytest.mark.parametrize("name", ["memregion_test", "smccc_cache"])
def test_another_build_that_is_loaded_is_not_ready(kernel: Kernel, name: str) -> None:
    load(kernel.machine.system, tools=kernel.tools)
    kernel.machine.write(f"/sys/module/{name}/srcversion", "ABCDEF\n")
    with pytest.raises(NotReady, match=f"{name} is loaded, but from another build") as caught:
        load(kernel.machine.system, tools=kernel.tools)
    assert "pyctl unload" in caught.value.hint


def test_a_module_for_another_kernel_is_found_before_insmod(kernel: Kernel) -> None:
    kernel.machine.write_bytes(
        "/built/memregion_test.ko", module_bytes(TEST_SRCVERSION, "6.12.1-arm64")
    )
    with pytest.raises(NotReady, match=r"built for kernel 6\.12\.1-arm64, but .* is running"):
        load(kernel.machine.system, tools=kernel.tools)
    assert kernel.commands == []


def test_a_missing_module_says_where_it_was_looked_for(kernel: Kernel, monkeypatch) -> None:
    kernel.machine.remove("/built/memregion_test.ko")
    with pytest.raises(NotReady, match=str(kernel.machine.modules)) as caught:
        load(kernel.machine.system, tools=kernel.tools)
    assert "pyctl build" in caught.value.hint
    assert RELEASE in caught.value.message


def test_half_a_module_file_is_not_ready(kernel: Kernel) -> None:
    kernel.machine.write_bytes("/built/memregion_test.ko", b"\x7fELF\0\0")
    with pytest.raises(NotReady, match="no kernel module"):
        load(kernel.machine.system, tools=kernel.tools)


def test_a_named_directory_comes_instead_of_all_others(kernel: Kernel, tmp_path) -> None:
    with pytest.raises(NotReady, match=str(tmp_path)):
        load(kernel.machine.system, directory=tmp_path, tools=kernel.tools)


PREFIX = "insmod: ERROR: could not insert module x.ko: "


@pytest.mark.parametrize(
    ("name", "stderr", "words"),
    [
        ("smccc_cache", "No such device", "firmware does not offer"),
        ("smccc_cache", "Unknown symbol in module", "lacks a function"),
        ("memregion_test", "Operation not permitted", "forbids"),
        ("memregion_test", "Key was rejected by service", "not signed"),
        ("memregion_test", "Required key not available", "not signed"),
        ("memregion_test", "Exec format error", "another configuration"),
    ],
)
def test_each_refusal_of_the_kernel_has_its_cure(
    kernel: Kernel, name: str, stderr: str, words: str
) -> None:
    kernel.failures[name] = PREFIX + stderr
    with pytest.raises(NotReady, match=words) as caught:
        load(kernel.machine.system, tools=kernel.tools)
    assert caught.value.hint


def test_lockdown_is_named_when_it_forbids_the_module(kernel: Kernel) -> None:
    kernel.machine.write("/sys/kernel/security/lockdown", "none [integrity] confidentiality")
    kernel.failures["memregion_test"] = PREFIX + "Operation not permitted"
    with pytest.raises(NotReady, match="not signed") as caught:
        load(kernel.machine.system, tools=kernel.tools)
    assert "lockdown" in caught.value.hint


def test_any_other_refusal_is_passed_on(kernel: Kernel) -> None:
    kernel.failures["memregion_test"] = PREFIX + "Cannot allocate memory"
    with pytest.raises(OperationFailed, match="Cannot allocate memory"):
        load(kernel.machine.system, tools=kernel.tools)


def test_a_failure_undoes_what_this_command_loaded(kernel: Kernel) -> None:
    kernel.failures["smccc_cache"] = PREFIX + "No such device"
    with pytest.raises(NotReady):
        load(kernel.machine.system, tools=kernel.tools)
    assert kernel.commands[-1] == "rmmod memregion_test"
    assert not kernel.machine.system.path("/sys/module/memregion_test").exists()


def test_a_failure_leaves_what_was_there_before(kernel: Kernel) -> None:
    load(kernel.machine.system, "none", tools=kernel.tools)
    kernel.failures["smccc_cache"] = PREFIX + "No such device"
    with pytest.raises(NotReady):
        load(kernel.machine.system, tools=kernel.tools)
    assert kernel.machine.system.path("/sys/module/memregion_test").exists()


def test_a_module_that_the_kernel_does_not_announce_is_an_error(kernel: Kernel) -> None:
    kernel.silent = True
    with pytest.raises(OperationFailed, match="did not announce"):
        load(kernel.machine.system, "none", tools=kernel.tools)


def test_unloading_takes_the_provider_first(kernel: Kernel) -> None:
    load(kernel.machine.system, tools=kernel.tools)
    changes = unload(kernel.machine.system, kernel.tools)
    assert actions(changes) == [("smccc_cache", "unloaded"), ("memregion_test", "unloaded")]
    assert kernel.commands[2:] == ["rmmod smccc_cache", "rmmod memregion_test"]
    again = unload(kernel.machine.system, kernel.tools)
    assert actions(again) == [("smccc_cache", "absent"), ("memregion_test", "absent")]


def test_a_module_in_use_says_what_to_do(kernel: Kernel) -> None:
    load(kernel.machine.system, tools=kernel.tools)
    kernel.failures["-memregion_test"] = "rmmod: ERROR: Module memregion_test is in use"
    with pytest.raises(OperationFailed, match="in use") as caught:
        unload(kernel.machine.system, kernel.tools)
    assert "open" in caught.value.hint


def test_a_module_whose_removal_is_not_announced_is_an_error(kernel: Kernel) -> None:
    load(kernel.machine.system, "none", tools=kernel.tools)
    kernel.silent = True
    with pytest.raises(OperationFailed, match="did not announce"):
        unload(kernel.machine.system, kernel.tools)


@pytest.mark.parametrize("job", [load, unload])
def test_only_root_may(kernel: Kernel, job) -> None:
    kernel.machine.become(euid=1000)
    with pytest.raises(NotReady, match="root") as caught:
        job(kernel.machine.system, tools=kernel.tools)
    assert "sudo" in caught.value.hint
    assert kernel.commands == []


def test_a_missing_tool_is_not_ready(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotReady, match="insmod is not installed"):
        kmod.SYSTEM_TOOLS.run(["insmod", "x"])


def test_waiting_for_the_kernels_event_is_bounded() -> None:
    start = time.monotonic()
    assert not KernelEvents().wait("add", "no_such_module", 0.2)
    assert 0.1 < time.monotonic() - start < 5
