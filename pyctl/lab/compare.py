# SPDX-License-Identifier: GPL-2.0-only
"""What is new: a night against what was known before it, or against another night.

Only what was found out counts: a board that was lost, or a test that was not tried,
neither breaks anything nor mends it, and what was known before stays known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from pyctl.lab.results import BoardIdentity, ItemEvidence, ItemKind, ItemOutcome, ItemResult
from pyctl.lab.store import RunRow, Store

JUDGED = (ItemOutcome.PASS, ItemOutcome.FAIL)
LOOK_BACK = 30
"""How many nights of a board are asked what they knew of a thing."""
FLAKY_NIGHTS, FLAKY_CHANGES = 10, 3
"""A thing is flaky that changed so often between pass and fail in so many nights."""
SLOWER = 1.5
"""A quantity is told of that has grown, or shrunk, by this factor."""


@dataclass(frozen=True)
class ItemChange:
    """A thing of a board whose outcome is another one; None where there was, or is, no result."""

    board: str
    path: str
    old: ItemOutcome | None
    new: ItemOutcome | None
    result: ItemResult
    """The newer one, or where there is none the older."""
    is_flaky: bool = False

    def as_json(self) -> dict[str, Any]:
        """One entry of a list of changes."""
        return {
            "board": self.board,
            "path": self.path,
            "old": self.old,
            "new": self.new,
            "reason": self.result.reason,
            "statement": self.result.statement,
            "flaky": self.is_flaky,
        }


@dataclass(frozen=True)
class Trouble:
    """A board that the lab could not have, or lost; ``why`` is a sentence."""

    board: str
    why: str

    def as_json(self) -> dict[str, Any]:
        """One entry of ``troubles``."""
        return {"board": self.board, "why": self.why}


@dataclass(frozen=True)
class Verdict:
    """What a night has shown. ``known`` are failures that were there before.

    ``silent`` passed or failed in the board's last whole run, and nobody knows any more whether
    they do: they were skipped, or are gone.
    """

    new: tuple[ItemChange, ...]
    known: tuple[ItemChange, ...]
    fixed: tuple[ItemChange, ...]
    silent: tuple[ItemChange, ...]
    troubles: tuple[Trouble, ...]

    @property
    def exit_status(self) -> int:
        """0 nothing new is wrong; 1 new failures; 4 nothing but trouble of the lab."""
        return 1 if self.new else 4 if self.troubles else 0

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        parts = [
            f"{count(len(self.new), 'new failure')}" if self.new else "nothing new is wrong",
            f"{count(len(self.known), 'known failure')} still there" if self.known else "",
            f"{len(self.fixed)} fixed" if self.fixed else "",
            f"{len(self.silent)} no longer tried" if self.silent else "",
            f"trouble of the lab with {', '.join(one.board for one in self.troubles)}"
            if self.troubles
            else "",
        ]
        text = "; ".join(filter(None, parts))
        return f"{text[0].upper()}{text[1:]}."


def count(number: int, what: str) -> str:
    """A number of things, such as ``2 new failures``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def judge(store: Store, night: int) -> Verdict:
    """What a night has shown, against all that was known of each board before it."""
    new: list[ItemChange] = []
    known: list[ItemChange] = []
    fixed: list[ItemChange] = []
    silent: list[ItemChange] = []
    troubles: list[Trouble] = []
    kinds = {
        (None, ItemOutcome.FAIL): new,
        (ItemOutcome.PASS, ItemOutcome.FAIL): new,
        (ItemOutcome.FAIL, ItemOutcome.FAIL): known,
        (ItemOutcome.FAIL, ItemOutcome.PASS): fixed,
    }
    runs = store.runs(night)
    for run in runs:
        earlier = store.earlier(run, LOOK_BACK)
        judged = {path: one for path, one in store.outcomes(run.id).items() if one in JUDGED}
        before = _known(store, earlier, judged.keys())
        told = {
            path: kinds[before.get(path), one]
            for path, one in judged.items()
            if (before.get(path), one) in kinds
        }
        for path, result in store.results(run.id, lambda path, *_: path in told).items():  # noqa: B023
            is_flaky = _is_flaky(store, run, earlier, path)
            told[path].append(
                ItemChange(run.board.name, path, before.get(path), result.outcome, result, is_flaky)
            )
        if trouble := trouble_of(store, run):
            troubles.append(trouble)
        elif last_whole := next((one for one in earlier if not one.trouble), None):
            changed, _ = _differences(store, last_whole, run)
            silent += [
                one for one in changed if one.old in JUDGED and one.new in (ItemOutcome.SKIP, None)
            ]
    missing = {name for one in store.nights() if one.id == night for name in one.boards}
    troubles += [
        Trouble(name, "It has no results.")
        for name in sorted(missing - {run.board.name for run in runs})
    ]
    return Verdict(tuple(new), tuple(known), tuple(fixed), tuple(silent), tuple(troubles))


def trouble_of(store: Store, run: RunRow) -> Trouble | None:
    """What trouble the lab had with a board in a run."""
    if run.trouble:
        return Trouble(run.board.name, run.trouble)
    if run.counts[ItemOutcome.ERROR]:
        lost = [*store.results(run.id, lambda _path, _kind, one: one == ItemOutcome.ERROR).values()]
        return Trouble(
            run.board.name,
            f"{count(len(lost), 'result')} lost, the first of {lost[0].path}: {lost[0].reason}",
        )
    if not any(run.counts[one] for one in JUDGED):
        return Trouble(run.board.name, "Nothing was found out: all was skipped.")
    return None


