# SPDX-License-Identifier: GPL-2.0-only
"""All nights of a lab in one SQLite file, which two runs at once and a crash do not hurt.

A night is one go over a fleet, a run what became of one board in it. A run is added
whole, in one transaction, from its journal; until then it is the journal that keeps it.
Paths of tests and rules are kept once, and a pass costs a row of a few bytes, so that a
year of fifty boards stays small.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.errors import NotReady, UsageError
from pyctl.lab.results import (
    BoardIdentity,
    ItemOutcome,
    ItemResult,
    RunResults,
    board_from,
    now,
    result_from,
)

MIGRATIONS = (
    """
    CREATE TABLE night (
        id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, boards TEXT NOT NULL, pid INTEGER NOT NULL,
        started TEXT NOT NULL, ended TEXT NOT NULL DEFAULT '', trouble TEXT NOT NULL DEFAULT '');
    CREATE TABLE run (
        id INTEGER PRIMARY KEY, night INTEGER NOT NULL REFERENCES night ON DELETE CASCADE,
        board TEXT NOT NULL, identity TEXT NOT NULL, started TEXT NOT NULL, ended TEXT NOT NULL,
        trouble TEXT NOT NULL, outcome TEXT NOT NULL, counts TEXT NOT NULL,
        UNIQUE (night, board));
    CREATE INDEX runs_of_board ON run (board, night);
    CREATE TABLE item (
        id INTEGER PRIMARY KEY, path TEXT NOT NULL UNIQUE, kind TEXT NOT NULL);
    CREATE TABLE result (
        run INTEGER NOT NULL REFERENCES run ON DELETE CASCADE,
        item INTEGER NOT NULL REFERENCES item,
        outcome TEXT NOT NULL, duration_s REAL NOT NULL, rest TEXT, numbers TEXT,
        PRIMARY KEY (run, item)) WITHOUT ROWID;
    CREATE INDEX measured ON result (run) WHERE numbers IS NOT NULL;
    """,
)
"""What makes a store of each version out of the one before it; never changed, only added to."""
_BUSY_S = 60.0
# What of a result has a column of its own.
_COLUMNS = ("path", "kind", "outcome", "duration_s", "numbers")


@dataclass(frozen=True)
class NightRow:
    """A night as the store knows it; ``ended`` is empty for one that was killed, or still goes on.

    ``boards`` are all that it was to be about.
    """

    id: int
    fleet: str
    boards: tuple[str, ...]
    pid: int
    started: str
    ended: str
    trouble: str


@dataclass(frozen=True)
class RunRow:
    """What became of a board in a night. ``counts`` has the number of results by outcome."""

    id: int
    night: int
    board: BoardIdentity
    started: str
    ended: str
    trouble: str
    outcome: ItemOutcome
    counts: dict[str, int]


class Store:
    """The file, made where there is none; used in a ``with`` statement.

    Raises UsageError for a file of a later version, which is left untouched, or one that is
    no store; NotReady where the disk takes no more. One of an earlier version is migrated,
    with a copy of it kept beside it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with _told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
            try:
                self._migrate()
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.execute("PRAGMA foreign_keys = ON")
            except BaseException:
                self._db.close()
                raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_error: object) -> None:
        self._db.close()

    def directory(self, night: int) -> Path:
        """Where journals and logs of a night lie."""
        return self.path.with_name(f"{self.path.name}.d") / str(night)

    # -- nights ----------------------------------------------------------------

    def begin(self, fleet: str, boards: list[str]) -> int:
        """Begin a night; gives its number."""
        with self._change() as db:
            values = (fleet, json.dumps(boards), os.getpid(), now())
            cursor = db.execute(
                "INSERT INTO night (fleet, boards, pid, started) VALUES (?, ?, ?, ?)", values
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def go_on(self, night: int) -> None:
        """A night that was broken off goes on in this process."""
        with self._change() as db:
            db.execute(
                "UPDATE night SET pid = ?, ended = '', trouble = '' WHERE id = ?",
                (os.getpid(), night),
            )

    def end(self, night: int, trouble: str = "") -> None:
        """End a night; ``trouble`` is why it ended early, if it did."""
        with self._change() as db:
            db.execute(
                "UPDATE night SET ended = ?, trouble = ? WHERE id = ?", (now(), trouble, night)
            )

    def nights(self, last: int = -1) -> list[NightRow]:
        """The last nights, the newest first; all of them with -1."""
        rows = self._rows("SELECT * FROM night ORDER BY id DESC LIMIT ?", last)
        return [NightRow(**row | {"boards": tuple(json.loads(row["boards"]))}) for row in rows]

    def night(self, wanted: str) -> NightRow:
        """A night by its number, or by ``last`` and ``last-N``. Raises UsageError."""
        nights = self.nights()
        word, _, back = wanted.partition("-")
        place = int(back or 0) if word == "last" and (back or "0").isdigit() else None
        if place is not None and place < len(nights):
            return nights[place]
        for night in nights:
            if str(night.id) == wanted:
                return night
        raise UsageError(
            f"There is no night {wanted!r} in {self.path}.", "`pyctl lab history` lists them."
        )

    def prune(self, keep: int) -> list[int]:
        """Forget all nights but the newest ``keep``; gives their numbers."""
        old = [night.id for night in self.nights()[keep:]]
        with self._change() as db:
            db.executemany("DELETE FROM night WHERE id = ?", [(night,) for night in old])
        with _told(self.path):
            self._db.execute("VACUUM")
        for night in old:
            shutil.rmtree(self.directory(night), ignore_errors=True)
        return old

    # -- runs and results --------------------------------------------------------

    def add(self, night: int, run: RunResults) -> None:
        """Add what became of a board, in place of what was there of it in that night."""
        head, board = run.head, dataclasses.asdict(run.head.board)
        # A thing that was tried more than once is what the worst of it was.
        results: dict[str, ItemResult] = {}
        for result in run.results:
            known = results.get(result.path)
            if known is None or _RANK[result.outcome] < _RANK[known.outcome]:
                results[result.path] = result
        with self._change() as db:
            db.execute("DELETE FROM run WHERE night = ? AND board = ?", (night, head.board.name))
            cursor = db.execute(
                "INSERT INTO run (night, board, identity, started, ended, trouble, outcome, counts)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(night, head.board.name, json.dumps(board), head.started, run.ended),
                    *(run.why_incomplete, run.outcome, json.dumps(run.counts)),
                ),
            )
            items = [(one.path, one.kind) for one in results.values()]
            db.executemany("INSERT OR IGNORE INTO item (path, kind) VALUES (?, ?)", items)
            db.executemany(
                "INSERT INTO result (run, item, outcome, duration_s, rest, numbers)"
                " SELECT ?, id, ?, ?, ?, ? FROM item WHERE path = ?",
                [(cursor.lastrowid, *_values(one)) for one in results.values()],
            )

    def runs(self, night: int) -> list[RunRow]:
        """What became of each board in a night."""
        return self._runs("night = ? ORDER BY board", night)

    def earlier(self, run: RunRow, last: int) -> list[RunRow]:
        """The runs of the same board in the nights before, the newest first."""
        return self._runs(
            "board = ? AND night < ? ORDER BY night DESC LIMIT ?", run.board.name, run.night, last
        )

    def results(
        self, run: int, keep: Callable[[str, str, str], bool] = lambda *_: True
    ) -> dict[str, ItemResult]:
        """The results of a run by their paths; those that ``keep`` wants.

        It is asked with path, kind and outcome, for to read all of one costs most.
        """
        rows = self._rows(
            "SELECT path, kind, outcome, duration_s, rest, numbers"
            " FROM result JOIN item ON item.id = item WHERE run = ? ORDER BY item",
            run,
        )
        return {
            row["path"]: _result(row)
            for row in rows
            if keep(row["path"], row["kind"], row["outcome"])
        }

    def outcomes(self, run: int) -> dict[str, ItemOutcome]:
        """What came of each thing in a run, by its path."""
        rows = self._rows(
            "SELECT path, outcome FROM result JOIN item ON item.id = item WHERE run = ?", run
        )
        return {row["path"]: ItemOutcome(row["outcome"]) for row in rows}

    def outcome(self, run: int, path: str) -> ItemOutcome | None:
        """What came of one thing in a run; None where it has no result."""
        rows = self._rows(
            "SELECT outcome FROM result"
            " WHERE run = ? AND item = (SELECT id FROM item WHERE path = ?)",
            *(run, path),
        )
        return next((ItemOutcome(row["outcome"]) for row in rows), None)

    def numbers(self, run: int) -> dict[str, dict[str, Any]]:
        """The quantities of a run by path and name, each with value and unit."""
        rows = self._rows(
            "SELECT path, numbers FROM result JOIN item ON item.id = item"
            " WHERE run = ? AND numbers IS NOT NULL",
            run,
        )
        return {row["path"]: json.loads(row["numbers"]) for row in rows}

    def measured(self, nights: Iterable[int]) -> Iterator[tuple[int, str, str, dict[str, Any]]]:
        """All quantities of some nights, as (night, board, path, quantities by name)."""
        for night in nights:
            rows = self._rows(
                "SELECT board, path, numbers FROM run JOIN result ON run = run.id"
                " JOIN item ON item.id = item WHERE night = ? AND numbers IS NOT NULL",
                night,
            )
            for row in rows:
                yield night, row["board"], row["path"], json.loads(row["numbers"])

    # -- the file ------------------------------------------------------------------

    def _runs(self, where: str, *values: object) -> list[RunRow]:
        rows = self._rows(f"SELECT * FROM run WHERE {where}", *values)
        return [
            RunRow(
                id=row["id"],
                night=row["night"],
                board=board_from(json.loads(row["identity"])),
                started=row["started"],
                ended=row["ended"],
                trouble=row["trouble"],
                outcome=ItemOutcome(row["outcome"]),
                counts=json.loads(row["counts"]),
            )
            for row in rows
        ]

    def _rows(self, query: str, *values: object) -> list[dict[str, Any]]:
        with _told(self.path):
            cursor = self._db.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor]

    @contextlib.contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        with _told(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                raise

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _migrate(self) -> None:
        if self._version() == len(MIGRATIONS):
            return
        with self._change() as db:
            # Another process may have been first.
            version = self._version()
            if version > len(MIGRATIONS):
                raise UsageError(
                    f"{self.path} is of a later version ({version}) than this pyctl knows "
                    f"({len(MIGRATIONS)}).",
                    "Use the pyctl that wrote it, or a later one.",
                )
            if version:
                with sqlite3.connect(self.path) as old:
                    copy = self.path.with_name(f"{self.path.name}.version{version}")
                    with contextlib.closing(sqlite3.connect(copy)) as kept:
                        old.backup(kept)
            for script in MIGRATIONS[version:]:
                for statement in script.split(";"):
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")


_RANK = {
    outcome: rank
    for rank, outcome in enumerate(
        (
            ItemOutcome.FAIL,
            ItemOutcome.ERROR,
            ItemOutcome.INCOMPLETE,
            ItemOutcome.PASS,
            ItemOutcome.SKIP,
        )
    )
}


def _values(result: ItemResult) -> tuple[object, ...]:
    """The columns of a result, and last its path."""
    whole = result.as_json()
    numbers = json.dumps(whole["numbers"]) if result.numbers else None
    rest = {name: value for name, value in whole.items() if name not in _COLUMNS}
    if result.outcome is ItemOutcome.PASS:
        # What held needs no evidence, and is most of all.
        rest = {name: rest[name] for name in ("reason",) if rest[name]}
    text = json.dumps(rest) if rest else None
    return result.outcome, result.duration_s, text, numbers, result.path


def _result(row: dict[str, Any]) -> ItemResult:
    known = {name: row[name] for name in _COLUMNS}
    known["numbers"] = json.loads(row["numbers"] or "{}")
    return result_from(json.loads(row["rest"] or "{}") | known)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """What SQLite and the system refuse, as a sentence."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        why = str(error.strerror if isinstance(error, OSError) else error)
        if isinstance(error, sqlite3.DatabaseError) and "not a database" in why:
            raise UsageError(f"{path} is not a store of `pyctl lab`.") from None
        raise NotReady(
            f"The store {path} cannot be used: {why}.",
            "What was found until now is in the journals beside it; make room, and run "
            "`pyctl lab run --resume`.",
        ) from None
