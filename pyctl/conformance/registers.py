# SPDX-License-Identifier: GPL-2.0-only
"""Rules about registers: what a call must leave alone, and what x0 holds."""

from __future__ import annotations

from collections.abc import Sequence

from pyctl.conformance.bench import DRY_RUN, Bench
from pyctl.conformance.discovery import UNKNOWN_NUMBERS
from pyctl.conformance.rule import (
    CLEAN_INV_SECTION,
    OBSERVED,
    RECOMMENDED,
    REQUIRED,
    WHOLE_SPEC,
    Call,
    NotRun,
    Outcome,
    Rule,
    failed,
    observed,
    passed,
)
from pyctl.model import RawRequest
from pyctl.smccc import (
    ARCH_FEATURES,
    CLEAN_INV_MEMREGION,
    CLEAN_INV_MEMREGION_ATTRIBUTES,
    SMCCC_VERSION,
    STATUS_NAMES,
    VERSION_WITH_FEATURES,
    signed32,
)

RESULTS = {CLEAN_INV_MEMREGION_ATTRIBUTES: 4}
"""The last register that holds a result, for calls whose result is not x0 alone."""
OURS = (CLEAN_INV_MEMREGION, CLEAN_INV_MEMREGION_ATTRIBUTES)


def seeded(request: RawRequest, pattern: int) -> RawRequest:
    """The request with every register up to x17 that is no argument filled recognisably."""
    filler = tuple((pattern ^ number) for number in range(len(request.x) + 1, 18))
    return RawRequest(request.fid, request.x + filler, request.cpu)


def _harmless(bench: Bench) -> list[RawRequest]:
    """Each kind of call but the operation."""
    requests = [RawRequest(0x8000_0000 | UNKNOWN_NUMBERS[0])]
    if bench.version >= VERSION_WITH_FEATURES:
        requests += [RawRequest(SMCCC_VERSION), RawRequest(ARCH_FEATURES, (CLEAN_INV_MEMREGION,))]
    if bench.has_attributes:
        requests.append(RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES))
    return requests


def _seeded_calls(bench: Bench) -> list[Call]:
    """Every kind of call on every CPU, with two patterns that have no bit in common."""
    requests = [place for kind in _harmless(bench) for place in bench.everywhere(kind)]
    made = bench.calls(_alternating(requests))
    for flags in (DRY_RUN, 0):
        places = bench.everywhere(bench.request(flags))
        made += bench.clean_inv(_alternating(places)[: bench.affordable(len(places))])
    return made


def _alternating(requests: Sequence[RawRequest]) -> list[RawRequest]:
    patterns = (0xA5A5_A5A5_5A5A_5A40, 0x5A5A_5A5A_A5A5_A580)
    return [seeded(request, patterns[i % 2]) for i, request in enumerate(requests)]


def _changed(call: Call, first: int, last: int) -> list[str]:
    """Names of the registers from ``first`` to ``last`` that are not what went in."""
    return [f"x{n}" for n in range(first, last + 1) if call.x[n] != call.request.x[n - 1]]


def _upper_registers(bench: Bench) -> Outcome:
    if bench.version < VERSION_WITH_FEATURES:
        raise NotRun("SMCCC 1.0 allows every call to change x4 to x17.")
    made = _seeded_calls(bench)
    for call in made:
        if changed := _changed(call, max(4, RESULTS.get(call.request.fid, 0) + 1), 17):
            return failed(f"{call} and changed {', '.join(changed)}.", [call])
    return passed(f"Preserved in {len(made)} calls on {bench.cpus_text}.")


def _lower_registers(bench: Bench) -> Outcome:
    made = _seeded_calls(bench)
    for call in made:
        if call.request.fid not in RESULTS and (changed := _changed(call, 1, 3)):
            return failed(f"{call} and changed {', '.join(changed)}.", [call])
    return passed(f"Preserved in {len(made)} calls on {bench.cpus_text}.")


def _x4_below_1_2(bench: Bench) -> Outcome:
    bench.need_attributes()
    if bench.version != VERSION_WITH_FEATURES:
        raise NotRun("From SMCCC 1.2 on, x4 may hold a result.")
    call = bench.calls([seeded(RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES), 0xA5A5_0000)])[0]
    kept = "was left as it was" if not _changed(call, 4, 4) else "was overwritten"
    return observed(f"x4 {kept}.", [call])


def _known_statuses(bench: Bench) -> Outcome:
    ours = _ours(bench)
    strange = [call for call in ours if call.status not in STATUS_NAMES]
    if strange:
        return failed(f"{strange[0]}.", strange[:1])
    return passed(f"So did {len(ours)} calls.")


def _upper_half(bench: Bench) -> Outcome:
    ours = _ours(bench)
    for call in ours:
        if call.x[0] not in (call.x[0] & 0xFFFF_FFFF, signed32(call.x[0]) % (1 << 64)):
            return failed(f"x0 is 0x{call.x[0]:016x}.", [call])
    return passed(f"So did {len(ours)} calls.")


def _ours(bench: Bench) -> list[Call]:
    """Every call of the two functions in this run."""
    bench.need_attributes()
    return [call for call in bench.log if call.request.fid in OURS]


RULES = (
    Rule(
        "REG-1",
        REQUIRED,
        WHOLE_SPEC,
        "From SMCCC 1.1 on, a call preserves those of x4 to x17 that hold no result.",
        _upper_registers,
    ),
    Rule(
        "REG-2",
        RECOMMENDED,
        WHOLE_SPEC,
        "A call whose only result is in x0 preserves x1 to x3.",
        _lower_registers,
    ),
    Rule(
        "REG-3",
        OBSERVED,
        WHOLE_SPEC,
        "What ATTRIBUTES does with x4 under SMCCC 1.1, which has no result there.",
        _x4_below_1_2,
    ),
)

STATUS_RULES = (
    Rule(
        "STAT-1",
        REQUIRED,
        CLEAN_INV_SECTION,
        "Every status of the two functions is one that the specification names.",
        _known_statuses,
    ),
    Rule(
        "STAT-2",
        RECOMMENDED,
        CLEAN_INV_SECTION,
        "The upper half of x0 is zero or the sign of the status.",
        _upper_half,
    ),
)
"""They judge every call that was made before, so they come after the others."""
