# SPDX-License-Identifier: GPL-2.0-only
"""Calls of the kernel's callers, put together from the events of one thread after the other.

An answered call is a callback's entry and its return. A caller's function that returns
without a callback in between is a call that nobody answered: the most dangerous one, for
the kernel may call it a success.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pyctl.numbers import errno_name, size_text
from pyctl.target.invalidate import meaning_of
from pyctl.watch.probes import CallSite, Probes
from pyctl.watch.trace import Event, Function, Lost, parse

WHOLE = 2**64 - 1
"""The size with which the NVDIMM drivers ask for all memory."""
_FRAMEWORK = "cpu_cache_"
_NOBODY = "Nobody was asked, and nothing was invalidated."
_REFUSED = "The provider refused it without a call of firmware."
_UNSEEN = "No provider that pyctl knows was asked."


@dataclass(frozen=True)
class KernelCall:
    """One call. What could not be seen is None."""

    time_us: int
    process: str
    pid: int
    """The thread that called."""
    caller: Function | None = None
    addr: int | None = None
    size: int | None = None
    answered: bool | None = True
    """Whether a provider was asked; None where one may be that pyctl does not know."""
    provider: str | None = None
    """The module of the provider that was asked."""
    returned: int | None = None
    """0 or a negative errno; None where the call has not returned, or returns nothing."""
    duration_us: int | None = None
    tries: int | None = None
    """Calls of firmware; None where the provider is not ours."""
    swallowed: bool | None = None
    """Whether the operation that it was part of said success all the same; None if unknown."""

    @property
    def ok(self) -> bool:
        """Whether it is seen to have been done."""
        return bool(self.answered) and self.returned == 0

    @property
    def is_open(self) -> bool:
        """Whether a provider was asked, and what it answered is not known."""
        return bool(self.answered) and self.returned is None

    @property
    def error(self) -> str | None:
        """What is wrong with it, in a sentence."""
        if self.ok:
            return None
        if not self.answered:
            told = "success" if not self.returned else errno_name(-self.returned)
            return f"Returned {told}. {_UNSEEN if self.answered is None else _NOBODY}"
        if self.returned is None:
            return "Its return was not seen."
        why = meaning_of(-self.returned)[0] if self.tries != 0 else _REFUSED
        return f"{errno_name(-self.returned)}: {why}"

    def as_json(self) -> dict[str, object]:
        """One line of ``pyctl watch --json``."""
        return {
            "kind": "call",
            "time_s": self.time_us / 1_000_000,
            "process": self.process,
            "pid": self.pid,
            "caller": self.caller.name if self.caller else None,
            "module": self.caller.module if self.caller else None,
            "addr": None if self.addr is None else f"0x{self.addr:x}",
            "size": self.size,
            "provider": self.provider,
            "answered": self.answered,
            "ok": self.ok,
            "errno": errno_name(-self.returned) if self.returned else None,
            "error": self.error,
            "duration_ns": None if self.duration_us is None else self.duration_us * 1000,
            "tries": self.tries,
            "swallowed": self.swallowed,
        }

    def __str__(self) -> str:
        words = [f"{self.time_us / 1_000_000:.6f}", f"{self.process} ({self.pid})"]
        words += [str(self.caller or "(caller not seen)"), self._range()]
        if self.duration_us is not None:
            words.append(f"{self.duration_us} us")
        if self.tries is not None and self.tries > 1:
            words.append(f"{self.tries} tries")
        words.append(self._verdict())
        return "  ".join(words) + (f": {self.error}" if self.error else "")

    def _verdict(self) -> str:
        if self.swallowed:
            return "SWALLOWED"
        return "ok" if self.ok else "UNKNOWN" if self.is_open else "FAILED"

    def _range(self) -> str:
        if self.addr is None or self.size is None:
            return "(range not seen)"
        if (self.addr, self.size) == (0, WHOLE):
            return "all memory"
        return f"0x{self.addr:x} + {size_text(self.size)}"


class Assembler:
    """Makes calls of the lines of a trace, and counts what it knows to be missing."""

    def __init__(self, probes: Probes) -> None:
        self.probes = probes
        self.lost = 0
        """Events that the trace had no room for."""
        self._open: dict[int, KernelCall] = {}
        self._unasked: dict[int, Event] = {}
        """Entries of callers' functions, by thread, that no callback has come after."""

    def feed(self, line: str) -> Iterator[KernelCall]:
        """The calls that end with a line."""
        event = parse(line)
        if isinstance(event, Lost):
            self.lost += event.count
        elif event:
            kind, _, number = event.name.partition("_")
            yield from getattr(self, f"_{kind}")(event, number)

    def rest(self) -> Iterator[KernelCall]:
        """The calls of which no return was seen."""
        yield from self._open.values()
        self._open.clear()

    def _in(self, event: Event, number: str) -> Iterator[KernelCall]:
        # One whose return was missed.
        if unfinished := self._open.pop(event.task, None):
            yield unfinished
        callback = self.probes.callbacks[number]
        self._unasked.pop(event.task, None)
        self._open[event.task] = KernelCall(
            time_us=event.time_us,
            process=event.fields["comm"],
            pid=event.task,
            caller=_caller(event),
            addr=event.number("addr"),
            size=event.number("size"),
            answered=True,
            provider=callback.module,
            tries=0 if callback.tries else None,
        )

    def _try(self, event: Event, _number: str) -> Iterator[KernelCall]:
        if (call := self._open.get(event.task)) and call.tries is not None:
            self._open[event.task] = replace(call, tries=call.tries + 1)
        return iter(())

    def _out(self, event: Event, number: str) -> Iterator[KernelCall]:
        call = self._open.pop(event.task, None)
        returned = event.number("ret")
        if call:
            yield replace(call, returned=returned, duration_us=event.time_us - call.time_us)
            return
        # It began before the watch, or its entry was lost.
        provider = self.probes.callbacks[number].module
        process = event.fields["comm"]
        yield KernelCall(event.time_us, process, event.task, provider=provider, returned=returned)

    def _enter(self, event: Event, _number: str) -> Iterator[KernelCall]:
        self._unasked[event.task] = event
        return iter(())

    def _leave(self, event: Event, number: str) -> Iterator[KernelCall]:
        entry = self._unasked.pop(event.task, None)
        if entry is None:
            return
        caller = self.probes.callers[number]
        addr, size = _range(entry, caller)
        yield KernelCall(
            time_us=entry.time_us,
            process=entry.fields["comm"],
            pid=event.task,
            caller=Function(caller.function, caller.module),
            addr=addr,
            size=size,
            answered=False if self.probes.is_sure else None,
            returned=event.number("ret"),
            duration_us=event.time_us - entry.time_us,
        )


def _caller(event: Event) -> Function | None:
    """The function that called the framework."""
    for name in ("caller", "above"):
        function = Function.parse(event.fields.get(name, ""))
        if function and not function.name.startswith(_FRAMEWORK):
            return function
    return None


def _range(event: Event, caller: CallSite) -> tuple[int | None, int | None]:
    """Address and size that a caller's function is about."""
    if not caller.fetched:
        return 0, WHOLE
    addr, size, end = (event.number(name) for name in ("addr", "size", "end"))
    if size is None and addr is not None and end is not None:
        size = end + 1 - addr
    return addr, size
