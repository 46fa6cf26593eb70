# SPDX-License-Identifier: GPL-2.0-only
"""Questions that the specification leaves open: what this firmware does, recorded exactly.

Each is observed, never passed or failed. Arguments that may be bad go to the
operation itself only where risk was allowed; otherwise they are dry runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from pyctl.conformance.calls import CALLS_AT_ONCE, need_cpus
from pyctl.conformance.outcome import OBSERVED, NotRun, Outcome, observed
from pyctl.conformance.prober import DRY_RUN, Prober
from pyctl.conformance.rule import ATTRIBUTES_SECTION, CLEAN_INV_SECTION, Rule
from pyctl.conformance.timing import burst_calls
from pyctl.numbers import errno_name
from pyctl.smccc import CLEAN_INV_MEMREGION, NOT_REQUIRED, RATE_LIMITED, status_name
from pyctl.target.answers import RawRequest

ALL = (1 << 64) - 1
RESERVED_FLAGS = (1 << 1, 1 << 31, 1 << 63)

Arguments = tuple[int, ...]
"""Base, length and flags of one call."""


def _probe(
    dry: Callable[[Prober], Sequence[Arguments]], risky: Callable[[Prober], Sequence[Arguments]]
) -> Callable[[Prober], Outcome]:
    """A check that makes the calls of ``dry``, and those of ``risky`` if that was allowed."""

    def check(prober: Prober) -> Outcome:
        arguments = [*dry(prober), *(risky(prober) if prober.risky else ())]
        if not arguments:
            raise NotRun("Only with --risky.")
        made = prober.clean_inv([RawRequest(CLEAN_INV_MEMREGION, one) for one in arguments])
        answers = [
            f"{'dry run of ' if call.request.x[2] & DRY_RUN else ''}"
            f"({', '.join(f'0x{value:x}' for value in call.request.x)}) "
            f"{status_name(call.status)}"
            for call in made
        ]
        return observed("; ".join(answers) + ".", made)

    return check


def _both_ways(
    ranges: Callable[[Prober], Sequence[tuple[int, int]]],
) -> Callable[[Prober], Outcome]:
    """Dry runs of ranges always, the operation on them only at a risk."""
    return _probe(
        lambda prober: [(*one, DRY_RUN) for one in ranges(prober)],
        lambda prober: [(*one, 0) for one in ranges(prober)],
    )


def _only_risky(arguments: Callable[[Prober], Sequence[Arguments]]) -> Callable[[Prober], Outcome]:
    return _probe(lambda prober: (), arguments)


def _beyond_width(prober: Prober) -> list[Arguments]:
    beyond = 1 << prober.access.pa_bits
    ranges = [(beyond, 4096), (beyond - 4096, 8192), (0, ALL)]
    return [(*one, flags) for flags in (DRY_RUN, 0) for one in ranges]


def _reserved_flags(prober: Prober) -> list[Arguments]:
    return [
        (*prober.request().x[:2], bit | flags) for flags in (DRY_RUN, 0) for bit in RESERVED_FLAGS
    ]


def _not_required(prober: Prober) -> Outcome:
    answers = [call for call in prober.log if call.status == NOT_REQUIRED]
    return observed(f"{len(answers)} of {len(prober.log)} calls gave NOT_REQUIRED.", answers)


def _zeroes(prober: Prober) -> Outcome:
    prober.need_attributes()
    assert prober.attributes
    return observed(
        f"The latency is {prober.latency_us} us, the rate {prober.rate_per_s}/s.",
        [prober.attributes],
    )


def _undefined_bits(prober: Prober) -> Outcome:
    prober.need_attributes()
    assert prober.attributes
    x = prober.attributes.x
    return observed(
        f"x1 without bit 0 is 0x{x[1] & ~1:x}, the upper half of x2 is 0x{x[2] >> 32:x}.",
        [prober.attributes],
    )


def _dry_run_time(prober: Prober) -> Outcome:
    real, dry = prober.loop(1), prober.loop(1, dry_run=True)
    return observed(
        f"The operation took {real.elapsed.max / 1000:.0f} us, a dry run "
        f"{dry.elapsed.max / 1000:.0f} us.",
        operation_ns=real.elapsed.max,
        dry_run_ns=dry.elapsed.max,
    )


def _dry_run_budget(prober: Prober) -> Outcome:
    prober.rest()
    record = prober.loop(burst_calls(prober), dry_run=True)
    end = f"then {errno_name(record.errno)}" if record.errno else "and none was refused"
    return observed(f"{record.completed} dry runs in a burst, {end}.", completed=record.completed)


def _rate_per_cpu(prober: Prober) -> Outcome:
    """Exhaust the rate on one CPU, and at once ask on another."""
    need_cpus(prober)
    one, other = prober.access.cpus[:2]
    prober.rest()
    burst = [replace(prober.request(), cpu=one)] * burst_calls(prober)
    made = prober.calls([*burst, replace(prober.request(), cpu=other)])
    if made[-2].status != RATE_LIMITED:
        return observed("The limit was not reached.", made[-2:])
    return observed(
        f"After CPU {one} was RATE_LIMITED, CPU {other} got {status_name(made[-1].status)}.",
        made[-2:],
    )


def _busy(prober: Prober) -> Outcome:
    need_cpus(prober)
    record = prober.loop(prober.affordable(CALLS_AT_ONCE), len(prober.access.cpus))
    busy = record.firmware.busy if record.firmware else None
    return observed(f"{busy} CPUs were told BUSY when all called at once.", busy=busy)


RULES = (
    Rule(
        "OPEN-1",
        OBSERVED,
        CLEAN_INV_SECTION,
        "A length of 0.",
        _both_ways(lambda prober: [(prober.target.addr, 0)]),
        risky="the operation with a length of 0",
    ),
    Rule(
        "OPEN-2",
        OBSERVED,
        CLEAN_INV_SECTION,
        "A length of 0 at base 0.",
        _both_ways(lambda _prober: [(0, 0)]),
        risky="the operation with a length of 0 at base 0",
    ),
    Rule(
        "OPEN-3",
        OBSERVED,
        CLEAN_INV_SECTION,
        "A range that wraps.",
        _both_ways(lambda prober: [(prober.target.addr, ALL)]),
        risky="the operation on a range that wraps",
    ),
    Rule(
        "OPEN-4",
        OBSERVED,
        CLEAN_INV_SECTION,
        "A base and a length that are not aligned.",
        _both_ways(lambda prober: [(prober.target.addr + 1, 1), (prober.target.addr + 1, 4095)]),
        risky="the operation on a range that is not aligned",
    ),
    Rule(
        "OPEN-5",
        OBSERVED,
        CLEAN_INV_SECTION,
        "A range beyond the physical address width.",
        _only_risky(_beyond_width),
        risky="dry runs of, and the operation on, ranges beyond the physical address width, "
        "all memory (base 0, length 2^64-1) among them",
    ),
    Rule(
        "OPEN-6",
        OBSERVED,
        CLEAN_INV_SECTION,
        "Reserved flag bits.",
        _only_risky(_reserved_flags),
        risky="reserved flag bits, with and without the dry-run bit",
    ),
    Rule("OPEN-7", OBSERVED, CLEAN_INV_SECTION, "What NOT_REQUIRED means.", _not_required),
    Rule("OPEN-8", OBSERVED, ATTRIBUTES_SECTION, "What a latency or rate of 0 means.", _zeroes),
    Rule("OPEN-9", OBSERVED, ATTRIBUTES_SECTION, "Undefined bits of x1 and x2.", _undefined_bits),
    Rule("OPEN-10", OBSERVED, CLEAN_INV_SECTION, "What a dry run costs in time.", _dry_run_time),
    Rule(
        "OPEN-11",
        OBSERVED,
        CLEAN_INV_SECTION,
        "Whether dry runs count against the rate.",
        _dry_run_budget,
    ),
    Rule(
        "OPEN-12",
        OBSERVED,
        ATTRIBUTES_SECTION,
        "Whether the rate is one per CPU or of the system.",
        _rate_per_cpu,
    ),
    Rule("OPEN-13", OBSERVED, CLEAN_INV_SECTION, "How BUSY relates to other CPUs.", _busy),
)
