# SPDX-License-Identifier: GPL-2.0-only
"""The provider's rules, each asserted on what firmware saw.

The behaviour is that of the kernel series (version 2) that introduces the
SMCCC provider; its weaknesses are kept by default and pinned down here too.
"""

import errno
import itertools
import multiprocessing
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest

from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.settings import parse_setting
from pyctl.target.tracefs import Tracing
from tests.harness.reports import MISSING
from tests.target.runner import Running
from tests.target.statuses import Status

pytestmark = pytest.mark.every_board

CLEAN_INV = 0xC000_0005
TRIES = 5
DELAY_CAP_US = 20_000
DELAY_DEFAULT_US = 1000
# The firmware's counter and the kernel's timer round differently.
ROUNDING_US = 2
# fsleep() goes from high-resolution timers to ticks at four ticks (include/linux/delay.h);
# at 250 Hz this is 16 ms.
TICKS_FROM_US = 16_000
# Delays that high-resolution timers keep: the first one even if it is doubled.
SHORT_US = 7000
LONG_US = 14_000
# More than twice the shortest threshold of the watchdog, whose seconds are 2^30 ns.
LONG_CALL_S = 4


def gaps_us(log):
    """Time from the end of each try to the beginning of the next, by firmware's clock."""
    return [(after.entered_ns - before.left_ns) / 1000 for before, after in itertools.pairwise(log)]


# -- rule 1: registration ---------------------------------------------------


def test_nothing_registers_without_firmware_support(provider, stub):
    for setting in (
        "clean_inv=0",
        "attributes=0",
        "attributes_status=NOT_SUPPORTED",
        "attributes_status=BUSY",
        "attributes_status=-77",
        "attributes_status=1",
    ):
        stub.reset()
        provider.unload()
        provider.configure(setting)
        stub.reset(records_only=True)
        assert "No such device" in provider.try_load(), setting
        assert not provider.debugfs.info().provider, setting
        assert stub.get("clean_inv_calls") == 0, setting


@pytest.mark.parametrize("answers", [("1", "0x7fff_ffff"), ("0x7fff_ffff", "1")])
def test_any_answer_that_is_not_negative_announces_a_function(provider, stub, answers):
    provider.unload()
    script = "features_clean_inv:{},features_attributes:{}".format(*answers)
    Faults(stub).replace(parse_faults(script))
    assert provider.try_load() is None
    assert provider.debugfs.info().provider


def test_discovery_asks_for_both_functions_and_the_attributes_once(provider, stub):
    provider.unload()
    stub.reset(records_only=True)
    assert provider.try_load() is None
    assert stub.get("arch_features_calls") == 2
    assert stub.get("attributes_calls") == 1
    assert stub.get("clean_inv_calls") == 0
    assert stub.get("unknown_calls") == 0


def test_registration_logs_one_line_and_only_on_success(provider, stub, kernel_log):
    provider.unload()
    provider.configure("clean_inv=0")
    kernel_log.read()
    provider.try_load()
    assert [text for _, text in kernel_log.read() if "smccc_cache" in text] == []
    provider.configure("clean_inv=1")
    provider.try_load()
    lines = [text for _, text in kernel_log.read() if "smccc_cache" in text]
    assert len(lines) == 1
    assert "registered" in lines[0]


def test_it_registers_again_after_a_failed_and_after_a_good_load(provider):
    for _ in range(3):
        provider.unload()
        provider.configure("attributes=0")
        assert provider.try_load()
        provider.configure("attributes=1")
        assert provider.try_load() is None
        assert provider.debugfs.info().provider


def test_what_loading_has_allocated_unloading_frees(provider, system):
    if not system.offers("tracefs"):
        pytest.skip(f"{MISSING} tracefs")
    provider.unload()
    with Tracing(system) as tracing:
        for event in ("kmalloc", "kfree"):
            directory = tracing.instance / "events/kmem" / event
            (directory / "filter").write_text(f"common_pid == {os.getpid()}")
            (directory / "enable").write_text("1")
        assert provider.try_load() is None
        provider.unload()
        trace = (tracing.instance / "trace").read_text()
    owned = re.findall(r"kmalloc: call_site=_?cache_coherency_ops\S+ ptr=(\S+)", trace)
    assert len(owned) == 1
    # The address is hashed, and alike in both.
    assert re.search(rf"kmalloc: .*ptr={owned[0]} (.*\n)*.*kfree: .*ptr={owned[0]}\b", trace)


