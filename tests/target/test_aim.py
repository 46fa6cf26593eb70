# SPDX-License-Identifier: GPL-2.0-only
"""Commands aim at scratch memory, and see firmware that writes beside it."""

import os

import pytest

from pyctl.coherency.window import target_of
from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.target.aim import Wish, aim
from pyctl.target.answers import Request
from pyctl.target.invalidate import run
from pyctl.target.regions import regions
from tests.harness.reports import OTHER_KIND

GUARD = 64 << 10


@pytest.mark.every_board
@pytest.mark.parametrize("via", ["memregion", "smccc", "va"])
def test_scratch_is_invalidated(pyctl, provider, stub, system, via):
    ended = pyctl("invalidate", "--scratch", "64K", "--via", via, "--json")
    assert (ended.status, ended.json["ok"], ended.err) == (0, True, "")
    addr, target = int(ended.json["addr"], 16), ended.json["target"]
    assert (target["kind"], target["guards"], target["first_damage"]) == ("scratch", "intact", None)
    [owner] = [r for r in regions(system) if r.range.addr <= addr < r.range.end]
    # It may be memory that was reserved while the kernel booted, and is so listed still.
    assert owner.kind in ("ram", "reserved")
    assert not owner.safe
    if via != "va":
        [call] = stub.log()
        assert (call.base, call.length) == (addr, 64 << 10)


@pytest.mark.board(append="reserve_mem=1M:1M:memregion reserve_mem=64K:64K:memregion1")
def test_what_was_reserved_by_name_is_safe_to_target(pyctl, provider, system, debugfs):
    named = {found.name: found for found in debugfs.reserved()}
    assert named
    known = {region.name: region for region in regions(system) if region.name in named}
    for name, found in named.items():
        assert (known[name].range.addr, known[name].range.size) == (found.addr, found.size)
        assert known[name].safe
        ended = pyctl("invalidate", "--addr", found.addr, "--size", found.size, "--json")
        assert (ended.status, ended.json["ok"]) == (0, True)
    # Its bytes are System RAM's, to which the module gives no access.
    with target_of(debugfs, Wish(size=4096)) as target:
        assert target.name not in named


def test_scratch_is_gone_with_the_command(pyctl, provider, debugfs):
    for size in ("1M", "1M", "2M"):
        assert pyctl("invalidate", "--scratch", size, "--json").json["ok"]
    assert pyctl("unload").status == 0
    assert pyctl("load", "--raw").status == 0


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (("--scratch", "2G"), 2, "at most 1G"),
        (("--scratch", "0"), 2, "empty"),
        (("--node", "7", "--size", "4K"), 2, "no NUMA node 7"),
        (("--scratch", "64K", "--addr", "0x1000"), 2, "no scratch memory"),
    ],
)
def test_scratch_that_cannot_be_had_is_a_sentence(pyctl, provider, stub, words, status, sentence):
    ended = pyctl("invalidate", *words, "--json")
    assert (ended.status, ended.json["ok"]) == (status, False)
    assert sentence in ended.message
    assert stub.get("clean_inv_calls") == 0


def test_more_scratch_than_there_is_memory_is_not_ready(pyctl, provider, stub):
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") > 1 << 30:
        pytest.skip(f"{OTHER_KIND} one with less memory than scratch may have")
    ended = pyctl("invalidate", "--scratch", "1G", "--json")
    assert (ended.status, ended.json["ok"]) == (3, False)
    assert "1G of scratch memory" in ended.message
    assert stub.get("clean_inv_calls") == 0


@pytest.mark.parametrize("overshoot", [-GUARD, GUARD])
def test_firmware_that_writes_beside_scratch_is_named(provider, stub, debugfs, overshoot):
    """What a device has stored there comes to light when firmware invalidates beside its range."""
    with (
        aim(debugfs, Wish(scratch=GUARD), 0) as target,
        aim(debugfs, Wish(scratch=GUARD), 0) as buffer,
    ):
        assert target.damage() is None
        stub.start_model(target.range.addr - GUARD, 3 * GUARD, 64)
        place = target.range.addr + overshoot + 256
        buffer.scratch.write_memory([(buffer.range.addr, bytes(64))])
        stub.copy_media(place, 64, buffer.range.addr, to_media=True)
        Faults(stub).replace(parse_faults(f"wrong_base:{overshoot}"))
        request = Request(target.range.addr, GUARD, "smccc")
        assert run(debugfs, request, debugfs.info(), 30).failure() is None
        stub.stop_model()
        assert f"0x{place:x}" in target.damage().message
        assert target.as_json()["guards"] == "damaged"
        assert buffer.damage() is None
