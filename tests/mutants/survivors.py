# SPDX-License-Identifier: GPL-2.0-only
"""Automatic mutants that nothing can tell from the original, each with the proof.

``SURVIVORS`` are of C, by name; ``JUDGEMENT`` are of Python, by function and a pattern of
what changes (`old -> new`).
"""

from __future__ import annotations

SURVIVORS: dict[str, str] = {}

JUDGEMENT: dict[tuple[str, str], str] = {
    ("single_cases", r"at\(|odd ="): "another place or length that is what the case's name says, "
    "which test_coherency_cases.py holds for each",
    ("run_single", "seed = "): "other bytes, of which test_coherency_cases.py asks no more than "
    "that each trial has its own, and the same in every run",
    ("hash_of", "little"): "another number for the same name",
    ("Calls.unbounded", "return Result"): "what only a call in a child can be, and no failure",
    ("Calls._settle", "> self._patience_s"): "the one moment at which patience just ends",
    ("Calls._settle", "_is_patient = None"): "as little patience",
    ("Patterns.__init__", "sparse"): "one byte in lines of one byte is every byte",
    ("Patterns.__init__", r"xff"): "each byte still tells whose it is",
    ("_one_byte_each", "_STEP"): "another byte of each line, and of every line another one",
    ("_flip", "little"): "the bytes that are another one's lie the other way round",
    ("Roles.is_dirty", "parity|/"): "the same for any address and for parity 0 and 1",
    ("Stage.__init__", "is_sparse"): "one byte in lines of one byte is every byte",
    ("Stage.__init__", "is_long"): "another number of lines that alternate",
    ("Stage.verify", r"\+= inner"): "nothing has been counted before",
    (
        "Stage._covered_lines",
        "start = max|end = min",
    ): "of lines that both sides see as they were stored last each is "
    "good, and if others are among them, all are judged one by one",
    (
        "Stage._agree",
        r"span = |dirty=|offset = |stored\[",
    ): "where it says no, each line is judged by itself, which takes longer",
    (
        "Stage._look_again",
        r"request\.end",
    ): "what the request covers, and is good, is looked at too",
    ("Stage._look_again", "span = "): "more bytes of a bad line are shown; judged are its own",
    ("Stage._pages", "page / page"): "more pages of what may be touched",
    ("_aim", "whole="): "a part of a range has the border in it as well, or scratch is taken",
    ("_worst_of_round", "interval_s|loop"): "a call too many at once is refused, and one that was "
    "let through has been measured",
    ("_is_unsupported", "firmware"): "asked of direct calls only, whose records have counters",
    ("_can_look_at", "read_memory"): "any byte of the window, and the one behind it, is as good",
}