# -- rule 2: one call --------------------------------------------------------


def test_firmware_sees_base_length_and_no_flags(provider, stub, target_range):
    size = 64 * 1024
    record = provider.call(target_range.addr, size)
    assert (record.errno, record.completed, record.vacuous) == (0, 1, 0)
    [call] = stub.log()
    assert (call.fid, call.base, call.length, call.flags) == (CLEAN_INV, target_range.addr, size, 0)
    assert call.conduit == provider.debugfs.info().conduit


def test_a_request_is_one_call_and_no_question(provider, stub, target_range):
    """What firmware offers was asked once, when the provider was loaded."""
    assert provider.call(target_range.addr, 4096, count=3).completed == 3
    assert stub.get("clean_inv_calls") == 3
    for others in ("arch_features", "attributes", "unknown", "other_conduit"):
        assert stub.get(f"{others}_calls") == 0, others


def test_what_firmware_leaves_in_registers_does_not_reach_the_next_call(
    provider, stub, target_range
):
    Faults(stub).replace(parse_faults("clobber_x1_x3,clobber_x4_x17,x0_garbage"))
    size = 0x2000
    assert provider.call(target_range.addr, size, count=3).completed == 3
    seen = {(call.fid, call.base, call.length, call.flags) for call in stub.log()}
    assert seen == {(CLEAN_INV, target_range.addr, size, 0)}


@pytest.fixture
def strict_watchdog():
    """A kernel that complains of a CPU which schedules nothing for two of its seconds."""
    # The other watchdog, of interrupts, is touched for one of its looks only.
    wanted = {"nmi_watchdog": "0", "soft_watchdog": "1", "watchdog_thresh": "1"}
    knobs = {Path("/proc/sys/kernel", name): value for name, value in wanted.items()}
    if not all(knob.exists() for knob in knobs):
        pytest.skip(f"{MISSING} the kernel's watchdogs (CONFIG_LOCKUP_DETECTOR)")
    before = {knob: knob.read_text().strip() for knob in knobs}
    # One that is off as the kernel lacks it cannot be written to.
    changed = [knob for knob, value in knobs.items() if before[knob] != value]
    try:
        for knob in changed:
            knob.write_text(knobs[knob])
        yield
    finally:
        for knob in changed:
            knob.write_text(before[knob])


def test_firmware_may_keep_a_cpu_for_longer_than_the_watchdog_likes(
    provider, stub, target_range, strict_watchdog, kernel_log
):
    kernel_log.read()
    held = Faults(stub).add(parse_faults(f"latency:{LONG_CALL_S * 1_000_000}"))
    record = provider.call(target_range.addr, 4096)
    Faults(stub).clear(held)
    assert record.errno == 0
    assert record.elapsed.min >= LONG_CALL_S * 1_000_000_000
    # Until the watchdog has looked at this CPU.
    time.sleep(1)
    assert [text for _, text in kernel_log.read() if "lockup" in text] == []


def test_base_and_length_are_not_rounded(provider, stub, target_range):
    ranges = [
        (target_range.addr + offset, size) for offset in (0, 1, 63, 4095) for size in (1, 4097)
    ]
    for addr, size in ranges:
        assert provider.call(addr, size).errno == 0
    assert [(call.base, call.length) for call in stub.log()] == ranges


def test_an_address_above_4_gib_is_not_cut(provider, stub):
    base, size = 0x12_3456_7000, 0x1_0000_2000
    provider.call(base, size)
    [call] = stub.log()
    assert (call.base, call.length) == (base, size)


@pytest.mark.parametrize(
    ("whole", "expected"), [("refuse", errno.EINVAL), ("accept", 0), ("clamp", 0)]
)
def test_a_request_for_all_memory_reaches_firmware_as_it_is(provider, stub, whole, expected):
    """As the NVDIMM drivers make it; what becomes of it is firmware's affair."""
    stub.set(parse_setting(f"whole={whole}"))
    stub.set(parse_setting("global=0"))
    record = provider.call(0, 2**64 - 1)
    assert record.errno == expected
    [seen] = stub.log()
    assert (seen.base, seen.length, seen.flags) == (0, 2**64 - 1, 0)


