# SPDX-License-Identifier: GPL-2.0-only
"""What a command aims at: the range that was named, a safe one, or scratch memory.

In this order a machine's own memory comes first, for it is what the call is for;
scratch is had on every machine.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pyctl.errors import OperationFailed, UsageError
from pyctl.ranges import Range, target_range
from pyctl.target.debugfs import Debugfs
from pyctl.target.regions import regions
from pyctl.target.scratch import Scratch, scratch

NO_JSON = {"kind": None, "name": None, "node": None, "guards": None, "first_damage": None}
"""The keys of ``Aim.as_json``, where nothing has been aimed at."""


@dataclass(frozen=True)
class Wish:
    """What was asked for: an address, or scratch memory of a size and NUMA node, or neither.

    ``size`` is that of the range; None leaves it to the command, or to the scratch.
    """

    addr: int | None = None
    size: int | None = None
    scratch: int | None = None
    node: int | None = None

    def check(self) -> None:
        """Refuse what contradicts itself."""
        if self.addr is not None and (self.scratch is not None or self.node is not None):
            raise UsageError(
                "An --addr is no scratch memory: that has an address of its own.",
                "Leave --addr away, or --scratch and --node.",
            )
        if self.size is not None:
            target_range(self.addr or 0, self.size)
        if self.scratch is not None:
            target_range(0, self.scratch)
            if self.size is not None and self.size > self.scratch:
                raise UsageError(
                    f"--size 0x{self.size:x} is more than --scratch 0x{self.scratch:x}.",
                    "Give a smaller --size, or none.",
                )


@dataclass(frozen=True)
class Aim:
    """A physical range, and what it is: ``given``, a ``region`` that is safe, or ``scratch``."""

    range: Range
    kind: str
    name: str | None = None
    scratch: Scratch | None = None

    def damage(self) -> OperationFailed | None:
        """What firmware has done beyond the range, where that can be seen."""
        return self.scratch.damage() if self.scratch else None

    def as_json(self) -> dict[str, object]:
        """The key ``target`` of an answer."""
        found: dict[str, object] = {**NO_JSON, "kind": self.kind, "name": self.name}
        if self.scratch:
            state = self.scratch.state()
            damage = state.first_damage
            found |= {"node": state.node, "guards": state.guards}
            found["first_damage"] = None if damage is None else f"0x{damage:x}"
        return found

    def __str__(self) -> str:
        text = f"0x{self.range.addr:x}"
        if self.scratch:
            return f"{text} (scratch memory of node {self.scratch.node})"
        return f"{text} ({self.name})" if self.name else text


@contextlib.contextmanager
def aim(
    debugfs: Debugfs,
    wish: Wish,
    size: int,
    spare: int = 0,
    whole: bool = False,
    is_fit: Callable[[Range], bool] = lambda _range: True,
) -> Iterator[Aim]:
    """A range to aim at, while this is open; ``size`` is its length where none was asked for.

    Of scratch there are ``spare`` bytes more behind the range. A safe range is taken if it
    has room and ``is_fit`` says so; where no size was asked for, a shorter one will do, and
    with ``whole`` all of it is taken. A range that was given is not checked here.
    """
    wish.check()
    length = wish.size or wish.scratch or size
    if wish.addr is not None:
        yield Aim(target_range(wish.addr, length), "given")
        return
    if wish.scratch is None and wish.node is None:
        for region in regions(debugfs.system):
            end = region.range.addr + length
            if wish.size is None:
                end = region.range.end if whole else min(end, region.range.end)
            part = Range(region.range.addr, end)
            if region.safe and end <= region.range.end and is_fit(part):
                yield Aim(part, "region", region.name)
                return
    with scratch(debugfs, max(wish.scratch or 0, length) + spare, wish.node) as memory:
        addr = memory.range.addr
        yield Aim(Range(addr, addr + length), "scratch", scratch=memory)
