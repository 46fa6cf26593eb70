# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own drivers on virtual hardware: what they ask for, and what they pass on.

Firmware's own log is the witness: each call that ``pyctl watch`` shows is one that it saw.
"""

import json
from pathlib import Path

import pytest

from pyctl.smccc import BUSY, INVALID_PARAMETER, NOT_SUPPORTED
from tests.vm.callers import Cell, table
from tests.vm.conftest import Runner
from tests.vm.scenes import CALLS, ROUNDS

README = Path(__file__).resolve().parents[2] / "pyctl/README.md"
BEGIN, END = "<!-- callers-table-begin -->", "<!-- callers-table-end -->"

WHOLE = (0, 2**64 - 1)
NVDIMM = ("--nvdimm", "64M", "--firmware", "whole=accept")
UEFI = ("--boot", "uefi")
CXL = (*UEFI, "--cxl", "256M")
REGION = (0x100_0000_0000, 256 << 20)
SECOND = (REGION[0] + REGION[1], REGION[1])
BOTH = (REGION[0], 2 * REGION[1])
CXL_CALLER = "cxl_region_invalidate_memregion"
# What the caller of the provider is told, and what firmware says in its tries.
TOLD = {
    "SUCCESS": (None, [0]),
    "SUCCESS, 50 ms late": (None, [0]),
    "BUSY once": (None, [BUSY, 0]),
    "BUSY every time": ("EBUSY", [BUSY] * 5),
    "INVALID_PARAMETER": ("EINVAL", [INVALID_PARAMETER]),
    "NOT_SUPPORTED": ("EOPNOTSUPP", [NOT_SUPPORTED]),
    "no provider": (None, []),
}


def cells(pyctl, *options):
    """Every operation with every answer, as a run gives it."""
    done = pyctl.on_board("python3", "-m", "tests.vm.callers", options=options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check_table(found, *kinds):
    """Every answer was tried, and pyctl/README.md has the rows that came of it."""
    assert {each["said"] for each in found} == TOLD.keys()
    written = README.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()
    rows = list(table([Cell(**each) for each in found]))
    begins = tuple(f"| {kind} " for kind in kinds)
    assert [line for line in written if line.startswith(begins)] == rows, (
        "put what `scripts/callers` prints between the markers"
    )


def check_answered(each, caller, area, told=None):
    """One call, by this function for this range; firmware saw what its result comes from.

    ``told`` is what the caller makes of it that there is nobody to ask.
    """
    errno, statuses = TOLD[each["said"]]
    errno = errno or told
    assert each["firmware"] == [[*area, status] for status in statuses], each
    [call] = each["calls"]
    answered = each["said"] != "no provider"
    failed = errno is not None or not answered
    assert (call["caller"], int(call["addr"], 0), call["size"]) == (caller, *area), each
    assert (call["answered"], call["errno"], call["ok"]) == (answered, errno, not failed), each
    assert call["tries"] == (len(statuses) if answered else None), each
    return failed


def pytest_generate_tests(metafunc):
    full = metafunc.config.getoption("full")
    if "nvdimm_board" in metafunc.fixturenames:
        boards = [NVDIMM, (*NVDIMM, *UEFI)] if full else [NVDIMM]
        metafunc.parametrize("nvdimm_board", boards, ids=" ".join)


@pytest.fixture
def cxl_board(request):
    """A board with CXL memory, for which a QEMU of 150 MB may have to be fetched."""
    if not request.config.getoption("full"):
        pytest.skip("a newer QEMU is fetched for it: --full")
    return CXL


def test_nvdimm_drivers_ask_for_all_memory_and_pass_no_failure_on(pyctl, nvdimm_board):
    found = cells(pyctl, *nvdimm_board)
    check_table(found, "ndctl")
    for each in found:
        assert each["status"] == 0, each
        if each["operation"] == "ndctl disable-region":
            failed = check_answered(each, "nd_region_remove", WHOLE)
            assert each["calls"][0]["swallowed"] == (True if failed else None), each
        else:
            assert (each["calls"], each["firmware"]) == ([], []), each


COMMITTING = ("cxl create-region", "CXL region commit")
QUIET = ("cxl disable-region", "cxl enable-region")


def test_cxl_drivers_ask_for_the_region_and_pass_no_failure_on(pyctl, cxl_board):
    found = cells(pyctl, *cxl_board)
    check_table(found, "cxl", "CXL")
    for each in found:
        if each["operation"] in QUIET:
            assert (each["status"], each["calls"], each["firmware"]) == (0, [], []), each
            continue
        told = "ENXIO" if each["said"] == "no provider" else None
        failed = check_answered(each, CXL_CALLER, REGION, told)
        if told and each["operation"] in COMMITTING:
            # The one failure that the kernel passes on.
            assert (each["status"], each["calls"][0]["swallowed"]) == (1, False), each
        else:
            assert each["status"] == 0, each
            assert each["calls"][0]["swallowed"] == (True if failed else None), each


@pytest.fixture(scope="module")
def scenes(request):
    """What happened to two CXL devices, by scene."""
    if not request.config.getoption("full"):
        pytest.skip("a newer QEMU is fetched for it: --full")
    done = Runner().on_board("python3", "-m", "tests.vm.scenes", options=(*CXL, "--cxl", "256M"))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def seen(each):
    """The calls of a scene's operation: who asked for what, and how it went."""
    names = ("caller", "answered", "errno", "swallowed")
    return [
        (int(call["addr"], 0), call["size"], *(call[name] for name in names))
        for call in sorted(each["calls"], key=lambda call: call["time_s"])
    ]