def test_size_0_is_einval_and_firmware_is_not_called(provider, stub, target_range):
    provider.load()
    record = provider.call(target_range.addr, 0)
    assert record.errno == errno.EINVAL
    assert record.completed == 0
    assert stub.log() == []
    counters = provider.debugfs.provider_counters()
    assert (counters.requests, counters.calls, counters.errors) == (1, 0, 1)


def test_one_request_keeps_firmware_to_itself_through_all_its_tries(
    provider, stub, target_range, wait_until
):
    """Two callers: the tries of one never mix with those of the other."""
    provider.load("latency_us=5000")
    stub.queue(Status.BUSY, 3)
    sizes = (0x1000, 0x2000)
    callers = [
        threading.Thread(target=provider.call, args=(target_range.addr, size)) for size in sizes
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    seen = [call.length for call in stub.log()]
    assert sorted(set(seen)) == list(sizes)
    assert len(seen) == 5, "three BUSY tries and one success for one, one success for the other"
    assert seen in ([0x1000] * 4 + [0x2000], [0x2000] * 4 + [0x1000])


NR_WRITE = 64
"""Number of write() (include/uapi/asm-generic/unistd.h)."""


def is_blocked_in_write(process):
    """Whether a process waits inside the kernel for its write() to go on."""
    number = Path(f"/proc/{process.pid}/syscall").read_text().split()[0]
    return number == str(NR_WRITE)


def test_a_signal_does_not_cut_a_request_short(
    provider, stub, target_range, in_background, wait_until, two_cpus
):
    """Neither in the queue for firmware nor between its tries.

    A caller that got no answer would take its range for invalidated, or never ask again.
    """
    answers = multiprocessing.get_context("fork").SimpleQueue()
    handled = signal.signal(signal.SIGUSR1, lambda *_: None)

    def ask(size, cpu):
        # Not both on one: who has no CPU does not wait for the lock.
        os.sched_setaffinity(0, {cpu})
        record = provider.call(target_range.addr, size)
        answers.put((record.errno, record.completed))

    def signalled_in_time(duration_us):
        """Whether the second was signalled while it waited for the first, and how all went."""
        provider.load(f"duration_us={duration_us}", f"latency_us={DELAY_CAP_US}")
        stub.queue(Status.SUCCESS)
        stub.queue(Status.BUSY, 2)
        in_background(ask, 0x1000, 1)
        wait_until(lambda: stub.get("clean_inv_calls") == 1, "the first is in firmware")
        second = in_background(ask, 0x2000, 0)
        wait_until(lambda: is_blocked_in_write(second), "the second waits for its turn")
        os.kill(second.pid, signal.SIGUSR1)
        in_time = stub.get("clean_inv_calls") == 1
        wait_until(lambda: stub.get("clean_inv_calls") > 1, "the second is at its tries")
        os.kill(second.pid, signal.SIGUSR1)
        assert [answers.get(), answers.get()] == [(0, 1)] * 2
        assert [call.length for call in stub.log()] == [0x1000] + [0x2000] * 3
        return in_time

    try:
        # On a busy machine the first may have its answer before that.
        assert any(map(signalled_in_time, (300_000, 1_000_000, 3_000_000)))
    finally:
        signal.signal(signal.SIGUSR1, handled)


# -- rule 3: statuses ---------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (Status.SUCCESS, 0),
        (Status.NOT_SUPPORTED, errno.EOPNOTSUPP),
        (Status.INVALID_PARAMETER, errno.EINVAL),
        # A weakness that is kept: nobody knows what NOT_REQUIRED means here.
        (Status.NOT_REQUIRED, errno.EIO),
    ],
)
def test_each_status_has_its_errno_and_is_not_retried(
    provider, stub, target_range, status, expected
):
    assert_errno(provider, stub, target_range, status, expected)


def test_any_other_status_is_eio(provider, stub, target_range):
    for status in (-6, -77, -(2**31), 1, 2, 2**31 - 1):
        stub.reset()
        assert_errno(provider, stub, target_range, status, errno.EIO)


