# SPDX-License-Identifier: GPL-2.0-only
"""Which memory may be targeted: only what somebody vouches for and nobody uses."""

from __future__ import annotations

import itertools
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyctl.errors import NotReady, UsageError
from pyctl.ranges import Range, subtract
from pyctl.target.regions import Region, Use, check_target, flatten, regions
from pyctl.target.sysfs import devices
from pyctl.target.system import System
from tests.unit.fake_machine import TARGET, TARGET_SIZE

spans = st.tuples(st.integers(0, 40), st.integers(0, 12)).map(lambda t: Range(t[0], t[0] + t[1]))
claims = st.lists(
    st.builds(
        Region, spans, st.just("k"), st.sampled_from("abc"), st.sampled_from(Use), st.just("why")
    ),
    max_size=8,
)


def uses_at(some: list[Region], addr: int) -> list[Use]:
    return [claim.use for claim in some if claim.range.addr <= addr < claim.range.end]


@given(claims)
def test_every_byte_has_one_owner_and_users_come_first(some: list[Region]) -> None:
    flat = flatten(some)
    for one, other in itertools.pairwise(flat):
        assert one.range.end <= other.range.addr
    for addr in range(60):
        assert uses_at(flat, addr) == [max(uses_at(some, addr))] if uses_at(some, addr) else True
        assert bool(uses_at(flat, addr)) == bool(uses_at(some, addr))


@given(claims, spans)
def test_a_target_passes_only_if_every_byte_is_free(some: list[Region], target: Range) -> None:
    flat = flatten(some)
    free = all(uses_at(flat, addr) == [Use.FREE] for addr in range(target.addr, target.end))
    try:
        check_target(flat, target, force=False)
    except UsageError:
        assert not free
    else:
        assert free
    check_target(flat, target, force=True)


@given(spans, st.lists(spans, max_size=5))
def test_what_is_left_is_the_whole_without_the_holes(whole: Range, holes: list[Range]) -> None:
    left = {addr for piece in subtract(whole, holes) for addr in range(piece.addr, piece.end)}
    gone = {addr for hole in holes for addr in range(hole.addr, hole.end)}
    assert left == set(range(whole.addr, whole.end)) - gone


def at(machine, addr: int) -> Region | None:
    found = [r for r in regions(machine.system) if r.range.addr <= addr < r.range.end]
    assert len(found) <= 1
    return found[0] if found else None


def test_the_test_range_of_the_board_is_the_only_safe_one(machine) -> None:
    safe = [region for region in regions(machine.system) if region.safe]
    assert [(r.range, r.kind) for r in safe] == [
        (Range(TARGET, TARGET + TARGET_SIZE), "test"),
    ]


def test_every_region_says_why_in_a_sentence(machine) -> None:
    for region in regions(machine.system):
        assert region.why[0].isupper()
        assert region.why.endswith(".")


@pytest.mark.parametrize(
    ("addr", "kind"),
    [
        (0x0900_0000, "device"),
        (0x4010_0000, "ram"),
        (0x4000_0000, "reserved"),
        (0x4020_0000, "reserved"),
        (0x4040_0000, "kernel"),
        (0x41C0_0000, "reserved"),
        (0x5EFF_FFFF, "ram"),
    ],
)
def test_memory_of_the_kernel_and_others_is_unsafe(machine, addr: int, kind: str) -> None:
    region = at(machine, addr)
    assert region
    assert (region.kind, region.safe) == (kind, False)


def test_a_test_range_that_the_kernel_has_taken_for_itself_is_unsafe(machine) -> None:
    # Reserving failed at boot, so it is plain System RAM in iomem.
    machine.write("/proc/iomem", "40000000-5fffffff : System RAM\n")
    region = at(machine, TARGET)
    assert region
    assert (region.kind, region.safe) == ("ram", False)


def test_a_test_range_reserved_inside_system_ram_is_safe(machine) -> None:
    machine.write("/proc/iomem", "40000000-5fffffff : System RAM\n  5f000000-5fffffff : reserved\n")
    region = at(machine, TARGET)
    assert region
    assert region.safe


