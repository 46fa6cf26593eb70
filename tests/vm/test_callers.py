# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own drivers on virtual hardware: what they ask for, and what they pass on.

Firmware's own log is the witness: each call that ``pyctl watch`` shows is one that it saw.
"""

import json
from pathlib import Path

import pytest

from pyctl.smccc import BUSY, INVALID_PARAMETER, NOT_SUPPORTED
from tests.vm.callers import Cell, row

README = Path(__file__).resolve().parents[2] / "pyctl/README.md"
BEGIN, END = "<!-- callers-table-begin -->", "<!-- callers-table-end -->"

WHOLE = (0, 2**64 - 1)
NVDIMM = ("--nvdimm", "64M", "--firmware", "whole=accept")
UEFI = ("--boot", "uefi")
CXL = (*UEFI, "--cxl", "256M")
REGION = (0x100_0000_0000, 256 << 20)
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


def check_table(found, kind):
    """Every answer was tried, and pyctl/README.md has the rows that came of it."""
    assert {each["said"] for each in found} == TOLD.keys()
    written = README.read_text().partition(BEGIN)[2].partition(END)[0].splitlines()
    rows = [row(Cell(**each)) for each in found]
    assert [line for line in written if line.startswith(f"| {kind}")] == rows, (
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
    check_table(found, "NVDIMM")
    for each in found:
        assert each["status"] == 0, each
        if each["operation"] == "NVDIMM region bind":
            assert (each["calls"], each["firmware"]) == ([], [])
            continue
        assert each["operation"] == "NVDIMM region unbind"
        failed = check_answered(each, "nd_region_remove", WHOLE)
        assert each["calls"][0]["swallowed"] == (True if failed else None), each


# The last takes the region's memory away while the region is in use.
CALLING = (
    *("CXL region commit", "CXL region decommit", "CXL region delete"),
    "CXL memory device unbind",
)


def test_cxl_drivers_ask_for_the_region_and_pass_no_failure_on(pyctl, cxl_board):
    found = cells(pyctl, *cxl_board)
    check_table(found, "CXL")
    for each in found:
        operation, said = each["operation"], each["said"]
        if operation == "CXL region commit" and said == "no provider":
            # The one failure that the kernel passes on.
            assert check_answered(each, "cxl_region_invalidate_memregion", REGION, "ENXIO")
            assert (each["status"], each["calls"][0]["swallowed"]) == (1, False)
        elif operation in CALLING:
            told = "ENXIO" if said == "no provider" else None
            failed = check_answered(each, "cxl_region_invalidate_memregion", REGION, told)
            assert each["status"] == 0, each
            assert each["calls"][0]["swallowed"] == (True if failed else None), each
        else:
            assert operation in ("CXL region bind", "CXL region unbind")
            assert (each["status"], each["calls"], each["firmware"]) == (0, [], []), each


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
    done = pyctl.on_board("pyctl", "regions", "--json", options=NVDIMM)
    [found] = [each for each in json.loads(done.stdout)["regions"] if each["kind"] == "pmem"]
    assert (found["addr"], found["size"], found["safe"]) == ("0x60000000", 64 << 20, True)


def test_sizes_that_are_none_are_refused(pyctl):
    for size, words in (("24M", "multiple of 16M"), ("100K", "no whole number of MiB")):
        done = pyctl("vm", "run", "--nvdimm", size, "--", "true")
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
