# SPDX-License-Identifier: GPL-2.0-only
"""What a trace's text becomes: calls, with what is known of each and no more."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyctl.errors import NotReady
from pyctl.target import tracefs
from pyctl.target.tracefs import Tracing
from pyctl.watch.calls import WHOLE, Assembler, KernelCall
from pyctl.watch.probes import CALLBACKS, CALLERS, Probes
from pyctl.watch.trace import Event, Function, Lost, parse
from tests.unit.conftest import Pyctl
from tests.unit.fake_machine import Machine

IN = (
    "{comm:>16}-{task:<7} [001] d....    {time}: in_0: (smccc_cache_wbinv+0x0/0x220 [smccc_cache])"
    " addr=0x5f000000 size=0x10000 caller=memregion_call+0x34/0x68 [memregion_test]"
    ' above=work+0xac/0x210 [memregion_test] comm="{comm}"'
)
TRY = "  x-{task}  [001] d....  {time}: try_0: (smccc_cache_try+0x0/0x80 [smccc_cache])"
OUT = (
    "  x-{task}  [000] d..1.  {time}: out_0: (cpu_cache_invalidate_memregion+0x88/0x128 <- "
    "smccc_cache_wbinv) ret={ret}"
)
ENTER = (
    "  x-{task}  [000] .....  {time}: enter_{n}: (cxl_region_invalidate_memregion+0x0/0x90) "
    'comm="cxl"{range}'
)
LEAVE = "  x-{task}  [000] .....  {time}: leave_{n}: (attach_target+0x88/0x128 <- f) ret={ret}"
CXL, NVDIMM = 0, 1


@pytest.fixture
def probes() -> Probes:
    """All probes, as on a kernel that has everything."""
    return Probes(
        {str(n): each for n, each in enumerate(CALLBACKS)},
        {str(n): each for n, each in enumerate(CALLERS)},
    )


Part = tuple[str, dict[str, Any]]


def lines(*parts: Part) -> list[str]:
    """Lines of a trace, 5 us after each other, by one thread unless they say otherwise."""
    defaults: dict[str, Any] = {"task": 7, "comm": "sh", "ret": 0, "range": ""}
    return [
        text.format(**{**defaults, "time": f"12.{n * 5:06}", **more})
        for n, (text, more) in enumerate(parts)
    ]


def calls_of(probes: Probes, *parts: Part) -> list[KernelCall]:
    """What an assembler makes of lines."""
    assembler = Assembler(probes)
    return [
        *(call for line in lines(*parts) for call in assembler.feed(line)),
        *assembler.rest(),
    ]


def test_a_line_is_taken_apart_whatever_the_process_is_called() -> None:
    [line] = lines((IN, {"comm": "a-1 [2] b: c"}))
    assert parse(line) == Event(
        "in_0",
        12_000_000,
        7,
        {
            "addr": "0x5f000000",
            "size": "0x10000",
            "caller": "memregion_call+0x34/0x68 [memregion_test]",
            "above": "work+0xac/0x210 [memregion_test]",
            "comm": "a-1 [2] b: c",
        },
    )


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("CPU:1 [LOST 12 EVENTS]", Lost(12)),
        ("", None),
        ("# tracer: nop", None),
        (" => cpu_cache_invalidate_memregion", None),
    ],
)
def test_other_lines(line: str, expected: Lost | None) -> None:
    assert parse(line) == expected


def test_what_could_not_be_read_is_missing() -> None:
    event = parse("  x-7  [001] d....  1.5: in_0: (f+0x0/0x1) addr=(fault) size=0x10")
    assert isinstance(event, Event)
    assert (event.time_us, event.number("addr"), event.number("size")) == (1_500_000, None, 16)


def test_an_answered_call(probes: Probes) -> None:
    [call] = calls_of(probes, (IN, {}), (TRY, {}), (TRY, {}), (OUT, {}))
    assert call.ok
    assert (call.time_us, call.duration_us, call.tries) == (12_000_000, 15, 2)
    assert call.caller == Function("memregion_call", "memregion_test")
    assert str(call) == (
        "12.000000  sh (7)  memregion_call [memregion_test]  0x5f000000 + 64K  15 us  2 tries  ok"
    )


def test_a_framework_with_one_more_function_of_its_own_is_no_caller(probes: Probes) -> None:
    text = IN.replace("caller=memregion_call", "caller=cpu_cache_some_helper")
    [call] = calls_of(probes, (text, {}), (OUT, {}))
    assert call.caller == Function("work", "memregion_test")


@pytest.mark.parametrize(
    ("ret", "words"), [(-16, "EBUSY: Firmware stayed busy"), (-22, "EINVAL: "), (-77, "EBADFD: ")]
)
def test_a_failed_call_says_why(probes: Probes, ret: int, words: str) -> None:
    [call] = calls_of(probes, (IN, {}), (TRY, {}), (OUT, {"ret": ret}))
    assert not call.ok
    assert (call.error or "").startswith(words)
    assert "FAILED" in str(call)


def test_a_provider_that_refuses_by_itself_is_not_taken_for_firmware(probes: Probes) -> None:
    [call] = calls_of(probes, (IN, {}), (OUT, {"ret": -22}))
    assert call.error == "EINVAL: The provider refused it without a call of firmware."


def test_a_process_cannot_be_called_like_a_result(probes: Probes) -> None:
    [call] = calls_of(probes, (IN, {"comm": 'x" addr=0x1 y='}), (TRY, {}), (OUT, {}))
    assert call.addr == 0x5F00_0000


def test_two_threads_at_once(probes: Probes) -> None:
    parts: tuple[Part, ...] = (
        (IN, {}),
        (IN, {"task": 8}),
        (OUT, {"task": 8, "ret": -5}),
        (OUT, {}),
    )
    assert [(call.pid, call.returned) for call in calls_of(probes, *parts)] == [(8, -5), (7, 0)]


def test_a_call_whose_return_was_not_seen_is_neither_good_nor_bad(probes: Probes) -> None:
    first, second = calls_of(probes, (IN, {}), (IN, {}))
    assert first.is_open
    assert second.is_open
    assert not first.ok
    assert "UNKNOWN" in str(first)


def test_a_return_without_its_entry_is_a_call_even_so(probes: Probes) -> None:
    [call] = calls_of(probes, (OUT, {"ret": -16}))
    assert (call.addr, call.caller, call.returned, call.answered) == (None, None, -16, True)
    assert "(range not seen)" in str(call)


RANGE = " addr=0x1000000000 end=0x100fffffff"


def test_a_caller_that_a_provider_answers_is_one_call(probes: Probes) -> None:
    entered = (ENTER, {"n": CXL, "range": RANGE})
    [call] = calls_of(probes, entered, (IN, {}), (OUT, {}), (LEAVE, {"n": CXL}))
    assert call.answered


@pytest.mark.parametrize(("ret", "told"), [(0, "success"), (-6, "ENXIO")])
def test_a_caller_that_nobody_answers(probes: Probes, ret: int, told: str) -> None:
    [call] = calls_of(probes, (ENTER, {"n": CXL, "range": RANGE}), (LEAVE, {"n": CXL, "ret": ret}))
    assert (call.answered, call.ok, call.provider) == (False, False, None)
    assert (call.addr, call.size, call.process) == (0x10_0000_0000, 0x1000_0000, "cxl")
    assert call.error == f"Returned {told}. Nobody was asked, and nothing was invalidated."


def test_another_threads_provider_answers_for_nobody_else(probes: Probes) -> None:
    entered = (ENTER, {"n": CXL, "range": RANGE})
    other: dict[str, Any] = {"task": 8}
    calls = calls_of(probes, entered, (IN, other), (OUT, other), (LEAVE, {"n": CXL}))
    assert [(call.pid, call.answered) for call in calls] == [(8, True), (7, False)]


def test_nvdimm_asks_for_all_memory(probes: Probes) -> None:
    [call] = calls_of(probes, (ENTER, {"n": NVDIMM}), (LEAVE.split(" ret=")[0], {"n": NVDIMM}))
    assert (call.addr, call.size, call.returned) == (0, WHOLE, None)
    assert "all memory" in str(call)


def test_where_a_provider_may_be_hidden_nobody_is_accused(probes: Probes) -> None:
    probes.is_sure = False
    [call] = calls_of(probes, (ENTER, {"n": CXL, "range": RANGE}), (LEAVE, {"n": CXL}))
    assert call.answered is None
    assert call.error == "Returned success. No provider that pyctl knows was asked."


def test_lost_events_are_counted(probes: Probes) -> None:
    assembler = Assembler(probes)
    assert list(assembler.feed("CPU:0 [LOST 5 EVENTS]")) == []
    assert list(assembler.feed("CPU:1 [LOST 7 EVENTS]")) == []
    assert assembler.lost == 12


# -- probes ----


class FakeTracing(Tracing):
    """A kernel that finds the functions in ``found``, and others only if a module is named."""

    found: tuple[str, ...] = ()

    def probe(self, event: str, function: str, *fetched: str, at_return: bool = False) -> bool:
        self.taken = [*getattr(self, "taken", ()), f"{event} {function}"]
        return ":" in function or function in self.found


def test_a_callback_in_a_module_is_named_with_it(machine: Machine) -> None:
    machine.write("/sys/module/smccc_cache/initstate", "live\n")
    tracing = FakeTracing(machine.system)
    probes = Probes.plant(tracing)
    assert {"in_0 smccc_cache:smccc_cache_wbinv", "try_0 smccc_cache:smccc_cache_try"} <= set(
        tracing.taken
    )
    # The same function twice would be each call twice.
    assert "in_1 smccc_cache_wbinv" not in tracing.taken
    assert (probes.notes, probes.is_sure) == ([], True)


def test_a_callback_that_is_built_in_is_found_there(machine: Machine) -> None:
    machine.unload_provider(registered=1)
    tracing = FakeTracing(machine.system)
    tracing.found = ("smccc_cache_wbinv",)
    probes = Probes.plant(tracing)
    assert "in_1 smccc_cache_wbinv" in tracing.taken
    assert "out_1 smccc_cache_wbinv" in tracing.taken
    assert probes.is_sure


@pytest.mark.parametrize(("registered", "is_sure"), [(0, True), (1, False)])
def test_a_provider_that_nobody_knows_is_said(
    machine: Machine, registered: int, is_sure: bool
) -> None:
    machine.unload_provider(registered)
    tracing = FakeTracing(machine.system)
    tracing.found = ("cxl_region_invalidate_memregion",)
    probes = Probes.plant(tracing)
    assert (probes.is_sure, len(probes.notes)) == (is_sure, 0 if is_sure else 1)


def test_where_nobody_is_to_be_watched_it_says_so(machine: Machine) -> None:
    with pytest.raises(NotReady, match="nobody to watch"):
        Probes.plant(FakeTracing(machine.system))


# -- tracefs ----


@pytest.fixture
def top(machine: Machine) -> Path:
    """A mounted tracefs of plain files."""
    machine.write("/proc/mounts", "tracefs /sys/kernel/tracing tracefs rw 0 0\n")
    machine.write("/sys/kernel/tracing/kprobe_events", "p:mine/x vfs_write\n")
    place = machine.system.path("/sys/kernel/tracing")
    (place / "instances").mkdir()
    return place


def test_probes_are_added_to_those_of_others(machine: Machine, top: Path) -> None:
    with Tracing(machine.system) as tracing:
        assert tracing.probe("out_0", "f", "ret=$retval:s32", at_return=True)
        assert (top / f"instances/pyctl-{os.getpid()}").is_dir()
    assert (top / "kprobe_events").read_text() == (
        "p:mine/x vfs_write\n"
        f"r512:pyctl_{os.getpid()}/out_0 f ret=$retval:s32\n"
        f"-:pyctl_{os.getpid()}/out_0\n"
    )
    assert list((top / "instances").iterdir()) == []


def test_what_the_dead_have_left_is_taken_away_and_no_more(machine: Machine, top: Path) -> None:
    for owner in (1, 2**22 + 1):
        (top / f"instances/pyctl-{owner}").mkdir()
        with (top / "kprobe_events").open("a") as file:
            file.write(f"p:pyctl_{owner}/in_0 f\n")
    with Tracing(machine.system):
        pass
    assert [path.name for path in (top / "instances").iterdir()] == ["pyctl-1"]
    assert (top / "kprobe_events").read_text().splitlines()[3:] == [f"-:pyctl_{2**22 + 1}/in_0"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOSPC])
@pytest.mark.parametrize("locked", [True, False])
def test_a_kernel_that_refuses_is_not_ready(
    machine: Machine, top: Path, monkeypatch: pytest.MonkeyPatch, number: int, locked: bool
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    state = "none integrity [confidentiality]" if locked else "[none] integrity"
    machine.write("/sys/kernel/security/lockdown", state)
    monkeypatch.setattr(tracefs.Tracing, "_append", refuse)
    with pytest.raises(NotReady) as caught, Tracing(machine.system) as tracing:
        tracing.probe("in_0", "f")
    message = caught.value.message
    assert ("it is locked down" in message) == (locked and number == errno.EPERM)
    assert list((top / "instances").iterdir()) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOENT, errno.EADDRNOTAVAIL])
def test_a_function_that_is_not_there_is_no_failure(
    machine: Machine, top: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tracefs.Tracing, "_append", refuse)
    with Tracing(machine.system) as tracing:
        assert not tracing.probe("in_0", "f")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda m: m.become(euid=1000), "Only root"),
        (lambda m: m.write("/proc/filesystems", "nodev\tsysfs\n"), "CONFIG_KPROBE_EVENTS"),
        (lambda m: m.remove("/sys/kernel/tracing/kprobe_events"), "CONFIG_KPROBE_EVENTS"),
    ],
)
def test_without_tracing_the_command_is_not_ready(
    machine: Machine, top: Path, pyctl: Pyctl, change: object, words: str
) -> None:
    change(machine)  # type: ignore[operator]
    ended = pyctl("watch", "--json", "--", "true")
    assert ended.status == 3
    [line] = ended.out.splitlines()
    answer = json.loads(line)
    assert (answer["ok"], answer["kind"], answer["calls"]) == (False, "summary", 0)
    assert words in answer["error"]


def test_whether_failures_were_swallowed_takes_a_command(pyctl: Pyctl) -> None:
    ended = pyctl("watch", "--fail-on-swallowed")
    assert ended.status == 2
    assert "needs a command" in ended.err