def test_a_driver_inside_a_test_range_makes_that_part_unsafe(machine) -> None:
    machine.write(
        "/proc/iomem", "5f000000-5fffffff : reserved\n  5f100000-5f1fffff : mailbox@5f100000\n"
    )
    assert not at(machine, TARGET + 0x10_0000).safe
    assert at(machine, TARGET).safe
    assert at(machine, TARGET + 0x20_0000).safe


def test_other_reserved_nodes_are_unsafe_and_disabled_ones_do_not_count(machine) -> None:
    machine.write("/proc/iomem", "40000000-40000fff : System RAM\n")
    machine.reserve("optee@70000000", 0x7000_0000, 0x1000, "linaro,optee")
    machine.reserve("memregion-test@71000000", 0x7100_0000, 0x1000, "memregion-test")
    machine.write("/proc/device-tree/reserved-memory/memregion-test@71000000/status", "disabled\0")
    assert not at(machine, 0x7000_0000).safe
    assert at(machine, 0x7100_0000) is None


def test_hidden_addresses_are_not_ready(machine) -> None:
    machine.write("/proc/iomem", "00000000-00000000 : System RAM\n00000000-00000000 : reserved\n")
    with pytest.raises(NotReady, match="root"):
        regions(machine.system)


def test_no_iomem_is_not_ready(machine) -> None:
    machine.remove("/proc/iomem")
    with pytest.raises(NotReady, match="iomem"):
        regions(machine.system)


def memory_block(machine, index: int, state: str) -> None:
    machine.write("/sys/devices/system/memory/block_size_bytes", "8000000\n")
    machine.write(f"/sys/bus/memory/devices/memory{index}/phys_index", f"{index:08x}\n")
    machine.write(f"/sys/bus/memory/devices/memory{index}/state", f"{state}\n")


def test_an_offline_memory_block_is_safe_and_its_neighbour_not(machine) -> None:
    machine.write("/proc/iomem", "40000000-5fffffff : System RAM\n")
    memory_block(machine, 8, "online")
    memory_block(machine, 9, "offline")
    assert not at(machine, 0x4000_0000).safe
    assert at(machine, 0x4800_0000).safe
    assert at(machine, 0x4FFF_FFFF).safe
    assert not at(machine, 0x5000_0000).safe


def test_an_offline_block_that_holds_the_kernels_page_structures_is_unsafe(machine) -> None:
    machine.write("/proc/iomem", "40000000-5fffffff : System RAM\n")
    memory_block(machine, 9, "offline")
    machine.write("/sys/module/memory_hotplug/parameters/memmap_on_memory", "Y\n")
    assert not at(machine, 0x4800_0000).safe


CXL_IOMEM = """\
10000000000-10fffffffff : CXL Window 0
  10000000000-103ffffffff : region0
    10000000000-103ffffffff : dax0.0
"""


def cxl(machine, driver: str | None, extra_iomem: str = "") -> None:
    machine.write("/proc/iomem", CXL_IOMEM + extra_iomem)
    for name, pairs in (
        ("cxl/devices/decoder0.0", {"start": "0x10000000000", "size": "0x1000000000"}),
        (
            "cxl/devices/region0",
            {"resource": "0x10000000000", "size": "0x400000000", "commit": "1"},
        ),
        ("dax/devices/dax0.0", {"resource": "0x10000000000", "size": "17179869184"}),
    ):
        for key, value in pairs.items():
            machine.write(f"/sys/bus/{name}/{key}", f"{value}\n")
    bind(machine, "cxl/devices/region0", "cxl_region")
    if driver:
        bind(machine, "dax/devices/dax0.0", driver)


def bind(machine, device: str, driver: str) -> None:
    machine.write(f"/sys/bus/drivers/{driver}/module", "")
    os.symlink(
        machine.system.path(f"/sys/bus/drivers/{driver}"),
        machine.system.path(f"/sys/bus/{device}/driver"),
    )


