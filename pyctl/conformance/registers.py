# SPDX-License-Identifier: GPL-2.0-only
"""Rules about registers: what a call must leave alone, and what x0 holds.

Most judge every call that was made before, so they come after the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pyctl.conformance.outcome import (
    OBSERVED,
    RECOMMENDED,
    REQUIRED,
    Call,
    NotRun,
    Outcome,
    failed,
    observed,
    passed,
)
from pyctl.conformance.prober import DRY_RUN, SVE_HINT, UNKNOWN_FIDS, Prober
from pyctl.conformance.rule import CLEAN_INV_SECTION, WHOLE_SPEC, WHOLE_SPEC_DEDUCED, rule
from pyctl.smccc import (
    ARCH_FEATURES,
    CLEAN_INV_MEMREGION,
    CLEAN_INV_MEMREGION_ATTRIBUTES,
    SMCCC_VERSION,
    STATUS_NAMES,
    VERSION_WITH_FEATURES,
    VERSION_WITH_SVE,
    signed32,
)
from pyctl.target.answers import RawRequest

OWNER_AND_NUMBER = 0x3F00_FFFF
VECTOR_ROUNDS = 8
_SHOWN = 4
"""Most names of vector registers in a sentence."""
OURS = (CLEAN_INV_MEMREGION, CLEAN_INV_MEMREGION_ATTRIBUTES)


@rule(
    "REG-1",
    REQUIRED,
    WHOLE_SPEC,
    "From SMCCC 1.1 on, a call preserves those of x4 to x17 that hold no result.",
)
def _upper_registers(prober: Prober) -> Outcome:
    if prober.version < VERSION_WITH_FEATURES:
        raise NotRun("SMCCC 1.0 allows every call to change x4 to x17.")
    _call_all(prober)
    for call in prober.log:
        if changed := call.changed(max(4, _last_result(call) + 1), 17):
            return failed(f"{call} and changed {', '.join(changed)}.", [call])
    return _preserved(prober)


@rule("REG-2", RECOMMENDED, WHOLE_SPEC, "A call whose only result is in x0 preserves x1 to x3.")
def _lower_registers(prober: Prober) -> Outcome:
    for call in prober.log:
        if not _last_result(call) and (changed := call.changed(1, 3)):
            return failed(f"{call} and changed {', '.join(changed)}.", [call])
    return _preserved(prober)


def _last_result(call: Call) -> int:
    """Number of the last register that holds a result, 0 for x0 alone.

    An id that should not have been answered may have been taken for that of ATTRIBUTES.
    """
    return 4 if call.request.fid & OWNER_AND_NUMBER == CLEAN_INV_MEMREGION_ATTRIBUTES & 0xFF else 0


def _preserved(prober: Prober) -> Outcome:
    return passed(
        f"In {len(prober.log)} calls of {_kinds(prober.log)} functions on {prober.cpus_text}."
    )


def _kinds(calls: Sequence[Call]) -> int:
    return len({call.request.fid for call in calls})


def _harmless(prober: Prober) -> list[RawRequest]:
    """A call of each kind but the operation."""
    kinds = [RawRequest(UNKNOWN_FIDS[0])]
    if prober.version >= VERSION_WITH_FEATURES:
        kinds += [RawRequest(SMCCC_VERSION), RawRequest(ARCH_FEATURES, (CLEAN_INV_MEMREGION,))]
    if prober.has_attributes:
        kinds.append(RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES))
    return kinds


def _call_all(prober: Prober) -> None:
    """Every kind of call on every CPU; the log has them and all that were made before."""
    prober.calls(prober.everywhere(*_harmless(prober)))
    prober.clean_inv(prober.sample(prober.everywhere(prober.request(DRY_RUN), prober.request())))


@rule(
    "REG-3",
    OBSERVED,
    WHOLE_SPEC,
    "What ATTRIBUTES does with x4 under SMCCC 1.1, which has no result there.",
)
def _x4_below_1_2(prober: Prober) -> Outcome:
    prober.need_attributes()
    if prober.version != VERSION_WITH_FEATURES:
        raise NotRun("From SMCCC 1.2 on, x4 may hold a result.")
    call = prober.call(CLEAN_INV_MEMREGION_ATTRIBUTES)
    kept = "was overwritten" if call.changed(4, 4) else "was left as it was"
    return observed(f"x4 {kept}.", [call])


@rule("REG-4", REQUIRED, WHOLE_SPEC, "A call preserves the SIMD registers v0 to v31.")
def _vectors(prober: Prober) -> Outcome:
    """The module puts them back where it looks at SVE's, and says so itself."""
    for call in prober.log:
        if names := [name for name, _value in call.lost if name[0] == "v"]:
            return failed(f"{call} and changed {_some(names)}.", [call])
    return _kept(prober, lambda name: name.startswith("v"))


@rule(
    "REG-5",
    RECOMMENDED,
    WHOLE_SPEC_DEDUCED,
    "A call preserves FPCR and FPSR.",
)
def _floating_point_control(prober: Prober) -> Outcome:
    """They are part of the state that v0 to v31 belong to, and are saved with it."""
    return _kept(prober, lambda name: not name.startswith("v"))


