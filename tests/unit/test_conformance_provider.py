# SPDX-License-Identifier: GPL-2.0-only
"""The rules about the provider, against providers made of Python."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from pyctl.conformance.outcome import FAIL, NOT_RUN, PASS
from pyctl.conformance.provider import Chain, Seen, delay_of
from pyctl.conformance.run import PROVIDER_RULES, ProviderReport
from pyctl.firmware.client import LogEntry
from pyctl.ranges import Range
from pyctl.target.answers import Discovery
from tests.target.statuses import Status
from tests.unit.fake_machine import FakeModule, Machine

TARGET = Range(0x5F00_0000, 0x5F10_0000)
STATED = Discovery(0x1_0002, "hvc", 0, 0, 0, (0, 0, 3000, 0, 0))
ERRNOS = {0: 0, -1: errno.EOPNOTSUPP, -3: errno.EINVAL, -4: errno.EAGAIN, -5: errno.EBUSY}


@dataclass
class FakeChain(Chain):
    """The series' provider, or one with a defect."""

    target: Range | None = TARGET
    is_watched: bool = True
    stated: Discovery = STATED
    rate_per_s: int = 0
    latency_us: int = 3000
    errnos: dict[int, int] = field(default_factory=lambda: dict(ERRNOS))
    tries: int = 5
    final: int = errno.EBUSY
    ends_early: bool = True
    delay_us: float = 3000
    calls_for_nothing: bool = False
    empty: int = errno.EINVAL
    size_bits: int = 64
    flags: int = 0
    upper_half_counts: bool = False
    mixes: bool = False
    merges: bool = False
    refuses_second: bool = False
    rests: bool = True
    idle_us: float = 0
    others: int = 0
    now_us: float = 0
    made: list[LogEntry] = field(default_factory=list)

    def ask(self, addr: int, size: int, statuses: Sequence[int] = (), faults: str = "") -> Seen:
        self.made = []
        if size == 0:
            if self.calls_for_nothing:
                self.call(addr, 0, 0)
            return Seen(self.empty, self.made if self.is_watched else [])
        began_us = self.now_us
        self.now_us += self.idle_us
        left = list(statuses)
        for number_of_try in range(1, self.tries + 1):
            status = left.pop(0) if left else 0
            self.call(addr, size, status)
            number = self.errnos.get(status, errno.EIO)
            if "x0_garbage" in faults and self.upper_half_counts:
                number = errno.EIO
            if number not in (errno.EAGAIN, errno.EBUSY) and (self.ends_early or not number):
                took_ns = int((self.now_us - began_us) * 1000)
                return Seen(number, self.made, took_ns, self.others)
            if number_of_try < self.tries or self.rests:
                self.now_us += self.delay_us
        return Seen(self.final, self.made)

    def call(self, addr: int, size: int, status: int) -> None:
        entered = self.now_us
        self.now_us += 5
        length = size & (1 << self.size_bits) - 1
        entry = LogEntry(
            *(0, 0xC000_0005, addr, length, self.flags, 0),
            *(int(entered * 1000), int(self.now_us * 1000), status & (1 << 64) - 1, "hvc"),
        )
        self.made.append(entry)

    def ask_at_once(
        self, requests: Sequence[Range], statuses: Sequence[int]
    ) -> tuple[list[int], list[LogEntry]]:
        first, second = requests
        one = self.ask(first.addr, first.size, statuses)
        if self.merges or self.refuses_second:
            return [one.errno, errno.EBUSY if self.refuses_second else 0], [*one.calls]
        other = self.ask(second.addr, second.size)
        calls = [*one.calls, *other.calls]
        if self.mixes:
            calls.insert(1, calls.pop(4))
        return [one.errno, other.errno], calls


def results(chain: FakeChain) -> dict[str, str]:
    return {finding.rule.id: finding.outcome.result for finding in ProviderReport(chain).run()}


def having(chain: FakeChain, result: str) -> set[str]:
    return {id for id, one in results(chain).items() if one == result}


def test_the_series_provider_passes() -> None:
    assert having(FakeChain(), FAIL) == set()
    assert having(FakeChain(), NOT_RUN) == {"PROV-9", "PROV-10"}


def test_where_nobody_watches_little_is_told_and_nothing_is_passed_that_was_not_seen() -> None:
    assert having(FakeChain(is_watched=False), PASS) == {"PROV-1", "PROV-2"}
    assert having(FakeChain(target=None), PASS) == set()