def assert_errno(provider, stub, target_range, status, expected):
    errors = provider.debugfs.provider_counters().errors
    stub.queue(status)
    record = provider.call(target_range.addr, 4096)
    assert record.errno == expected, status
    assert record.completed == (0 if expected else 1), status
    assert [call.status for call in stub.log()] == [status]
    assert provider.debugfs.provider_counters().errors == errors + bool(expected)


# -- rule 4: retries ------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.BUSY, Status.RATE_LIMITED])
def test_busy_and_rate_limited_are_tried_five_times_in_all(provider, stub, target_range, status):
    for refusals in range(TRIES + 2):
        stub.reset()
        # The counters begin anew, too.
        provider.load()
        if refusals:
            stub.queue(status, refusals)
        record = provider.call(target_range.addr, 4096)
        # A weakness that is kept: a final RATE_LIMITED is EBUSY too.
        assert record.errno == (errno.EBUSY if refusals >= TRIES else 0), refusals
        assert stub.get("clean_inv_calls") == min(refusals + 1, TRIES)
        counters = provider.debugfs.provider_counters()
        assert counters.calls == min(refusals + 1, TRIES)
        counted = counters.busy if status == Status.BUSY else counters.rate_limited
        assert counted == min(refusals, TRIES)


def test_the_two_passing_statuses_share_the_five_tries(provider, stub, target_range):
    statuses = [Status.BUSY, Status.RATE_LIMITED] * 2 + [Status.BUSY]
    for status in statuses:
        stub.queue(status)
    assert provider.call(target_range.addr, 4096).errno == errno.EBUSY
    assert [call.status for call in stub.log()] == statuses


def test_a_permanent_error_ends_the_retries_at_once(provider, stub, target_range):
    stub.queue(Status.BUSY, 2)
    stub.queue(Status.INVALID_PARAMETER)
    assert provider.call(target_range.addr, 4096).errno == errno.EINVAL
    assert stub.get("clean_inv_calls") == 3


def test_the_counters_say_what_became_of_every_request(provider, stub, target_range):
    provider.load()
    served_late = [Status.BUSY, Status.RATE_LIMITED, Status.BUSY, Status.SUCCESS]
    # The last one does not fit into 16 bits.
    for statuses in ([Status.SUCCESS], served_late, [Status.RATE_LIMITED] * TRIES, [-70_000]):
        for status in statuses:
            stub.queue(status)
        provider.call(target_range.addr, 4096)
        counters = provider.debugfs.provider_counters()
        assert counters.last_status == statuses[-1]
    provider.call(target_range.addr, 0)
    counters = provider.debugfs.provider_counters()
    assert counters.requests == 5
    assert counters.calls == 1 + 4 + TRIES + 1 == stub.get("clean_inv_calls")
    assert (counters.busy, counters.rate_limited, counters.errors) == (2, 1 + TRIES, 3)


def test_the_time_waited_is_that_between_two_tries(provider, stub, target_range):
    # From where nanoseconds since the boot no longer fit into 32 bits.
    time.sleep(max(0, 4.5 - time.monotonic()))
    provider.load()
    stub.queue(Status.BUSY, TRIES - 1)
    record = provider.call(target_range.addr, 4096)
    waited_us = provider.debugfs.provider_counters().waited_ns / 1000
    # What lies between two tries is the sleep and little else; the whole has the tries, too.
    gaps = gaps_us(stub.log())
    assert (TRIES - 1) * DELAY_DEFAULT_US <= waited_us <= sum(gaps) + ROUNDING_US
    assert waited_us * 1000 <= record.elapsed.total


@pytest.mark.timing
def test_the_last_try_is_followed_by_a_delay_too(provider, stub, target_range):
    """Four sleeps lie between five tries, and together they are no longer than the gaps.

    So what the provider has slept beyond the gaps it has slept after the last try.
    """
    provider.load(f"latency_us={DELAY_CAP_US}")
    beyond_us, waited_ns = [], 0
    for _ in range(5):
        stub.queue(Status.BUSY, TRIES)
        assert provider.call(target_range.addr, 4096).errno == errno.EBUSY
        waited_before_ns, waited_ns = waited_ns, provider.debugfs.provider_counters().waited_ns
        gaps = gaps_us(stub.log()[-TRIES:])
        beyond_us.append((waited_ns - waited_before_ns) / 1000 - sum(gaps))
    # A busy machine makes gaps longer than the sleeps in them, but not every time.
    assert max(beyond_us) > 0


