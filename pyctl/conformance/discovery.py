# SPDX-License-Identifier: GPL-2.0-only
"""Rules about finding the functions: what is announced is there, and nothing else is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pyctl.conformance.outcome import REQUIRED, Call, Outcome, failed, passed
from pyctl.conformance.prober import (
    DRY_RUN,
    PSCI_FEATURES,
    REPEATS,
    SVE_HINT,
    UNKNOWN_FIDS,
    Prober,
    differing,
)
from pyctl.conformance.rule import ATTRIBUTES_SECTION, CLEAN_INV_SECTION, WHOLE_SPEC, rule
from pyctl.smccc import (
    ARCH_FEATURES,
    CLEAN_INV_MEMREGION,
    CLEAN_INV_MEMREGION_ATTRIBUTES,
    NOT_SUPPORTED,
    SMCCC_VERSION,
    VERSION_WITH_FEATURES,
    status_name,
    version_text,
)
from pyctl.target.answers import RawRequest

SMC64 = 1 << 30
RESERVED_FID_BITS = range(17, 24)
OTHER_OWNERS = tuple(
    fid ^ bits
    for fid in (CLEAN_INV_MEMREGION, CLEAN_INV_MEMREGION_ATTRIBUTES)
    for bits in (1 << 31, 1 << 24, 3 << 24)
)
"""The same numbers as yielding calls, of the CPU's services and of the board maker's.