def test_what_becomes_of_one_cxl_region_is_nothing_to_another(scenes):
    first, second, both = scenes["two_regions"]
    assert seen(first) == [(*REGION, CXL_CALLER, True, None, None)]
    assert seen(second) == [(*SECOND, CXL_CALLER, True, None, None)]
    assert both["status"] == 0
    failed = (CXL_CALLER, True, "EINVAL", True)
    assert seen(both) == [(*SECOND, *failed), (*REGION, *failed)]
    assert both["firmware"] == [[*area, INVALID_PARAMETER] for area in (SECOND, REGION)]


def test_an_interleaved_region_is_asked_for_whole(scenes):
    commit, decommit = scenes["interleaved"]
    for each in (commit, decommit):
        assert seen(each) == [(*BOTH, CXL_CALLER, True, None, None)]
    assert decommit["firmware"] == [[*BOTH, BUSY], [*BOTH, 0]]


def test_calls_of_two_callers_at_once_are_kept_apart(scenes):
    [both] = scenes["at_once"]
    assert all(call["ok"] for call in both["calls"])
    asked = [(call["caller"], int(call["addr"], 0), call["size"]) for call in both["calls"]]
    ours = [each for each in asked if each != (CXL_CALLER, *REGION)]
    assert (len(asked) - len(ours), len(ours)) == (2 * ROUNDS, CALLS)
    assert len(set(ours)) == 1
    assert ours[0][0] == "memregion_call"
    by_us = sorted([addr, size, 0] for _, addr, size in asked)
    assert by_us == sorted(both["firmware"])


def test_a_provider_that_goes_in_the_middle_is_missed(scenes):
    [each] = scenes["unloaded_in_the_middle"]
    good = (*REGION, CXL_CALLER, True, None, None)
    assert seen(each) == [good, (*REGION, CXL_CALLER, False, "ENXIO", True), good]
    assert each["firmware"] == [[*REGION, 0]] * 2


def test_old_data_are_read_where_a_failure_was_swallowed(scenes):
    assert scenes["data"] == {
        "": "new",
        "status:BUSY@next=1": "new",
        "noop": "old",
        "status:INVALID_PARAMETER": "old",
    }


UNBIND = "echo region0 > /sys/bus/nd/drivers/nd_region/unbind"


@pytest.mark.parametrize(("said", "status"), [("INVALID_PARAMETER", 1), ("SUCCESS", 0)])
def test_a_command_shows_that_a_failure_was_swallowed(pyctl, said, status):
    watch = f"pyctl watch --json --fail-on-swallowed -- sh -c '{UNBIND}'"
    done = pyctl.on_board(
        *("sh", "-c", f"pyctl fault set status:{said}@next=1 >&2; exec {watch}"), options=NVDIMM
    )
    assert done.returncode == status, done.stderr
    call, summary = (json.loads(line) for line in done.stdout.splitlines())
    assert (call["ok"], summary["ok"]) == (status == 0, status == 0)
    assert (summary["calls"], summary["swallowed"]) == (1, status)


def test_regions_shows_the_nvdimm(pyctl):
    script = """
        regions() { pyctl regions --json | tr -d '\\n'; echo; }
        regions
        ndctl disable-namespace namespace0.0 >&2; regions
        ndctl create-namespace -f -e namespace0.0 -m devdax >&2; regions
        ndctl create-namespace -f -e namespace0.0 -m sector >&2; regions
    """
    done = pyctl.on_board("sh", "-c", script, options=NVDIMM)
    used, free, *on_top = (
        [
            (each["addr"], each["size"], each["safe"])
            for each in json.loads(line)["regions"]
            if each["kind"] == "pmem"
        ]
        for line in done.stdout.splitlines()
    )
    assert used == [("0x60000000", 64 << 20, False)]
    assert free == [("0x60000000", 64 << 20, True)]
    # What a device on top of a namespace keeps there for itself is no less in use.
    for parts in on_top:
        assert sum(size for _, size, _ in parts) == 64 << 20, parts
        assert not any(safe for *_, safe in parts), parts


def test_sizes_that_are_none_are_refused(pyctl):
    for size, words in (("24M", "multiple of 16M"), ("100K", "no whole number of MiB")):
        done = pyctl("vm", "run", "--nvdimm", size, "--", "true")
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