BROKEN: dict[str, tuple[dict[str, Any], set[str]]] = {
    "size 0 is a success": ({"empty": 0}, {"PROV-1"}),
    "size 0 sent": ({"calls_for_nothing": True}, {"PROV-1"}),
    "size of 32 bits": ({"size_bits": 32}, {"PROV-3"}),
    "the other conduit": ({"others": 1}, {"PROV-3"}),
    "dry runs": ({"flags": 1}, {"PROV-3"}),
    "NOT_REQUIRED is a success": ({"errnos": ERRNOS | {Status.NOT_REQUIRED: 0}}, {"PROV-4"}),
    "INVALID_PARAMETER is EIO": (
        {"errnos": {k: v for k, v in ERRNOS.items() if k != Status.INVALID_PARAMETER}},
        {"PROV-4", "PROV-6"},
    ),
    "upper half counts": ({"upper_half_counts": True}, {"PROV-4"}),
    "six tries": ({"tries": 6}, {"PROV-5"}),
    "four tries": ({"tries": 4}, {"PROV-5"}),
    "final EAGAIN": ({"final": errno.EAGAIN}, {"PROV-5"}),
    "final success": ({"final": 0}, {"PROV-5"}),
    "all is retried": ({"ends_early": False}, {"PROV-4", "PROV-6"}),
    "no delay": ({"delay_us": 1}, {"PROV-7", "PROV-11"}),
    "a delay that is not capped": ({"latency_us": 100_000, "delay_us": 100_000}, {"PROV-7"}),
    "mixed tries": ({"mixes": True}, {"PROV-8"}),
    "merged requests": ({"merges": True}, {"PROV-8"}),
    "one at a time": ({"refuses_second": True}, {"PROV-8"}),
    "no delay after the last try": ({"rests": False}, {"PROV-11"}),
    "a delay before the first try": ({"idle_us": 3000}, {"PROV-12"}),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_provider_fails_the_rule_that_it_breaks(name: str) -> None:
    states, expected = BROKEN[name]
    assert having(FakeChain(**states), FAIL) == expected


def test_every_rule_that_judges_has_a_provider_that_breaks_it() -> None:
    broken = set().union(*(expected for _states, expected in BROKEN.values()))
    broken |= having(FakeChain(errnos=ERRNOS | {0: errno.EIO}), FAIL)
    judging = {rule.id for rule in PROVIDER_RULES} - {"PROV-9", "PROV-10"}
    assert broken == judging


@pytest.mark.parametrize(
    ("rate", "latency_us", "delay_us"),
    [
        (0, 0, 1000),
        (300, 0, 3334),
        (7, 0, 20_000),
        (0, 7, 7),
        (500, 3000, 3000),
        (1 << 32, 0, 1000),
    ],
)
def test_the_delay_is_that_of_the_series(rate: int, latency_us: int, delay_us: int) -> None:
    assert delay_of(rate, latency_us) == delay_us


# -- the command ------------------------------------------------------------------


def test_what_nobody_watches_is_not_run_and_the_rest_is_judged(pyctl, module: FakeModule) -> None:
    # The module made up here takes a request without bytes for any other.
    ended = pyctl("conformance", "--provider", "--json")
    assert ended.status == 1
    assert ended.json["error"].startswith("The provider breaks required rules: PROV-1.")
    found = {rule["id"]: rule["result"] for rule in ended.json["rules"]}
    assert found.pop("PROV-1") == FAIL
    assert found.pop("PROV-2") == PASS
    assert set(found.values()) == {NOT_RUN}
    assert {rule["id"] for rule in ended.json["rules"]} == {rule.id for rule in PROVIDER_RULES}


def test_a_success_that_nobody_made_is_none(pyctl, module: FakeModule) -> None:
    module.record = {"completed": 0, "vacuous": 1}
    ended = pyctl("conformance", "--provider")
    assert ended.status == 1
    assert "nobody has answered it" in ended.err


def test_without_a_provider_there_is_nothing_to_check(
    pyctl, module: FakeModule, machine: Machine
) -> None:
    machine.set_info(provider=0)
    ended = pyctl("conformance", "--provider")
    assert ended.status == 3
    assert "No provider is registered" in ended.err
    machine.set_info(framework=0)
    assert "no cpu_cache_invalidate_memregion()" in pyctl("conformance", "--provider").err


def test_what_is_risky_is_about_firmware(pyctl, module: FakeModule) -> None:
    ended = pyctl("conformance", "--provider", "--risky")
    assert ended.status == 2
    assert module.requests == []
