# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl coherency` clears good firmware and names the first bad line of bad firmware.

The engine runs here as the command runs it. What each fault must look like
follows from what it does: who sees old bytes, whose bytes are gone, and in which
cases it can show at all.
"""

import mmap
import os

import pytest

from pyctl.coherency.lines import GOOD, LOST, STALE
from pyctl.coherency.race import race_case, run_race
from pyctl.coherency.run import REFUSED, Plan, check_plan, choose_observer, execute
from pyctl.coherency.window import target_of
from pyctl.errors import UsageError
from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.settings import parse_setting
from pyctl.ranges import Range
from pyctl.target.aim import Wish
from pyctl.target.observers import ModelObserver

pytestmark = pytest.mark.duration(300)
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
SIZE = 4 * PAGE_BYTES
# For tests of one fault or one shape: races take more CPUs, and most of the time.
WITHOUT_RACES = pytest.mark.usefixtures("one_cpu")


def run(system, debugfs, observer="auto", line_size=64, callers=2, prepare=None, **wish):
    chosen = choose_observer(debugfs, observer)
    with target_of(debugfs, Wish(**({"size": SIZE} | wish))) as target:
        if prepare:
            prepare(target.range)
        plan = Plan(target.range, line_size, chosen, callers, 30, target.scratch)
        report = execute(system, plan, check_plan(system, plan), lambda case: None)
    assert chosen == "alias" or not report.is_blind
    return {case.name: case for case in report.cases}


@pytest.fixture
def coherency(system, debugfs, stub, provider):
    return lambda **options: run(system, debugfs, **options)


def arm(stub, text):
    Faults(stub).replace(parse_faults(text))


def verdicts(cases):
    """Names of the cases in which a bad line was seen, and all verdicts on bad lines."""
    bad = {name: case for name, case in cases.items() if case.count.bad}
    return set(bad), {line.verdict for case in bad.values() for line in case.count.bad}


def assert_clean(cases):
    assert {name: case.error for name, case in cases.items() if case.error} == {}
    assert verdicts(cases) == (set(), set())
    assert all(case.skipped or case.count.lines[GOOD] for case in cases.values())


# -- good firmware ---------------------------------------------------------------


@pytest.mark.every_board
@pytest.mark.parametrize("is_global", [0, 1])
def test_good_firmware_is_clean(coherency, stub, is_global):
    stub.set(parse_setting(f"global={is_global}"))
    cases = coherency()
    assert_clean(cases)
    cpus = len(os.sched_getaffinity(0))
    skipped = {name for name, case in cases.items() if case.skipped}
    races = {"under-flush race via memregion": 2, "under-flush race via smccc": 3}
    assert skipped == {name for name, needed in races.items() if cpus < needed}


@WITHOUT_RACES
@pytest.mark.parametrize("line_size", [16, 128, 1024])
def test_good_firmware_is_clean_with_any_line_size(coherency, line_size):
    assert_clean(coherency(line_size=line_size))


@WITHOUT_RACES
@pytest.mark.parametrize("pages", [0.25, 1, 1.25])
def test_good_firmware_is_clean_in_any_window(coherency, pages):
    assert_clean(coherency(size=int(pages * PAGE_BYTES)))


@WITHOUT_RACES
def test_good_firmware_is_clean_in_the_usual_window(coherency):
    cases = coherency(size=None)
    assert_clean(cases)
    assert {"across a 2 MiB border", "more than 4 GiB"} <= set(cases)


def test_harmless_faults_raise_no_alarm(coherency, stub):
    arm(stub, "latency:300,x0_garbage,clobber_x4_x17,clobber_x1_x3,status:BUSY@every=3")
    assert_clean(coherency())


@pytest.mark.board(cpus=4)
def test_firmware_that_is_busy_while_somebody_is_inside_raises_no_alarm(coherency, stub):
    arm(stub, "busy_inside")
    cases = coherency()
    assert_clean(cases)
    assert not cases["under-flush race via smccc"].skipped


@WITHOUT_RACES
def test_firmware_that_cleans_more_than_its_lines_raises_no_alarm(coherency, stub):
    arm(stub, f"over_flush:{PAGE_BYTES},status:BUSY@every=7")
    assert_clean(coherency())


@pytest.mark.board(cpus=4)
@pytest.mark.parametrize("fault", ["refuse_unaligned", "refuse_unaligned:64"])
def test_firmware_that_takes_whole_pages_or_lines_raises_no_alarm(coherency, stub, fault):
    arm(stub, fault)
    # Room for two callers that leave a page at either end.
    cases = coherency(size=16 * PAGE_BYTES)
    assert_clean({name: case for name, case in cases.items() if "once more" not in name})
    refused = {name for name, case in cases.items() if case.skipped == REFUSED}
    assert {"one byte", "lines, the outer two in part"} <= refused
    assert ("one line" in refused) == (fault == "refuse_unaligned")
    tried = {name for name, case in cases.items() if not case.skipped}
    assert {"a page", "whole window", "a call from CPU 3", "2 callers at once"} <= tried
    assert {"under-flush race via memregion", "refused ranges, once more"} <= tried
    assert not cases["refused ranges, once more"].error


@WITHOUT_RACES
def test_what_is_refused_at_times_only_is_an_error(coherency, stub):
    arm(stub, "refuse_unaligned@every=3")
    assert "accepted now" in coherency()["refused ranges, once more"].error


# -- bad firmware -------------------------------------------------------------------


# Faults that have nothing to act on in some cases.
RARE = (
    "skip_second_half",
    "lose_partial",
    "short_length:10",
    "stop_at_border:4096",
    "skip_parts",
    "forget_neighbours",
)


@WITHOUT_RACES
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("noop", {STALE}),
        ("status:SUCCESS", {STALE}),
        ("skip_first_line", {STALE}),
        ("skip_last_line", {STALE}),
        ("skip_second_half", {STALE}),
        ("wrong_base", {STALE}),
        ("wrong_base:-64", {STALE}),
        ("lose_partial", {LOST}),
        ("short_length:10", {STALE}),
        ("stop_at_border:4096", {STALE}),
        ("skip_parts", {STALE}),
        ("forget_neighbours", {LOST}),
        ("clean_only", {STALE}),
        ("invalidate_only", {LOST}),
        ("lose_partial,skip_second_half", {STALE, LOST}),
    ],
)
def test_each_fault_is_seen_for_what_it_is(coherency, stub, fault, expected):
    arm(stub, fault)
    names, seen = verdicts(coherency())
    assert seen == expected
    if fault not in RARE:
        assert {"one line", "a page", "whole window", "2 callers at once"} <= names


@WITHOUT_RACES
def test_firmware_that_stops_at_an_address_is_seen_above(coherency, stub):
    limit = 0

    def prepare(window):
        nonlocal limit
        limit = window.addr + 0x400
        arm(stub, f"only_below:{limit:#x}")

    cases = coherency(prepare=prepare)
    names, seen = verdicts(cases)
    assert seen == {STALE}
    assert "whole window" in names
    assert min(bad.line for case in cases.values() for bad in case.count.bad) == limit


@WITHOUT_RACES
def test_a_single_bad_call_is_enough(coherency, stub):
    """The seventh call, and no other: which case that is follows from four calls per case."""
    arm(stub, "noop@every=7@next=1")
    names, _ = verdicts(coherency())
    assert names == {"one byte"}


def test_one_bad_cpu_is_seen_when_all_call(coherency, stub, two_cpus):
    arm(stub, "skip_last_line@cpu=1")
    os.sched_setaffinity(0, {0})
    single, _ = verdicts(coherency(callers=1))
    assert "whole window" not in single
    os.sched_setaffinity(0, {0, 1})
    many, _ = verdicts(coherency(callers=2))
    assert many


@pytest.mark.board(cpus=4)
@pytest.mark.parametrize("cpu", [0, 3])
def test_one_bad_cpu_is_named(coherency, stub, cpu):
    arm(stub, f"noop@cpu={cpu}")
    names, _ = verdicts(coherency(callers=1))
    each = {f"a call from CPU {number}" for number in range(4)}
    assert names & each == {f"a call from CPU {cpu}"}


@pytest.mark.board(boot="dt", high_target=True)
def test_good_firmware_is_clean_above_4_gib(coherency, target_range):
    assert target_range.addr >= 1 << 32
    assert_clean(coherency())


@pytest.mark.board(boot="dt", high_target=True)
def test_firmware_that_stops_at_4_gib_is_seen_above(coherency, stub):
    arm(stub, "only_below")
    assert verdicts(coherency())[1] == {STALE}


@WITHOUT_RACES
def test_dirty_bytes_beside_a_partly_covered_line_are_watched(coherency, stub):
    arm(stub, "lose_partial")
    names, _ = verdicts(coherency())
    assert {"one byte", "middle of a line", "lines, the outer two in part"} <= names
    assert {"one line", "a page", "whole window"}.isdisjoint(names)


@WITHOUT_RACES
def test_failing_call_is_an_error_of_its_case(coherency, stub):
    arm(stub, "status:NOT_SUPPORTED@next=2")
    cases = coherency()
    failed = [name for name, case in cases.items() if case.error]
    assert failed == ["one line", "one byte"]
    assert "EOPNOTSUPP" in cases["one line"].error
    assert not cases["one line"].is_good


@pytest.mark.board(cpus=4)
def test_a_race_that_firmware_does_not_offer_a_call_for_says_so(coherency, stub):
    arm(stub, "features_attributes:NOT_SUPPORTED")
    assert coherency()["under-flush race via smccc"].error.startswith("EOPNOTSUPP")


# -- the under-flush race ----------------------------------------------------------------


@pytest.mark.board(cpus=4)
def test_request_that_rides_on_an_older_operation_is_stale(coherency, stub):
    """Firmware merges a call with the one that is inside: the RFC's mistake, below the kernel.

    Our provider lets nobody in while it waits, so the kernel's callers are safe.
    """
    arm(stub, "skip_queued")
    names, seen = verdicts(coherency())
    assert names == {"under-flush race via smccc"}
    assert seen == {STALE}


@pytest.fixture
def race(system, debugfs, stub, provider):
    """Run the race alone, via memregion or smccc; gives the case."""

    def run(via):
        with (
            target_of(debugfs, Wish(size=SIZE)) as target,
            ModelObserver(debugfs, target.range.addr, SIZE, 64, target.scratch) as observer,
        ):
            case = race_case(observer, target.range, via, mmap.PAGESIZE)
            run_race(case, observer, target.range, via)
        return case

    return run


@pytest.mark.board(cpus=4)
def test_the_race_is_lost_every_time(race, stub):
    arm(stub, "skip_queued")
    for _attempt in range(4):
        assert {line.verdict for line in race("smccc").count.bad} == {STALE}


def test_second_request_gets_an_operation_of_its_own(race, stub, two_cpus):
    """The provider's promise, by firmware's own clock: it started after the first had ended."""
    case = race("memregion")
    assert_clean({case.name: case})
    assert not case.skipped
    calls = stub.log()
    assert len(calls) == 4
    for first, second in (calls[:2], calls[2:]):
        assert second.entered_ns >= first.left_ns


def test_race_leaves_the_armed_faults_alone(race, stub, two_cpus):
    arm(stub, "latency:100@next=1000000")
    before = Faults(stub).armed()[0].fault
    assert not race("memregion").skipped
    assert [armed.fault for armed in Faults(stub).armed()] == [before]


def test_race_is_skipped_where_a_hold_is_armed_already(race, stub, two_cpus):
    arm(stub, "hold:1000")
    assert "can be held" in race("memregion").skipped


# -- scratch memory ------------------------------------------------------------------------


@WITHOUT_RACES
def test_good_firmware_is_clean_in_scratch_memory(coherency):
    assert_clean(coherency(scratch=SIZE))


@WITHOUT_RACES
@pytest.mark.parametrize("fault", ["skip_last_line", "invalidate_only"])
def test_bad_firmware_is_seen_in_scratch_memory(coherency, stub, fault):
    arm(stub, fault)
    names, seen = verdicts(coherency(scratch=SIZE))
    assert seen == {LOST if fault == "invalidate_only" else STALE}
    assert {"one line", "a page", "whole window", "2 callers at once"} <= names


# -- the other observer, and the plan -------------------------------------------------------


@WITHOUT_RACES
def test_alias_observer_clears_good_memory_and_says_what_it_cannot_show(system, debugfs, provider):
    """QEMU has no caches, so that nothing can be wrong here; the engine must say so."""
    assert_clean(run(system, debugfs, observer="alias"))


def test_window_is_checked_before_anything_is_written(system, debugfs, provider, reserved_range):
    before = debugfs.read_memory(reserved_range.addr, 4096)
    for addr, size in (
        (reserved_range.addr + 8, 4096),
        (reserved_range.addr, 64),
        (reserved_range.addr - 4096, 8192),
        (reserved_range.addr, 8 << 20),
    ):
        plan = Plan(Range(addr, addr + size), 64, "model", 1, 30)
        with pytest.raises(UsageError):
            check_plan(system, plan)
    assert debugfs.read_memory(reserved_range.addr, 4096) == before