@rule("REG-6", REQUIRED, WHOLE_SPEC, "A call preserves x18 to x30 and SP_EL0.")
def _saved_registers(prober: Prober) -> Outcome:
    return _never_lost(prober, lambda name: name[0] == "x" or name == "SP_EL0")


@rule(
    "REG-7",
    REQUIRED,
    WHOLE_SPEC_DEDUCED,
    "A call preserves TPIDR_EL0 and TPIDRRO_EL0.",
)
def _thread_registers(prober: Prober) -> Outcome:
    """They are the caller's own, by which its threads know themselves, and no results."""
    return _never_lost(prober, lambda name: name.startswith("TPIDR"))


@rule(
    "REG-8",
    REQUIRED,
    WHOLE_SPEC,
    "From SMCCC 1.2 on, a call without the SVE hint preserves Z0 to Z31, P0 to P15 and FFR.",
)
def _scalable_vectors(prober: Prober) -> Outcome:
    return _state_of(
        "SVE",
        prober,
        lambda call: call.sve_bytes,
        lambda name: name[0] in "zp" or name == "FFR",
    )


@rule(
    "REG-9",
    RECOMMENDED,
    WHOLE_SPEC_DEDUCED,
    "From SMCCC 1.2 on, a call without the SVE hint preserves ZA, and leaves it on (SVCR).",
)
def _matrix(prober: Prober) -> Outcome:
    """It is by the hint that a caller gives up the state of SME, too."""
    return _state_of("SME", prober, lambda call: call.za_bytes, lambda name: name in ("ZA", "SVCR"))


def _state_of(
    extension: str,
    prober: Prober,
    bytes_of: Callable[[Call], int],
    is_meant: Callable[[str], bool],
) -> Outcome:
    """Whether calls left the state of an extension alone, of those after which it was seen."""
    if prober.version < VERSION_WITH_SVE:
        raise NotRun("SMCCC before 1.2 says nothing about SVE and what came after it.")
    seen = [call for call in prober.log if bytes_of(call) and not call.request.fid & SVE_HINT]
    if not seen:
        raise NotRun(f"No CPU here has {extension}, or the kernel does not use it.")
    for call in seen:
        if names := [name for name, _value in call.lost if is_meant(name)]:
            return failed(f"{call} and changed {_some(names)}.", [call])
    lengths = " or ".join(map(str, sorted({bytes_of(call) for call in seen})))
    return passed(
        f"In {len(seen)} calls of {_kinds(seen)} functions; {extension} has vectors of "
        f"{lengths} bytes."
    )


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"


def _never_lost(prober: Prober, is_meant: Callable[[str], bool]) -> Outcome:
    """Whether all calls left those registers alone; of each kind some were made before."""
    prober.request()
    for call in prober.log:
        if names := [name for name, _value in call.lost if is_meant(name)]:
            return failed(f"{call} and changed {', '.join(names)}.", [call])
    return _preserved(prober)


def _kept(prober: Prober, is_meant: Callable[[str], bool]) -> Outcome:
    """Whether calls of all kinds leave those registers alone that are meant, on every CPU."""
    kinds = [*_harmless(prober), prober.request(DRY_RUN), prober.request()]
    rounds = prober.affordable(VECTOR_ROUNDS)

    def changed(requests: Sequence[RawRequest], cpu: int) -> list[str]:
        return [name for name in prober.vectors(requests, cpu) if is_meant(name)]

    for cpu in prober.access.cpus:
        prober.access.wait(prober.interval_s)
        if names := changed(kinds * rounds, cpu):
            guilty = [kind for kind in kinds if changed([kind] * rounds, cpu)]
            calls = ", ".join(sorted({f"0x{kind.fid:08x}" for kind in guilty})) or "a call"
            return failed(f"On CPU {cpu}, {calls} changed {', '.join(names)}.")
    return passed(f"In calls of {len(kinds)} kinds on {prober.cpus_text}.")


@rule(
    "STAT-1",
    REQUIRED,
    CLEAN_INV_SECTION,
    "Every status of the two functions is one that the specification names.",
)
def _known_statuses(prober: Prober) -> Outcome:
    prober.need_attributes()
    ours = [call for call in prober.log if call.request.fid in OURS]
    strange = [call for call in ours if call.status not in STATUS_NAMES]
    if strange:
        return failed(f"{strange[0]}.", strange[:1])
    return passed(f"In {len(ours)} calls.")


@rule(
    "STAT-2",
    RECOMMENDED,
    CLEAN_INV_SECTION,
    "The upper half of x0 is zero or the sign of the status.",
)
def _upper_half(prober: Prober) -> Outcome:
    for call in prober.log:
        if call.x[0] not in (call.x[0] & 0xFFFF_FFFF, signed32(call.x[0]) % (1 << 64)):
            return failed(f"x0 is 0x{call.x[0]:016x}.", [call])
    return passed(f"In {len(prober.log)} calls.")
