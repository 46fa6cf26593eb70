# SPDX-License-Identifier: GPL-2.0-only
"""Rules about time: the advertised latency and rate against what is measured.

Time is the rule here, so the bounds are generous and a slow moment of the
machine alone breaks none of them: the latency counts as exceeded only where it
was in each of several rounds on one CPU, by the kernel's clock around the call.
"""

from __future__ import annotations

import errno
from typing import Any

from pyctl.conformance.outcome import (
    OBSERVED,
    REQUIRED,
    Blocked,
    NotRun,
    Outcome,
    failed,
    observed,
    passed,
)
from pyctl.conformance.prober import TRIES, Prober
from pyctl.conformance.rule import ATTRIBUTES_SECTION, rule
from pyctl.smccc import RATE_LIMITED

ROUNDS = 3
CALLS_PER_ROUND = 16
LATENCY_FACTOR = 2
LATENCY_SLACK_NS = 1_000_000
"""For the way into the kernel's clock and back, and an interrupt or two."""
PACED_CALLS = 400


@rule(
    "TIME-1",
    REQUIRED,
    ATTRIBUTES_SECTION,
    "No call takes longer than the advertised worst-case latency.",
)
def _latency(prober: Prober) -> Outcome:
    prober.need_attributes()
    if not prober.latency_us:
        raise NotRun("Firmware states no latency (0).")
    cpus = prober.sample(prober.access.cpus)
    if prober.is_limited and not prober.rate_per_s:
        # How long each would have to wait is not stated, so there is time for one.
        cpus = cpus[:1]
    rounds = ROUNDS * len(cpus)
    calls = max(1, prober.affordable(rounds * CALLS_PER_ROUND) // rounds)
    found = {cpu: [_worst_of_round(prober, cpu, calls) for _ in range(ROUNDS)] for cpu in cpus}
    if not all(map(all, found.values())):
        raise Blocked("Not every round had a call that succeeded.")
    cpu = max(cpus, key=lambda cpu: min(found[cpu]))
    worst_ns = found[cpu]
    worst_us = ", ".join(f"{ns / 1000:.0f}" for ns in worst_ns)
    text = (
        f"{prober.latency_us} us are advertised; the worst of each round on CPU {cpu}, the slowest "
        f"of {len(cpus)}: {worst_us} us."
    )
    bound_ns = LATENCY_FACTOR * prober.latency_us * 1000 + LATENCY_SLACK_NS
    judge = failed if min(worst_ns) > bound_ns else passed
    return judge(text, advertised_us=prober.latency_us, cpu=cpu, worst_ns=worst_ns)


def _worst_of_round(prober: Prober, cpu: int, calls: int) -> int:
    """The longest of some calls from a CPU in ns; 0 where none succeeded within some tries.

    A refusal is a call, too, but may take no time.
    """
    loops, each = (calls, 1) if prober.interval_s else (1, calls)
    for _ in range(TRIES):
        records = [prober.loop(each, cpu=cpu) for _ in range(loops)]
        if any(record.completed for record in records):
            return max(record.elapsed.max for record in records)
        prober.rest()
    return 0


@rule(
    "RATE-1",
    REQUIRED,
    ATTRIBUTES_SECTION,
    "Calls that keep to the advertised rate are not RATE_LIMITED.",
)
def _rate(prober: Prober) -> Outcome:
    prober.need_attributes()
    if not prober.rate_per_s:
        raise NotRun("Firmware states no rate (0).")
    prober.rest()
    count = max(2, prober.affordable(min(prober.rate_per_s + 2, PACED_CALLS)))
    made = prober.clean_inv([prober.request()] * count)
    text = f"{prober.rate_per_s} calls/s are advertised"
    for number, call in enumerate(made, 1):
        if call.status == RATE_LIMITED:
            return failed(f"{text}; call {number} of a slower sequence was too many.", [call])
    return passed(f"{text}; {count} calls that came more slowly were all let through.")


@rule("RATE-2", OBSERVED, ATTRIBUTES_SECTION, "When a burst of calls begins to be RATE_LIMITED.")
def _onset(prober: Prober) -> Outcome:
    prober.need_attributes()
    prober.rest()
    record = prober.loop(prober.burst_calls)
    assert record.firmware
    calls = record.firmware.calls
    values: dict[str, Any] = {
        "advertised_per_s": prober.rate_per_s,
        "made": calls,
        "completed": record.completed,
        "total_ns": record.elapsed.total,
    }
    if record.errno == errno.EAGAIN:
        return observed(f"RATE_LIMITED at call {calls} of a burst.", **values)
    return observed(f"Not within a burst of {calls} calls.", **values)
