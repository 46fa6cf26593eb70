# SPDX-License-Identifier: GPL-2.0-only
"""The text of a trace, taken apart: an event a line (Linux Documentation/trace/ftrace.rst)."""

from __future__ import annotations

import re
from dataclasses import dataclass

_EVENT = re.compile(
    r"\s*(?P<comm>.*)-(?P<task>\d+)\s+\[\d+\]\s+\S+\s+(?P<time>\d+\.\d+): "
    r"(?P<name>\w+): \(.*?\)(?P<fields>.*)"
)
_LOST = re.compile(r"CPU:\d+ \[LOST (?P<count>\d+) EVENTS\]")
_FIELD = re.compile(r' (\w+)=("[^"]*"|\(fault\)|[^\s"]+(?: \[\w+\])?)')
_SYMBOL = re.compile(r"(?P<function>[\w.$]+)\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[(?P<module>\w+)\])?")


@dataclass(frozen=True)
class Lost:
    """So many events that the trace had no room for."""

    count: int


@dataclass(frozen=True)
class Event:
    """A probe that was hit."""

    name: str
    time_us: int
    """Since the machine started, as in the kernel log."""
    task: int
    """The thread's number, which is the process's unless it has several."""
    fields: dict[str, str]
    """What was fetched; what could not be read is missing."""

    def number(self, name: str) -> int | None:
        """The number in a field; None where it could not be read."""
        return int(self.fields[name], 0) if name in self.fields else None


@dataclass(frozen=True)
class Function:
    """A function of the kernel, and the module that it is in unless it is built in."""

    name: str
    module: str | None = None

    @classmethod
    def parse(cls, text: str) -> Function | None:
        """From ``name+0x4/0x20 [module]``; None where the address is in no function."""
        match = _SYMBOL.match(text)
        return cls(match["function"], match["module"]) if match else None

    def __str__(self) -> str:
        return f"{self.name} [{self.module}]" if self.module else self.name


def parse(line: str) -> Event | Lost | None:
    """One line of a trace; None where it is none of ours."""
    if match := _LOST.match(line):
        return Lost(int(match["count"]))
    match = _EVENT.match(line)
    if match is None:
        return None
    seconds, _, fraction = match["time"].partition(".")
    fields: dict[str, str] = {}
    for name, value in _FIELD.findall(match["fields"]):
        # The name of a process comes last, and may look like anything.
        if value != "(fault)":
            fields.setdefault(name, value.strip('"'))
    fields.setdefault("comm", match["comm"].strip())
    time_us = int(seconds) * 1_000_000 + int(fraction.ljust(6, "0")[:6])
    return Event(match["name"], time_us, int(match["task"]), fields)