# -- rule 5: the delay -------------------------------------------------------------


DELAYS_US = [
    ((), 1000),
    (("rate=1000000",), 1),
    (("rate=300",), 3334),
    (("rate=7",), DELAY_CAP_US),
    (("rate=50",), DELAY_CAP_US),
    (("rate=51",), 19_608),
    (("latency_us=7",), 7),
    (("latency_us=2500",), 2500),
    (("latency_us=20001",), DELAY_CAP_US),
    (("latency_us=4294967295",), DELAY_CAP_US),
    (("rate=500", "latency_us=100"), 2000),
    (("rate=500", "latency_us=3000"), 3000),
    (("rate=2000000",), 1),
    # A weakness that is kept: only 32 bits of the rate are looked at.
    (("rate=0x1_0000_0000",), 1000),
    (("rate=0x1_0000_0064",), 10_000),
]


def test_the_delay_follows_from_rate_and_latency(provider):
    for settings, delay_us in DELAYS_US:
        provider.stub.reset()
        provider.load(*settings)
        assert provider.debugfs.provider_attributes().delay_us == delay_us, settings


def test_the_upper_half_of_x2_is_not_part_of_the_latency(provider, stub):
    provider.unload()
    Faults(stub).replace(parse_faults("attr_latency_us:0xffff_ffff_0000_0bb8"))
    provider.load()
    attributes = provider.debugfs.provider_attributes()
    assert (attributes.latency_us, attributes.delay_us) == (3000, 3000)
    assert provider.debugfs.discovery().latency_us == 3000


@pytest.mark.timing
def test_the_delay_lies_between_two_tries(provider, stub, target_range):
    for settings, delay_us in DELAYS_US:
        stub.reset()
        provider.load(*settings)
        stub.queue(Status.BUSY, TRIES)
        assert provider.call(target_range.addr, 4096).errno == errno.EBUSY
        assert_gaps(sorted(gaps_us(stub.log())), delay_us)


def assert_gaps(gaps, delay_us):
    assert len(gaps) == TRIES - 1
    # Long sleeps are counted in ticks, and on a starved emulator several ticks may
    # come at once: some of the gaps may then be short, but not most of them.
    counted_in_ticks = delay_us >= TICKS_FROM_US
    assert gaps[2 if counted_in_ticks else 0] >= delay_us - ROUNDING_US
    # An upper bound only against a delay that is wrong by far: this may be a
    # busy emulator. The quickest of four gaps is close to the truth.
    assert min(gaps) < 2 * delay_us + 30_000


@pytest.mark.timing
def test_no_delay_is_longer_than_it_should_be(provider, stub, target_range):
    """Some sleep is short although a busy machine makes many longer.

    It makes none shorter that is not counted in ticks: a sleep that is doubled, or one
    LONG_US after the other.
    """
    within_us, _ = all_gaps_us(provider, stub, target_range, SHORT_US)
    assert min(within_us) < 1.6 * SHORT_US
    _, between_requests_us = all_gaps_us(provider, stub, target_range, LONG_US)
    assert min(between_requests_us) < 1.8 * LONG_US


def test_short_delays_are_not_counted_in_ticks(provider, stub, target_range):
    """Told by the kernel's stack: of a starved machine's ticks several may come at once."""
    assert "msleep" in sleeps_in(provider, stub, target_range, DELAY_CAP_US)
    assert "msleep" not in sleeps_in(provider, stub, target_range, SHORT_US)


def sleeps_in(provider, stub, target_range, delay_us):
    """The functions in which a caller was seen while its requests failed for good."""
    stub.reset()
    provider.load(f"latency_us={delay_us}")
    Faults(stub).replace(parse_faults("status:BUSY"))

    def ask():
        for _ in range(10):
            provider.call(target_range.addr, 4096)
        return 0

    asking = Running(ask)
    stack = Path(f"/proc/{asking.pid}/stack")
    seen = set()
    while stub.get("clean_inv_calls") < 8 * TRIES:
        # Functions of the scheduler, usleep_range() among them, are left out there.
        seen |= {line.split()[1].partition("+")[0] for line in stack.read_text().splitlines()}
    assert asking.wait().status == 0
    assert "smccc_cache_wbinv" in seen
    return seen


