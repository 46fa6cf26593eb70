# SPDX-License-Identifier: GPL-2.0-only
"""The board with UEFI and ACPI: the same firmware below, and nothing made for tests."""

import json

import pytest

from pyctl.vm.layout import FIRMWARE_SIZE, MIB, RAM_BASE

UEFI = ("--boot", "uefi")


def test_the_kernel_knows_the_board_from_acpi_alone(pyctl):
    done = pyctl.on_board(
        "sh",
        "-ec",
        "ls /sys/firmware/acpi/tables /sys/firmware/efi >&2; test ! -e /proc/device-tree;"
        "dmesg | grep psci:",
        options=UEFI,
    )
    assert done.returncode == 0, done.stderr
    assert "probing for conduit method from ACPI" in done.stdout


def test_the_whole_chain_is_there(pyctl):
    """Our firmware is called by smc, with the settings of the boot, and the provider is there."""
    done = pyctl.on_board(
        "sh",
        "-ec",
        "pyctl doctor >&2; exec pyctl attributes --json",
        options=(*UEFI, "--firmware", "latency_us=77", "--firmware", "rate=500"),
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["conduit"] == "smc"
    assert answer["smccc_version"] == "1.2"
    assert (answer["latency_us"], answer["rate_per_s"]) == (77, 500)
    assert answer["provider"]["name"] == "smccc_cache"


def test_firmware_misbehaves_on_command(pyctl):
    """The vendor calls reach the stub, and a fault does what it does on the other board."""
    done = pyctl.on_board(
        "sh",
        "-c",
        "pyctl fault set status:NOT_SUPPORTED@call=attributes >&2 && exec pyctl attributes --json",
        options=UEFI,
    )
    assert json.loads(done.stdout)["status"] == -1, done.stderr


@pytest.mark.parametrize("memory_mib", [512, 700])
def test_nothing_above_the_stub_knows_of_its_memory(pyctl, memory_mib):
    """Firmware's block is in no line of the memory map: neither as memory nor as reserved."""
    done = pyctl.on_board("cat", "/proc/iomem", options=(*UEFI, "--memory", str(memory_mib)))
    end = RAM_BASE + memory_mib * MIB
    for line in done.stdout.splitlines():
        first, last = (int(text, 16) for text in line.split(":")[0].strip().split("-"))
        assert last < end - FIRMWARE_SIZE or first >= end, line


def test_all_cpus_come_up(pyctl):
    """With so much memory that its clearing, which has to leave some, was too greedy once."""
    options = (*UEFI, "--cpus", "4", "--memory", "1024", "--bare")
    done = pyctl.on_board("nproc", options=options)
    assert done.stdout == "4\n"


def test_what_acpi_cannot_say_is_refused(pyctl):
    done = pyctl.on_board("true", options=(*UEFI, "--conduit", "hvc"))
    assert done.returncode == 2
    assert "--boot uefi" in done.stderr
    assert "Traceback" not in done.stderr


# -- a node without memory ---------------------------------------------------------------

# The first CPU has all of the memory, and the second one a node of its own.
NODES = """\
#!/bin/sh
case "$*" in *-smp*)
    set -- "$@" -object memory-backend-ram,id=all,size=512M \
        -numa node,nodeid=0,cpus=0,memdev=all -numa node,nodeid=1,cpus=1
esac
exec qemu-system-aarch64 "$@"
"""


def test_a_node_without_memory_is_named_and_its_cpu_has_scratch_of_another(pyctl, tmp_path):
    qemu = tmp_path / "qemu"
    qemu.write_text(NODES)
    qemu.chmod(0o755)
    done = pyctl.on_board(
        "sh",
        "-c",
        "pyctl invalidate --size 64K --node 1; echo $?;"
        "exec taskset 2 pyctl invalidate --size 64K --json",
        options=(*UEFI, "--cold", "--qemu", str(qemu)),
    )
    assert "There is no NUMA node 1 with memory." in done.stderr
    status, _, answer = done.stdout.partition("\n")
    assert status == "2"
    assert json.loads(answer)["target"]["node"] == 0
    assert json.loads(answer)["ok"]
