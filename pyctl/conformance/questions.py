# SPDX-License-Identifier: GPL-2.0-only
"""Questions that the specification leaves open: what this firmware does, recorded exactly.

Each is observed, never passed or failed. Arguments that may be bad go to the
operation itself only where risk was allowed; otherwise they are dry runs.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyctl.conformance.outcome import OBSERVED, NotRun, Outcome, observed
from pyctl.conformance.prober import DRY_RUN, Prober
from pyctl.conformance.rule import ATTRIBUTES_SECTION, CLEAN_INV_SECTION, rule
from pyctl.numbers import errno_name
from pyctl.smccc import CLEAN_INV_MEMREGION, NOT_REQUIRED, status_name
from pyctl.target.answers import RawRequest, Record

ALL = (1 << 64) - 1
PAGE = 4096
LIMIT_ROUNDS = 2
LONG_CALL_S = 1.0
"""Far more than a busy emulator makes of a call that takes no time."""
ALONE_CALLS = 64
RESERVED_FLAGS = (1 << 1, 1 << 31, 1 << 63)


@rule(
    "OPEN-1",
    OBSERVED,
    CLEAN_INV_SECTION,
    "A length of 0.",
    risky="the operation with a length of 0",
)
def _length_0(prober: Prober) -> Outcome:
    return _both_ways(prober, (prober.target.addr, 0), impossible=False)


@rule(
    "OPEN-2",
    OBSERVED,
    CLEAN_INV_SECTION,
    "A length of 0 at base 0.",
    risky="the operation with a length of 0 at base 0",
)
def _nothing(prober: Prober) -> Outcome:
    return _both_ways(prober, (0, 0), impossible=False)


@rule(
    "OPEN-3",
    OBSERVED,
    CLEAN_INV_SECTION,
    "A range that wraps.",
    risky="the operation on a range that wraps",
)
def _wrap(prober: Prober) -> Outcome:
    return _both_ways(prober, (prober.target.addr, ALL))


@rule(
    "OPEN-4",
    OBSERVED,
    CLEAN_INV_SECTION,
    "A base and a length that are not aligned.",
    risky="the operation on a range that is not aligned",
)
def _misalignment(prober: Prober) -> Outcome:
    base = prober.target.addr + 1
    return _both_ways(prober, (base, 1), (base, 4095), impossible=False)


@rule(
    "OPEN-5",
    OBSERVED,
    CLEAN_INV_SECTION,
    "A range beyond the physical address width.",
    risky="dry runs of, and the operation on, ranges beyond the physical address width",
)
def _beyond_width(prober: Prober) -> Outcome:
    _need_risk(prober)
    beyond = 1 << prober.access.pa_bits
    ranges = ((beyond, 4096), (beyond - 4096, 8192))
    return _asked(prober, [(*one, flags) for flags in (DRY_RUN, 0) for one in ranges])


@rule(
    "OPEN-6",
    OBSERVED,
    CLEAN_INV_SECTION,
    "Reserved flag bits.",
    risky="reserved flag bits, with and without the dry-run bit",
)
def _reserved_flags(prober: Prober) -> Outcome:
    _need_risk(prober)
    base, length = prober.request().x[:2]
    arguments = [(base, length, bit | flags) for flags in (DRY_RUN, 0) for bit in RESERVED_FLAGS]
    return _asked(prober, arguments)


def _need_risk(prober: Prober) -> None:
    """Skip a rule that even dry runs may be too much for."""
    if not prober.risky:
        raise NotRun("Only with --risky.")


def _both_ways(prober: Prober, *ranges: tuple[int, int], impossible: bool = True) -> Outcome:
    """Dry runs of ranges always, the operation on them only at a risk."""
    every = (DRY_RUN, 0) if prober.risky else (DRY_RUN,)
    return _asked(prober, [(*one, flags) for flags in every for one in ranges], impossible)


def _asked(
    prober: Prober, arguments: Sequence[tuple[int, int, int]], impossible: bool = True
) -> Outcome:
    """What firmware answers to each base, length and flags.

    SUCCESS for what is ``impossible`` breaks no rule that we know, and helps nobody.
    """
    made = prober.clean_inv([RawRequest(CLEAN_INV_MEMREGION, one) for one in arguments])
    answers = [
        f"{'dry run of ' if call.request.x[2] & DRY_RUN else ''}"
        f"({', '.join(f'0x{value:x}' for value in call.request.x)}) "
        f"{status_name(call.status)}"
        for call in made
    ]
    accepted = [call for call in made if call.status == 0]
    # Of an operation on everything it is no matter which range is named.
    is_odd = impossible and bool(accepted) and not prober.is_global
    return observed("; ".join(answers) + ".", made, is_odd)


@rule("OPEN-7", OBSERVED, CLEAN_INV_SECTION, "What NOT_REQUIRED means.")
def _not_required(prober: Prober) -> Outcome:
    answers = [call for call in prober.log if call.status == NOT_REQUIRED]
    return observed(f"{len(answers)} of {len(prober.log)} calls gave NOT_REQUIRED.", answers)


@rule("OPEN-8", OBSERVED, ATTRIBUTES_SECTION, "What a latency or rate of 0 means.")
def _zeroes(prober: Prober) -> Outcome:
    """Whoever states no latency leaves a kernel without a bound for what keeps a CPU so long."""
    prober.need_attributes()
    assert prober.attributes
    can_call = prober.has_clean_inv and prober.access.target is not None
    is_odd = can_call and not prober.latency_us and prober.call_s > LONG_CALL_S
    # One slow moment of the machine is none of firmware's.
    is_odd = is_odd and prober.loop(1).elapsed.min > LONG_CALL_S * 1e9
    took = f", and a call took {prober.call_s:.1f} s" if is_odd else ""
    return observed(
        f"The latency is {prober.latency_us} us, the rate {prober.rate_per_s}/s{took}.",
        [prober.attributes],
        is_odd,
    )


@rule("OPEN-9", OBSERVED, ATTRIBUTES_SECTION, "Undefined bits of x1 and x2.")
def _undefined_bits(prober: Prober) -> Outcome:
    prober.need_attributes()
    assert prober.attributes
    x1, x2 = prober.attributes.x[1] & ~1, prober.attributes.x[2] >> 32
    # Whoever sets one has perhaps taken it for another.
    return observed(
        f"x1 without bit 0 is 0x{x1:x}, the upper half of x2 is 0x{x2:x}.",
        [prober.attributes],
        is_odd=bool(x1 or x2),
    )


@rule("OPEN-10", OBSERVED, CLEAN_INV_SECTION, "What a dry run costs in time.")
def _dry_run_time(prober: Prober) -> Outcome:
    real, dry = prober.loop(1), prober.loop(1, dry_run=True)
    return observed(
        f"The operation took {_took(real)}, a dry run {_took(dry)}.",
        operation_ns=real.elapsed.max,
        dry_run_ns=dry.elapsed.max,
    )


def _took(record: Record) -> str:
    refused = f" to be refused ({errno_name(record.errno)})" if record.errno else ""
    return f"{record.elapsed.max / 1000:.0f} us{refused}"


@rule("OPEN-11", OBSERVED, CLEAN_INV_SECTION, "Whether dry runs count against the rate.")
def _dry_run_budget(prober: Prober) -> Outcome:
    prober.rest()
    record = prober.loop(prober.burst_calls, dry_run=True)
    end = f"then {errno_name(record.errno)}" if record.errno else "and none was refused"
    return observed(f"{record.completed} dry runs in a burst, {end}.", completed=record.completed)


@rule("OPEN-12", OBSERVED, ATTRIBUTES_SECTION, "Whether the rate is one per CPU or of the system.")
def _rate_per_cpu(prober: Prober) -> Outcome:
    """How many calls are let through for one CPU alone, and for all at once."""
    prober.need_cpus()
    if not prober.is_limited:
        return observed("The limit was not reached.")
    threads = prober.threads
    alone, together = [], []
    for _ in range(LIMIT_ROUNDS):
        alone.append(prober.burst(1).completed)
        together.append(prober.burst(threads).completed)
    kinds = {_whose_limit(*pair, threads) for pair in zip(alone, together, strict=True)}
    found = kinds.pop() if len(kinds) == 1 else "unclear"
    return observed(
        f"The limit is {found}: it let {_listed(alone)} calls of one CPU through, and "
        f"{_listed(together)} of {threads} CPUs at once.",
        limit=found,
        alone=alone,
        together=together,
    )


def _whose_limit(alone: int, together: int, threads: int) -> str:
    """A quarter of the way from the one to the other is close enough to either."""
    quarter = alone * (threads - 1) / 4
    if together <= alone + quarter:
        return "of the system"
    return "of each CPU" if together >= alone + 3 * quarter else "unclear"


def _listed(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


@rule(
    "OPEN-15",
    OBSERVED,
    CLEAN_INV_SECTION,
    "Dry runs across a border of 1 GiB and of 4 GiB, and of the last addresses that there are.",
    risky="dry runs of ranges that may be no memory",
)
def _borders(prober: Prober) -> Outcome:
    """Whether there is memory is not asked: what these are not, is a range that cannot be."""
    _need_risk(prober)
    end = 1 << prober.access.pa_bits
    addr = prober.target.addr
    borders = [border for border in (-(-addr >> 30) << 30, 1 << 32) if border < end]
    ranges = [(border - PAGE, 2 * PAGE) for border in borders] + [(end - PAGE, PAGE)]
    return _asked(prober, [(*one, DRY_RUN) for one in ranges], impossible=False)


@rule("OPEN-13", OBSERVED, CLEAN_INV_SECTION, "How BUSY relates to other CPUs.")
def _busy(prober: Prober) -> Outcome:
    """Whether it takes another CPU that is inside for one to be told BUSY."""
    prober.need_cpus()
    alone = prober.loop(prober.affordable(ALONE_CALLS)).firmware
    _made, record = prober.all_at_once()
    # The module itself calls firmware here, and counts what it says.
    assert alone
    assert record.firmware
    who = "one that called alone was, too" if alone.busy else "none that called alone was"
    return observed(
        f"{record.firmware.busy} of {prober.threads} CPUs were told BUSY when all called at once; "
        f"{who}.",
        busy=record.firmware.busy,
        busy_alone=alone.busy,
    )


@rule(
    "OPEN-14",
    OBSERVED,
    CLEAN_INV_SECTION,
    "All memory: base 0, length 2^64-1.",
    risky="a dry run of, and the operation on, all memory (base 0, length 2^64-1)",
)
def _all_memory(prober: Prober) -> Outcome:
    """Linux's NVDIMM drivers ask for it (nd_region_remove() in drivers/nvdimm/region.c)."""
    if not (prober.risky or (prober.access.is_virtual and prober.access.target)):
        raise NotRun("Only with --risky, or on the virtual board.")
    asked = _asked(prober, [(0, ALL, DRY_RUN), (0, ALL, 0)], impossible=False)
    if asked.calls[-1].status == 0:
        return asked
    text = "Linux's NVDIMM drivers ask so, and where it is refused they invalidate nothing."
    return observed(f"{asked.summary} {text}", asked.calls)
