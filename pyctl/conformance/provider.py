# SPDX-License-Identifier: GPL-2.0-only
"""Rules about the provider that is registered, whoever's it is: what the kernel's call makes of it.

They are those of the kernel series (version 2) that introduces the SMCCC provider. What it
does shows in two places: the errno of the kernel's call, and the calls that firmware has
seen. Only the virtual board's firmware can say those, and give the answers that a rule is
about; elsewhere little is left. Ours and one that is built into the kernel are alike here.
"""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pyctl.conformance.outcome import OBSERVED, REQUIRED, NotRun, Outcome, failed, passed
from pyctl.conformance.rule import rule
from pyctl.firmware.client import LogEntry
from pyctl.numbers import errno_name
from pyctl.ranges import Range
from pyctl.smccc import (
    BUSY,
    CLEAN_INV_MEMREGION,
    INVALID_PARAMETER,
    NOT_REQUIRED,
    NOT_SUPPORTED,
    RATE_LIMITED,
    status_name,
)
from pyctl.target.answers import Discovery

SERIES = "kernel series v2"
TRIES = 5
DELAY_DEFAULT_US = 1000
DELAY_MAX_US = 20_000
ROUNDING_US = 2
"""Firmware's counter and the kernel's timers round differently."""
TICKS_FROM_US = 16_000
"""fsleep() counts longer ones in ticks, of which an emulator may get several at once."""
LONGEST_TIMES, LONGEST_BEYOND_US = 2, 40_000
"""What the shortest of several delays may have grown to where the machine is slow and busy."""
ROUNDS = 5
"""How often requests meet: who starts late meets nobody."""
SERVED = 10
"""Requests of which one at least is not held up by the machine."""
ERRNOS = {
    NOT_SUPPORTED: errno.EOPNOTSUPP,
    INVALID_PARAMETER: errno.EINVAL,
    NOT_REQUIRED: errno.EIO,
    -77: errno.EIO,
    1: errno.EIO,
}
PAGE = 4096


@dataclass(frozen=True)
class Seen:
    """What came of one request of the kernel's call: its errno, and the calls firmware saw."""

    errno: int
    calls: Sequence[LogEntry]
    took_ns: int = 0
    """From before the kernel's call to after it, by the kernel's clock."""
    others: int = 0
    """Calls of other functions, and those over the conduit that is not announced."""


class Chain(Protocol):
    """The kernel's call and what is below it, as far as these rules have to do with them."""

    target: Range | None
    """Memory that may be cleaned and invalidated."""
    is_watched: bool
    """Whether firmware says what it has seen, and answers as it is told to."""
    stated: Discovery
    rate_per_s: int
    latency_us: int
    """What the provider goes by, as far as it can be known."""

    def ask(self, addr: int, size: int, statuses: Sequence[int] = (), faults: str = "") -> Seen:
        """One request; firmware gives ``statuses`` first and suffers ``faults``."""

    def ask_at_once(
        self, requests: Sequence[Range], statuses: Sequence[int]
    ) -> tuple[list[int], list[LogEntry]]:
        """Several at the same time: the errno of each, and firmware's calls in its order.

        Each call takes firmware long enough for all of them to have begun.
        """


def _page(chain: Chain) -> Range:
    if chain.target is None:
        raise NotRun("No memory of this machine is safe to target; see `pyctl regions`.")
    return Range(chain.target.addr, chain.target.addr + PAGE)


def _watched(chain: Chain) -> Range:
    """A page, where firmware tells what it sees."""
    if not chain.is_watched:
        raise NotRun("Only the virtual board's firmware says what it has seen, and answers so.")
    return _page(chain)


def _told(errors: int) -> str:
    return errno_name(errors) or "success"


@rule("PROV-1", REQUIRED, SERIES, "A request without bytes is EINVAL, and no call.")
def _empty(chain: Chain) -> Outcome:
    seen = chain.ask(_page(chain).addr, 0)
    if seen.errno != errno.EINVAL:
        return failed(f"It was {_told(seen.errno)}.")
    if seen.calls:
        return failed(f"Firmware was called: {seen.calls[0]}.")
    return passed("EINVAL." if not chain.is_watched else "EINVAL, and firmware was not called.")