def all_gaps_us(provider, stub, target_range, delay_us):
    """Gaps within requests that fail for good, and those from one request to the next."""
    requests = 8
    stub.reset()
    provider.load(f"latency_us={delay_us}")
    for _ in range(requests):
        stub.queue(Status.BUSY, TRIES)
        assert provider.call(target_range.addr, 4096).errno == errno.EBUSY
    gaps = gaps_us(stub.log())
    assert len(gaps) == requests * TRIES - 1
    within = [gap for number, gap in enumerate(gaps, 1) if number % TRIES]
    return within, gaps[TRIES - 1 :: TRIES]


@pytest.mark.timing
def test_a_request_that_ends_at_once_is_followed_by_no_delay(provider, stub, target_range):
    """A busy machine may come late to the next request, but not to every one of them."""
    provider.load(f"latency_us={LONG_US}")
    for status in [Status.SUCCESS, Status.INVALID_PARAMETER] * 8:
        stub.queue(status)
        provider.call(target_range.addr, 4096)
    gaps = gaps_us(stub.log())
    assert min(gaps[::2]) < LONG_US, "after a success"
    assert min(gaps[1::2]) < LONG_US, "after a permanent error"
    assert provider.debugfs.provider_counters().waited_ns == 0


@pytest.mark.timing
def test_a_rate_below_50_per_second_cannot_be_waited_out(provider, stub, target_range):
    """A weakness that is kept: 100 ms of patience at most, then EBUSY."""
    provider.load("rate=1")
    stub.queue(Status.RATE_LIMITED, 100)
    assert provider.call(target_range.addr, 4096).errno == errno.EBUSY
    assert stub.get("clean_inv_calls") == TRIES
    assert max(gaps_us(stub.log())) < 1_000_000, "it did not wait for the advertised second"


# -- weaknesses that are kept, and what is not -------------------------------------


def test_everything_reaches_firmware_as_it_is(provider, stub):
    """What the NVDIMM driver asks for, base 0 and the largest length, is passed on."""
    provider.call(0, 2**64 - 1)
    [call] = stub.log()
    assert (call.base, call.length) == (0, 2**64 - 1)


def test_a_break_even_size_in_x4_reaches_the_reader_and_nothing_else(provider):
    provider.load("break_even=0x1234_5678_9abc", "rate=1000", "latency_us=50", "global=1")
    attributes = provider.debugfs.provider_attributes()
    assert attributes.break_even_bytes == 0x1234_5678_9ABC
    assert attributes.rate_per_s == 1000
    assert attributes.latency_us == 50
    assert attributes.is_global


# -- life ------------------------------------------------------------------------


def test_without_a_provider_success_is_called_vacuous(provider, stub, target_range):
    provider.unload()
    record = provider.call(target_range.addr, 4096)
    assert record.errno == 0
    assert (record.completed, record.vacuous, record.provider) == (0, 1, False)
    assert stub.get("clean_inv_calls") == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_every_call_of_every_thread_reaches_firmware(provider, stub, target_range, threads):
    record = provider.call(target_range.addr, 4096, count=50, threads=threads)
    assert (record.errno, record.completed) == (0, 50 * threads)
    assert stub.get("clean_inv_calls") == 50 * threads
    assert provider.debugfs.provider_counters().calls == 50 * threads


def test_calls_of_several_threads_never_overlap_in_firmware(provider, stub, target_range):
    provider.load("duration_us=300")
    provider.call(target_range.addr, 4096, count=20, threads=4)
    log = sorted(stub.log(), key=lambda call: call.entered_ns)
    assert len(log) == 80
    assert min(gaps_us(log)) >= 0


def test_unloading_waits_for_calls_in_flight(provider, stub, target_range, wait_until):
    provider.load("duration_us=1000000")
    caller = threading.Thread(target=provider.call, args=(target_range.addr, 4096))
    caller.start()
    wait_until(lambda: stub.get("clean_inv_calls") == 1, "the call reached firmware")
    provider.unload()
    caller.join()
    [call] = stub.log()
    assert call.left_ns is not None, "it had left firmware before the provider was gone"
    assert not provider.debugfs.info().provider