def _known(
    store: Store, earlier: Iterable[RunRow], wanted: Collection[str]
) -> dict[str, ItemOutcome]:
    """What was last found out of these things."""
    known: dict[str, ItemOutcome] = {}
    for run in earlier:
        found = store.outcomes(run.id)
        known = {path: one for path, one in found.items() if one in JUDGED} | known
        if all(path in known for path in wanted):
            break
    return known


def _is_flaky(store: Store, run: RunRow, earlier: list[RunRow], path: str) -> bool:
    """Whether a thing passes and fails by turns; of one firmware and kernel only."""
    same = [one for one in earlier[: FLAKY_NIGHTS - 1] if _runs_same(one.board, run.board)]
    found = [store.outcome(one.id, path) for one in (run, *same)]
    judged = [one for one in found if one in JUDGED]
    changes = sum(one is not other for one, other in pairwise(judged))
    return changes >= FLAKY_CHANGES


def _runs_same(one: BoardIdentity, other: BoardIdentity) -> bool:
    return (one.firmware, one.kernel) == (other.firmware, other.kernel)


@dataclass(frozen=True)
class NightComparison:
    """What changed from one night to another.

    ``moved`` are quantities as (board, name, old, new, unit); ``identities`` what else
    runs on a board, as (board, what, old, new).
    """

    changes: tuple[ItemChange, ...]
    observed: tuple[ItemChange, ...]
    moved: tuple[tuple[str, str, float, float, str], ...]
    identities: tuple[tuple[str, str, str, str], ...]
    boards: tuple[tuple[str, str], ...]

    def of(self, old: Iterable[ItemOutcome | None], new: ItemOutcome) -> list[ItemChange]:
        """The changes from one of these outcomes to that one."""
        wanted = tuple(old)
        return [one for one in self.changes if one.old in wanted and one.new is new]


def compare_nights(store: Store, old: int, new: int) -> NightComparison:
    """What changed, board by board, from one night to another."""
    before = {run.board.name: run for run in store.runs(old)}
    after = {run.board.name: run for run in store.runs(new)}
    changes: list[ItemChange] = []
    observed: list[ItemChange] = []
    moved: list[tuple[str, str, float, float, str]] = []
    identities: list[tuple[str, str, str, str]] = []
    for name in sorted(before.keys() & after.keys()):
        was, now = before[name], after[name]
        identities += [(name, *one) for one in _identity_changes(was.board, now.board)]
        moved += [(name, *one) for one in _moved(store.numbers(was.id), store.numbers(now.id))]
        one, other = _differences(store, was, now)
        changes += one
        observed += other
    gone = [(name, "only in the older night") for name in sorted(before.keys() - after.keys())]
    come = [(name, "only in the newer night") for name in sorted(after.keys() - before.keys())]
    return NightComparison(
        tuple(changes), tuple(observed), tuple(moved), tuple(identities), tuple(gone + come)
    )


def _differences(
    store: Store, was: RunRow, now: RunRow
) -> tuple[list[ItemChange], list[ItemChange]]:
    """What has another outcome, and rules whose registers only are others."""
    old, new = store.outcomes(was.id), store.outcomes(now.id)
    changed = {path for path in old.keys() | new.keys() if old.get(path) is not new.get(path)}

    def keep(path: str, kind: str, _outcome: str) -> bool:
        return path in changed or kind == ItemKind.RULE

    before, after = store.results(was.id, keep), store.results(now.id, keep)
    earlier = store.earlier(now, FLAKY_NIGHTS)
    changes: list[ItemChange] = []
    observed: list[ItemChange] = []
    for path, result in (before | after).items():
        pair = old.get(path), new.get(path)
        is_flaky = {*pair} == {*JUDGED} and _is_flaky(store, now, earlier, path)
        change = ItemChange(now.board.name, path, *pair, result, is_flaky)
        if path in changed:
            changes.append(change)
        elif _answers(before[path].evidence) != _answers(result.evidence):
            observed.append(change)
    return changes, observed


def _answers(evidence: ItemEvidence) -> list[str]:
    """What firmware answered, without what it was asked: memory is another one each night.

    A register that came back as it had been sent says nothing of either.
    """
    found = []
    for registers in evidence.registers:
        sent, _, came = registers.rpartition(" -> ")
        function, _, arguments = sent.partition(": ")
        kept = set(arguments.split())
        found.append(" ".join([function, *(one for one in came.split() if one not in kept)]))
    return found


def _identity_changes(old: BoardIdentity, new: BoardIdentity) -> Iterator[tuple[str, str, str]]:
    pairs = {
        "kernel": (old.kernel, new.kernel),
        "model": (old.model, new.model),
        "firmware": (firmware_text(old), firmware_text(new)),
    }
    for what, (was, now) in pairs.items():
        # What was not learned is no change.
        if was and now and was != now:
            yield what, was, now


def firmware_text(board: BoardIdentity) -> str:
    """Everything by which a board's firmware can be told from another."""
    firmware = board.firmware
    registers = " ".join(f"{name}={value}" for name, value in firmware.attributes.items())
    smccc = f"SMCCC {firmware.smccc_version}" if firmware.smccc_version else ""
    parts = (firmware.vendor, firmware.version, firmware.date, smccc, firmware.conduit, registers)
    return " ".join(filter(None, parts))


def _moved(
    old: dict[str, dict[str, Any]], new: dict[str, dict[str, Any]]
) -> Iterator[tuple[str, float, float, str]]:
    for path, numbers in new.items():
        for name, quantity in numbers.items():
            was = old.get(path, {}).get(name)
            if was is None or was["unit"] != quantity["unit"] or not was["value"]:
                continue
            factor = quantity["value"] / was["value"]
            if not 1 / SLOWER < factor < SLOWER:
                yield f"{path} {name}", was["value"], quantity["value"], quantity["unit"]