@rule("PROV-2", REQUIRED, SERIES, "What firmware accepts is a success.")
def _success(chain: Chain) -> Outcome:
    seen = chain.ask(_page(chain).addr, PAGE)
    return passed("It was.") if seen.errno == 0 else failed(f"It was {_told(seen.errno)}.")


@rule("PROV-3", REQUIRED, SERIES, "A request is one call: its base, its length, and no flags.")
def _one_call(chain: Chain) -> Outcome:
    page = _watched(chain)
    ranges = [(page.addr + offset, size) for offset in (0, 1, 63) for size in (1, PAGE, 4097)]
    # Much of this is nobody's, and on the virtual board nobody's loss.
    ranges += [(page.addr, (1 << 32) + PAGE), ((1 << 32) + PAGE, PAGE)]
    for addr, size in ranges:
        # What firmware leaves in registers must not reach the next call.
        seen = chain.ask(addr, size, faults="clobber_x1_x3,clobber_x4_x17")
        made = [(call.fid, call.base, call.length, call.flags) for call in seen.calls]
        if made != [(CLEAN_INV_MEMREGION, addr, size, 0)]:
            calls = "; ".join(map(str, seen.calls)) or "none"
            return failed(f"Of 0x{addr:x} + 0x{size:x} firmware saw these calls: {calls}.")
        if seen.others:
            return failed("Another function was called, too, or the other conduit was used.")
    return passed(f"In {len(ranges)} requests.")


@rule("PROV-4", REQUIRED, SERIES, "Each status has its errno, also where x0 has an upper half.")
def _errnos(chain: Chain) -> Outcome:
    page = _watched(chain)
    for status, expected in ERRNOS.items():
        for faults in ("", "x0_garbage"):
            seen = chain.ask(page.addr, PAGE, [status], faults)
            if seen.errno != expected:
                return failed(
                    f"{status_name(status)} is {_told(seen.errno)} instead of {_told(expected)}."
                )
            if len(seen.calls) != 1:
                return failed(f"After {status_name(status)} there were {len(seen.calls)} calls.")
    return passed(f"Of {len(ERRNOS)} statuses, and none of them was tried again.")


@rule("PROV-5", REQUIRED, SERIES, "BUSY and RATE_LIMITED are tried five times in all, then EBUSY.")
def _tries(chain: Chain) -> Outcome:
    page = _watched(chain)
    for status, refusals in itertools.product((BUSY, RATE_LIMITED), range(1, TRIES + 2)):
        seen = chain.ask(page.addr, PAGE, [status] * refusals)
        expected = errno.EBUSY if refusals >= TRIES else 0
        tries = min(refusals + 1, TRIES)
        if (seen.errno, len(seen.calls)) != (expected, tries):
            return failed(
                f"{status_name(status)} {refusals} times: {_told(seen.errno)} after "
                f"{len(seen.calls)} calls instead of {_told(expected)} after {tries}."
            )
    return passed("Of both, one after the other.")


@rule("PROV-6", REQUIRED, SERIES, "Any other refusal ends the tries at once.")
def _ends(chain: Chain) -> Outcome:
    seen = chain.ask(_watched(chain).addr, PAGE, [BUSY, RATE_LIMITED, INVALID_PARAMETER])
    if (seen.errno, len(seen.calls)) == (errno.EINVAL, 3):
        return passed("At the third try.")
    return failed(f"It was {_told(seen.errno)} after {len(seen.calls)} calls, not EINVAL after 3.")


@rule(
    "PROV-7", REQUIRED, SERIES, "Between two tries lies the delay that follows from the attributes."
)
def _delay(chain: Chain) -> Outcome:
    """At least that, and no other order of magnitude: what makes it longer may be the machine."""
    page = _watched(chain)
    calls = chain.ask(page.addr, PAGE, [BUSY] * TRIES).calls
    if len(calls) != TRIES:
        raise NotRun(f"There were {len(calls)} tries (PROV-5).")
    gaps_us = list(_gaps_us(calls))
    delay_us = delay_of(chain.rate_per_s, chain.latency_us)
    is_long = min(gaps_us) > LONGEST_TIMES * delay_us + LONGEST_BEYOND_US
    return _of_delay(delay_us, gaps_us, is_long)