@pytest.mark.parametrize("driver", [None, "device_dax"])
def test_a_dax_device_that_nobody_has_open_is_safe(machine, driver: str | None) -> None:
    cxl(machine, driver)
    assert at(machine, 0x100_0000_0000).safe
    window = at(machine, 0x104_0000_0000)
    assert (window.kind, window.safe) == ("cxl", False)


def test_a_dax_device_that_a_process_has_open_is_unsafe_and_names_it(machine) -> None:
    cxl(machine, "device_dax")
    machine.write("/dev/dax0.0", "")
    with machine.system.path("/dev/dax0.0").open():
        region = at(machine, 0x100_0000_0000)
    assert not region.safe
    assert f"({os.getpid()})" in region.why
    assert at(machine, 0x100_0000_0000).safe


def test_a_dax_device_that_became_system_ram_is_unsafe(machine) -> None:
    cxl(machine, "kmem", "      10000000000-103ffffffff : System RAM (kmem)\n")
    region = at(machine, 0x100_0000_0000)
    assert (region.kind, region.safe) == ("ram", False)


def test_a_cxl_region_without_a_driver_is_safe_and_an_active_one_is_not(machine) -> None:
    cxl(machine, None)
    machine.remove("/sys/bus/dax/devices/dax0.0")
    assert not at(machine, 0x100_0000_0000).safe
    machine.system.path("/sys/bus/cxl/devices/region0/driver").unlink()
    assert at(machine, 0x100_0000_0000).safe
    machine.write("/sys/bus/cxl/devices/region0/commit", "0\n")
    region = at(machine, 0x100_0000_0000)
    assert not region.safe
    assert "not committed" in region.why


def test_a_namespace_is_safe_only_without_a_driver_and_a_device_on_top(machine) -> None:
    machine.write("/proc/iomem", "80000000-8fffffff : Persistent Memory\n")
    for key, value in {"resource": "0x80000000", "size": "268435456"}.items():
        machine.write(f"/sys/bus/nd/devices/region0/{key}", f"{value}\n")
        machine.write(f"/sys/bus/nd/devices/namespace0.0/{key}", f"{value}\n")
    assert at(machine, 0x8000_0000).safe
    machine.write("/sys/bus/nd/devices/namespace0.0/holder", "btt0.0\n")
    region = at(machine, 0x8000_0000)
    assert (region.safe, region.why) == (False, "btt0.0 uses this namespace.")
    machine.write("/sys/bus/nd/devices/namespace0.0/holder", "\n")
    bind(machine, "nd/devices/namespace0.0", "nd_pmem")
    region = at(machine, 0x8000_0000)
    assert (region.kind, region.safe) == ("pmem", False)
    assert "nd_pmem" in region.why
    machine.remove("/sys/bus/nd/devices/namespace0.0")
    assert not at(machine, 0x8000_0000).safe


def test_a_device_without_a_range_is_passed_over(machine) -> None:
    machine.write("/sys/bus/nd/devices/namespace0.0/resource", "0xffffffffffffffff\n")
    machine.write("/sys/bus/nd/devices/namespace0.0/size", "4096\n")
    machine.write("/sys/bus/nd/devices/namespace1.0/resource", "0x1000\n")
    machine.write("/sys/bus/nd/devices/namespace1.0/size", "0\n")
    assert not [region for region in regions(machine.system) if region.name.startswith("namesp")]


def test_the_refusal_names_the_owner_or_the_gap(machine) -> None:
    known = regions(machine.system)
    with pytest.raises(UsageError, match="System RAM"):
        check_target(known, Range(0x5EFF_0000, TARGET + 0x1000), force=False)
    with pytest.raises(UsageError, match=r"Nothing on this machine describes.*0x60000000"):
        check_target(known, Range(TARGET, TARGET + TARGET_SIZE + 1), force=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the addresses in /proc/iomem")
def test_the_real_machine_can_be_listed() -> None:
    assert any(region.kind == "ram" for region in regions(System.this()))


def test_a_machine_without_libudev_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("No library named udev")

    monkeypatch.setattr("pyudev.Context", missing)
    monkeypatch.setattr("pathlib.Path.is_dir", lambda path: True)
    with pytest.raises(NotReady, match="libudev is not there"):
        devices(System.this(), "memory")
