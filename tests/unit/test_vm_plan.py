# SPDX-License-Identifier: GPL-2.0-only
"""A snapshot is found again only for the very board that it was made of."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from pyctl.cache import Entry
from pyctl.errors import UsageError
from pyctl.firmware.settings import parse_settings
from pyctl.vm import plan
from pyctl.vm.build import STUB_DIR, stub_source
from pyctl.vm.kernel import Kernel
from pyctl.vm.plan import BoardPlan
from pyctl.vm.qemu import Qemu
from pyctl.vm.recipes import DeviceTreeBoot
from pyctl.vm.spec import Spec


def plan_of(spec=None, **parts):
    """The plan of a board that is made of nothing but keys."""
    spec = spec or Spec()
    kernel = Kernel(None, "9.9", "kernel", Path("Image"), Path("kdir"), None, {})
    entries = {
        name: Entry(name, name, Path(name)) for name in ("stub", "guest", "agent", "project")
    }
    made: dict[str, Any] = (
        {"qemu": Qemu(Path("/bin/true")), "accel": "tcg", "kernel": kernel} | entries | parts
    )
    return BoardPlan(spec=spec, recipe=DeviceTreeBoot(spec), **made)


OTHERS: dict[str, Any] = {
    "boot": "uefi",
    "conduit": "smc",
    "cpus": 3,
    "memory_mib": 700,
    "cpu": "max",
    "firmware": tuple(parse_settings(["rate=1"])),
    "append": "quiet",
    "high_target": True,
    "nvdimm_mib": 64,
    "cxl_mib": (256,),
}
# What a choice goes with.
WITH: dict[str, dict[str, Any]] = {"cxl_mib": {"boot": "uefi"}}
# What was found for them, or made of them, is in the key by what it is.
FOUND = {"kernel", "kdir", "accel", "qemu", "stub"}
ONLY_READY: dict[str, Any] = {"load": False, "tests": True}


def test_no_choice_is_left_out_of_this_test():
    assert {field.name for field in fields(Spec)} == OTHERS.keys() | FOUND | ONLY_READY.keys()


@pytest.mark.parametrize("name", OTHERS)
def test_a_board_that_differs_has_a_snapshot_of_its_own(name):
    usual = replace(Spec(), **WITH.get(name, {}))
    other = plan_of(replace(usual, **{name: OTHERS[name]}))
    assert other.base_key != plan_of(usual).base_key
    assert other.ready_key != plan_of(usual).ready_key


@pytest.mark.parametrize("name", ONLY_READY)
def test_boards_that_differ_only_when_they_are_ready_share_their_boot(name):
    other = plan_of(replace(Spec(), **{name: ONLY_READY[name]}))
    assert other.base_key == plan_of().base_key
    assert other.ready_key != plan_of().ready_key


@pytest.mark.parametrize("name", ["stub", "guest", "agent", "accel", "qemu"])
def test_a_part_that_differs_makes_another_snapshot(name):
    part = {"accel": "kvm", "qemu": Qemu(Path("/bin/sh"))}.get(name, Entry("x", "other", Path()))
    assert plan_of(**{name: part}).base_key != plan_of().base_key


def test_where_the_source_of_a_stub_lies_makes_no_difference():
    assert plan_of(replace(Spec(), stub=Path("copy"))).base_key == plan_of().base_key


def test_a_directory_without_a_stub_is_said_to_be_that(tmp_path):
    (tmp_path / "main.c").write_text("")
    with pytest.raises(UsageError, match="no source of the firmware stub in"):
        stub_source(tmp_path)
    assert stub_source(STUB_DIR).key() == stub_source().key()


def test_the_project_is_in_the_ready_board_only():
    other = plan_of(project=Entry("project", "other", Path()))
    assert other.base_key == plan_of().base_key
    assert other.ready_key != plan_of().ready_key


@pytest.mark.parametrize("name", ["devicetree.py", "machine.py", "recipes.py"])
def test_another_recipe_makes_another_snapshot(monkeypatch, tmp_path, name):
    """The device tree and QEMU's devices are in the snapshot, but in no file of the cache."""
    before = plan_of().base_key
    for path in Path(plan.__file__).parent.glob("*.py"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    monkeypatch.setattr(plan, "_RECIPES", (tmp_path, ("*.py",)))
    assert plan_of().base_key == before
    with (tmp_path / name).open("a") as f:
        f.write("# another device\n")
    assert plan_of().base_key != before


def test_a_root_that_does_not_fit_is_told_before_anything_starts(tmp_path):
    (tmp_path / "base.cpio").touch()
    with (tmp_path / "base.cpio").open("wb") as f:
        f.truncate(500 << 20)
    board = plan_of(guest=Entry("guest", "big", tmp_path), agent=Entry("agent", "big", tmp_path))
    (tmp_path / "agent.cpio").touch()
    with pytest.raises(UsageError, match="root does not fit") as caught:
        board.boot_arguments(tmp_path, board.root(with_project=False))
    assert "at least" in caught.value.hint