def _of_delay(delay_us: int, gaps_us: Sequence[float], is_long: bool = False) -> Outcome:
    """Whether what was seen between calls can be the delay."""
    ordered_us = sorted(gaps_us)
    shortest_us = ordered_us[len(ordered_us) // 2 if delay_us >= TICKS_FROM_US else 0]
    text = f"{delay_us} us follow; {shortest_us:.0f} us were seen."
    return (failed if is_long or shortest_us < delay_us - ROUNDING_US else passed)(text)


def delay_of(rate_per_s: int, latency_us: int) -> int:
    """What the series waits after a try, in us. Only 32 bits of the rate are looked at."""
    rate_per_s &= 0xFFFF_FFFF
    delay_us = -(-1_000_000 // rate_per_s) if rate_per_s else 0
    return min(max(delay_us, latency_us) or DELAY_DEFAULT_US, DELAY_MAX_US)


def _gaps_us(calls: Sequence[LogEntry]) -> Iterator[float]:
    for before, after in itertools.pairwise(calls):
        yield (after.entered_ns - (before.left_ns or before.entered_ns)) / 1000


@rule("PROV-8", REQUIRED, SERIES, "A request has firmware for itself through all its tries.")
def _alone(chain: Chain) -> Outcome:
    for _ in range(ROUNDS):
        errnos, calls = _two_at_once(chain, [BUSY] * 3)
        lengths = [call.length for call in calls]
        if len(set(lengths)) < len(errnos):
            told = " and ".join(map(_told, errnos))
            return failed(f"Of two requests at once one made no call; they were {told}.")
        turns = [length for length, _ in itertools.groupby(lengths)]
        if len(turns) > len(errnos):
            return failed(f"Tries of two requests were mixed: lengths {lengths}.")
        if any(gap < 0 for gap in _gaps_us(calls)):
            return failed("A call began before the one before it had ended.")
        if any(errnos):
            raise NotRun("Three BUSY were too many for one of two requests (PROV-5).")
    return passed("Of two at once, one was done before the other began.")


def _two_at_once(chain: Chain, statuses: Sequence[int]) -> tuple[list[int], list[LogEntry]]:
    """Two requests that differ in size."""
    page = _watched(chain)
    requests = [Range(page.addr, page.addr + size) for size in (PAGE, 2 * PAGE)]
    return chain.ask_at_once(requests, statuses)


@rule(
    "PROV-9",
    OBSERVED,
    SERIES,
    "That it registers only with firmware that offers both functions, and says so once.",
)
def _registration(_chain: Chain) -> Outcome:
    raise NotRun("It is registered already: unload it, or boot with another --firmware, to see.")


@rule("PROV-10", OBSERVED, SERIES, "That the watchdog is touched before each try.")
def _watchdog(_chain: Chain) -> Outcome:
    raise NotRun(
        "It shows where firmware keeps a CPU for seconds: in the kernel's log, or not there."
    )


@rule("PROV-11", REQUIRED, SERIES, "After the last try lies that delay too, before anybody's next.")
def _rested(chain: Chain) -> Outcome:
    gaps_us = []
    for _ in range(ROUNDS):
        _errnos, calls = _two_at_once(chain, [BUSY] * TRIES)
        if len(calls) != TRIES + 1:
            raise NotRun(f"Two requests and {TRIES} BUSY made {len(calls)} calls (PROV-5, PROV-8).")
        gaps_us.append(list(_gaps_us(calls))[-1])
    # It may be longer: whoever is late waits for nobody.
    return _of_delay(delay_of(chain.rate_per_s, chain.latency_us), gaps_us)


@rule("PROV-12", REQUIRED, SERIES, "A request that is served at the first try waits for nothing.")
def _unhindered(chain: Chain) -> Outcome:
    page = _watched(chain)
    beyond_us = []
    for _ in range(SERVED):
        seen = chain.ask(page.addr, PAGE)
        if seen.errno or len(seen.calls) != 1:
            raise NotRun("It is not served at the first try (PROV-2, PROV-3).")
        (call,) = seen.calls
        beyond_us.append((seen.took_ns - ((call.left_ns or 0) - call.entered_ns)) / 1000)
    delay_us = delay_of(chain.rate_per_s, chain.latency_us)
    if delay_us < DELAY_DEFAULT_US:
        raise NotRun(f"A delay of {delay_us} us is too short to be told from the machine's own.")
    text = f"Beyond firmware's part it took {min(beyond_us):.0f} us, where the delay is {delay_us}."
    return (failed if min(beyond_us) >= delay_us else passed)(text)