ARCH_FEATURES knows the fast calls of the Arm architecture only."""

QUESTIONS = (
    RawRequest(SMCCC_VERSION),
    RawRequest(ARCH_FEATURES, (CLEAN_INV_MEMREGION,)),
    RawRequest(ARCH_FEATURES, (CLEAN_INV_MEMREGION_ATTRIBUTES,)),
)


@rule(
    "DISC-1",
    REQUIRED,
    WHOLE_SPEC,
    "Firmware offers SMCCC 1.1 or later, and says so through PSCI_FEATURES.",
)
def _version(prober: Prober) -> Outcome:
    if prober.access.conduit == "none":
        return failed("The kernel found no conduit, so firmware offers no SMCCC 1.1 through PSCI.")
    text = f"SMCCC {version_text(prober.version)} by {prober.access.conduit}."
    if prober.version >= VERSION_WITH_FEATURES:
        return passed(text)
    return failed(text, [c for c in prober.log if c.request.fid in (PSCI_FEATURES, SMCCC_VERSION)])


@rule("DISC-2", REQUIRED, CLEAN_INV_SECTION, "ARCH_FEATURES announces CLEAN_INV_MEMREGION.")
def _clean_inv(prober: Prober) -> Outcome:
    call = prober.features(CLEAN_INV_MEMREGION)
    if call.status >= 0:
        return passed(f"ARCH_FEATURES gave {call.status}.")
    return failed(f"ARCH_FEATURES gave {status_name(call.status)}.", [call])


@rule(
    "DISC-3",
    REQUIRED,
    ATTRIBUTES_SECTION,
    "ARCH_FEATURES announces the operation and its ATTRIBUTES together.",
)
def _both(prober: Prober) -> Outcome:
    prober.need_features()
    pair = prober.calls(QUESTIONS[1:])
    operation, attributes = (call.status >= 0 for call in pair)
    if operation == attributes:
        return passed("Both are announced." if operation else "Neither is announced.")
    there, missing = ("operation", "attributes") if operation else ("attributes", "operation")
    return failed(f"The {there} function is announced, the {missing} function is not.", pair)


@rule(
    "DISC-4",
    REQUIRED,
    ATTRIBUTES_SECTION,
    "ATTRIBUTES gives SUCCESS where it is announced, else NOT_SUPPORTED.",
)
def _attributes(prober: Prober) -> Outcome:
    announced = prober.has_attributes
    call = prober.call(CLEAN_INV_MEMREGION_ATTRIBUTES)
    text = (
        f"ATTRIBUTES is {'announced' if announced else 'not announced'} and gave "
        f"{status_name(call.status)}."
    )
    holds = call.status == (0 if announced else NOT_SUPPORTED)
    return passed(text) if holds else failed(text, [call])


@rule(
    "DISC-5",
    REQUIRED,
    WHOLE_SPEC,
    "Discovery gives the same answers in every call and on every CPU.",
)
def _is_stable(prober: Prober) -> Outcome:
    prober.need_features()
    prober.calls(prober.everywhere(*QUESTIONS))
    for question in QUESTIONS:
        made = [call for call in prober.log if replace(call.request, cpu=None) == question]
        if changed := differing(made, lambda call: call.status):
            where = " and ".join(str(call) for call in changed)
            return failed(f"{where}.", changed)
    return passed(f"In repeated calls and on {prober.cpus_text}.")


@rule(
    "FID-1",
    REQUIRED,
    WHOLE_SPEC,
    "The SMC32 aliases 0x80000005 and 0x80000006 are not these functions.",
)
def _aliases(prober: Prober) -> Outcome:
    fids = [fid & ~SMC64 for fid in (CLEAN_INV_MEMREGION_ATTRIBUTES, CLEAN_INV_MEMREGION)]
    return _nobody(prober, fids, "Neither announced nor answered.")


@rule("FID-2", REQUIRED, WHOLE_SPEC, "An id with one of the bits 23:17 set is no function.")
def _reserved_bits(prober: Prober) -> Outcome:
    fids = [
        fid | 1 << bit
        for fid in (CLEAN_INV_MEMREGION_ATTRIBUTES, CLEAN_INV_MEMREGION)
        for bit in RESERVED_FID_BITS
    ]
    return _nobody(prober, fids, "No such id is announced or answered.")


@rule(
    "FID-3",
    REQUIRED,
    WHOLE_SPEC,
    "A function is answered with the SVE hint (bit 16 of the id), too.",
)
def _sve_hint(prober: Prober) -> Outcome:
    prober.need_attributes()
    request = prober.request(DRY_RUN)
    attributes = RawRequest(CLEAN_INV_MEMREGION_ATTRIBUTES | SVE_HINT)
    operation = replace(request, fid=request.fid | SVE_HINT)
    hinted = prober.calls(prober.everywhere(attributes))
    hinted += prober.clean_inv(prober.sample(prober.everywhere(operation)))
    if refused := [call for call in hinted if call.status == NOT_SUPPORTED]:
        return failed(f"{refused[0]}.", refused)
    return passed("Both functions are.")


@rule("FID-4", REQUIRED, WHOLE_SPEC, "Unknown ids give NOT_SUPPORTED.")
def _unknown(prober: Prober) -> Outcome:
    tried = ", ".join(f"0x{fid:x}" for fid in UNKNOWN_FIDS)
    return _nobody(prober, UNKNOWN_FIDS, f"Tried {tried}.", OTHER_OWNERS)


def _nobody(
    prober: Prober, fids: Sequence[int], summary: str, only_asked: Sequence[int] = ()
) -> Outcome:
    """Each of ``fids`` is refused by ARCH_FEATURES and by the call itself.

    Those that are ``only_asked`` for may be somebody else's, and are never called.
    """
    target = prober.access.target
    # Should one be taken for the operation, it is a dry run on memory that may be touched.
    x = (target.addr & 0xFFFF_FFFF, 4096, DRY_RUN) if target else (0, 0, DRY_RUN)
    requests = [RawRequest(fid, x) for fid in fids]
    if prober.version >= VERSION_WITH_FEATURES:
        requests += [RawRequest(ARCH_FEATURES, (fid,)) for fid in (*fids, *only_asked)]
    # Together they are enough for a rare fault, each by itself need not be.
    times = -(-REPEATS // len(requests))
    wrong = [
        call for call in prober.calls(prober.everywhere(*requests, times=times)) if _is_known(call)
    ]
    if not wrong:
        return passed(summary)
    first = wrong[0]
    if first.request.fid == ARCH_FEATURES:
        return failed(f"ARCH_FEATURES announces 0x{first.request.x[0]:x}.", wrong)
    return failed(f"{first}.", wrong)


def _is_known(call: Call) -> bool:
    if call.request.fid == ARCH_FEATURES:
        return call.status >= 0
    return call.status != NOT_SUPPORTED
