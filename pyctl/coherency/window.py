# SPDX-License-Identifier: GPL-2.0-only
"""Where a run takes place: memory that has a border of large pages in it, where there is some."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from pyctl.errors import NotReady, OperationFailed
from pyctl.ranges import Range
from pyctl.target.aim import Aim, Wish, aim
from pyctl.target.debugfs import Debugfs
from pyctl.target.observers import ModelObserver

DEFAULT_SIZE = 256 * 1024
BORDER = 2 << 20
"""What a block of the CPU's page tables covers, with pages of 4 KiB."""
_ADDRESS_BITS = 52


@contextlib.contextmanager
def target_of(debugfs: Debugfs, wish: Wish) -> Iterator[Aim]:
    """The window asked for, or a part of the first range that is safe and can be looked at.

    A part that nobody has asked for lies across a border of 2 MiB or more, if memory allows.
    """
    is_free = wish == Wish(node=wish.node)
    with contextlib.ExitStack() as stack:
        if is_free:
            try:
                target = stack.enter_context(_aim(debugfs, wish, BORDER + DEFAULT_SIZE, True))
            except NotReady:
                is_free = False
        if not is_free:
            target = stack.enter_context(_aim(debugfs, wish, DEFAULT_SIZE, False))
        yield replace(target, range=place(target.range)) if is_free else target


def _aim(
    debugfs: Debugfs, wish: Wish, size: int, whole: bool
) -> contextlib.AbstractContextManager[Aim]:
    return aim(
        debugfs,
        wish,
        size,
        spare=ModelObserver.SPARE_BYTES,
        whole=whole,
        is_fit=lambda window: _can_look_at(debugfs, window),
    )


def place(memory: Range) -> Range:
    """The window in ``memory``: a quarter of it is behind the most aligned border, if one fits."""
    before, after = DEFAULT_SIZE * 3 // 4, DEFAULT_SIZE // 4
    for bit in range(_ADDRESS_BITS, BORDER.bit_length() - 2, -1):
        border = -(-(memory.addr + before) >> bit) << bit
        if border + after <= memory.end:
            return Range(border - before, border + after)
    return Range(memory.addr, min(memory.addr + DEFAULT_SIZE, memory.end))


def _can_look_at(debugfs: Debugfs, window: Range) -> bool:
    """Whether the module gives access to bytes there; to those of System RAM it never does."""
    try:
        debugfs.read_memory(window.addr, 1)
    except OperationFailed:
        return False
    except NotReady:
        # What is missing is said where the plan is checked.
        return True
    return True
