# SPDX-License-Identifier: GPL-2.0-only
"""A run on disk as it happens: one line of JSON for each thing that is known.

A process may be killed at any moment, a disk may be full. What was written stays;
a line that was cut off says nothing, and a run without its last line is incomplete.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

from pyctl.errors import UsageError
from pyctl.lab.results import (
    BoardIdentity,
    ItemKind,
    ItemOutcome,
    ItemResult,
    RunHead,
    RunResults,
    board_from,
    head_from,
    now,
    result_from,
)

FORMAT_VERSION = 1
"""Of the file. A reader refuses a later one, and knows every one before its own."""
_START = b'\n{"format"'
NOT_TRIED = "The run ended before this was tried."
NOT_ENDED = "The run ended before this did."


class Journal:
    """Writes one run to a new file; to be closed, or used in a ``with`` statement.

    The end is written by ``end`` only: a run that leaves the statement by an exception
    stays without one. Every method raises OSError where the disk takes no more.
    """

    def __init__(self, path: Path, head: RunHead) -> None:
        self._file: BinaryIO = path.open("xb", buffering=0)
        try:
            self._add({"format": FORMAT_VERSION, "run": head.as_json()})
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Write no more; without ``end`` before it the run stays incomplete."""
        self._file.close()

    def board(self, board: BoardIdentity) -> None:
        """Keep what has been learned about the board since the run began."""
        self._add({"board": dataclasses.asdict(board)})

    def plan(self, kind: ItemKind, paths: Iterable[str]) -> None:
        """Keep what will be tried: what has no result in the end is missing."""
        self._add({"plan": list(paths), "kind": kind})

    def begin(self, path: str, kind: ItemKind) -> None:
        """Keep that a test, rule or measurement is under way: if nothing follows, it is lost."""
        self._add({"begin": path, "kind": kind, "started": now()})

    def result(self, result: ItemResult) -> None:
        """Keep a result."""
        self._add({"result": result.as_json()})

    def end(self, trouble: str = "") -> None:
        """Keep that the run is over; ``trouble`` is why it ended early, if it did."""
        self._add({"end": now(), "trouble": trouble})
        os.fsync(self._file.fileno())

    def _add(self, line: dict[str, Any]) -> None:
        # A line that a full disk cut off is ended by the next one's first byte.
        left = memoryview(b"\n" + json.dumps(line).encode())
        while left:
            left = left[self._file.write(left) :]


def is_journal(path: Path) -> bool:
    """Whether a file begins as a journal does; ``read_journal`` says what is wrong with it."""
    try:
        with path.open("rb") as file:
            return file.read(len(_START)) == _START
    except OSError:
        return False


def read_journal(path: Path) -> RunResults:
    """The run in a file, as far as it got.

    Raises UsageError if the file cannot be read, is no journal, or is of a later version.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    lines = _lines(text)
    first = next(lines, None)
    try:
        version, head = int(first["format"]), head_from(first["run"])  # type: ignore[index]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise UsageError(f"{path} is not a journal of pyctl's results.") from None
    if version > FORMAT_VERSION:
        raise UsageError(
            f"{path} is of a later version ({version}) than this pyctl knows ({FORMAT_VERSION}).",
            "Read it with the pyctl that wrote it, or a later one.",
        )
    return _replay(head, lines)


def _lines(text: bytes) -> Iterator[Any]:
    """What the lines hold; None for one that was cut off."""
    for line in text.split(b"\n"):
        if line:
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                yield None


def _missing(path: str, kind: ItemKind, why: str, started: str = "") -> ItemResult:
    return ItemResult(path, kind, ItemOutcome.INCOMPLETE, why, started=started)


def _replay(head: RunHead, lines: Iterator[Any]) -> RunResults:
    results: list[ItemResult] = []
    missing: dict[str, ItemResult] = {}
    ended = trouble = damage = ""
    for line in lines:
        try:
            match line:
                case {"board": found}:
                    head = dataclasses.replace(head, board=board_from(found))
                case {"plan": [*paths], "kind": kind}:
                    for path in paths:
                        missing[path] = _missing(str(path), ItemKind(kind), NOT_TRIED)
                case {"begin": str(path), "kind": kind, "started": str(started)}:
                    missing[path] = _missing(path, ItemKind(kind), NOT_ENDED, started)
                case {"result": found}:
                    results.append(result_from(found))
                    missing.pop(results[-1].path, None)
                case {"end": str(ended), "trouble": str(trouble)}:
                    pass
                case None:
                    raise ValueError
        except (KeyError, TypeError, AttributeError, ValueError):
            damage = "A part of the journal cannot be read."
    return RunResults(head, (*results, *missing.values()), ended, trouble or damage)
