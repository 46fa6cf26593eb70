# SPDX-License-Identifier: GPL-2.0-only
"""A year of fifty boards in a store, and many boards that are programs: for scripts/bench.

`python -m tests.lab.year store FILE` makes the one, `python -m tests.lab.year boards DIR
NUMBER SECONDS PARALLEL` runs a night over the others, which take so long each and are no
boards, and prints what became of it as JSON.
"""

import json
import os
import random
import sys
import time
from pathlib import Path

from pyctl.cli.main import main
from pyctl.lab.results import ItemOutcome
from pyctl.lab.store import Store
from tests.lab import test_night

NIGHTS, BOARDS, RESULTS = 365, 50, 550
IDENTITY = '{{"name": "board-{}", "firmware": {{"vendor": "A vendor", "version": "1.3"}}}}'
SKIPPED = '{"reason": "for another kind of target: a board with a device tree"}'
COUNTS = dict.fromkeys(ItemOutcome, 0) | {ItemOutcome.PASS: RESULTS - 62, ItemOutcome.SKIP: 62}


def result(run, number, is_last):
    """A row of the table of results; two of a run are measured, and in the last night some fail."""
    outcome = "skip" if number % 9 == 0 else "pass"
    if is_last and number % 200 == 1:
        outcome = "fail"
    latency = {"p50": {"value": random.uniform(10, 100), "unit": "us"}}
    numbers = json.dumps(latency) if number in (3, 4) else None
    return run, number + 1, outcome, 1.5, SKIPPED if outcome == "skip" else None, numbers


def make_store(path):
    """Some ten million results, by the store's own tables: to run that many takes a year."""
    with Store(path) as store:
        db = store._db
        db.execute("PRAGMA synchronous = OFF")
        names = [(f"tests/target/test_a_topic.py::test_{n}", "test") for n in range(RESULTS)]
        db.executemany("INSERT INTO item (path, kind) VALUES (?, ?)", names)
        for night in range(1, NIGHTS + 1):
            date = time.strftime("%Y-%m-%dT21:00", time.gmtime(1767300000 + 86400 * night))
            boards = json.dumps([f"board-{board}" for board in range(BOARDS)])
            db.execute("BEGIN")
            db.execute(
                "INSERT INTO night VALUES (?, 'fleet.toml', ?, 1, ?, ?, '')",
                (night, boards, date, date),
            )
            for board in range(BOARDS):
                values = (night, f"board-{board}", IDENTITY.format(board), date, date)
                run = db.execute(
                    "INSERT INTO run VALUES (NULL, ?, ?, ?, ?, ?, '', 'pass', ?)",
                    (*values, json.dumps(COUNTS)),
                ).lastrowid
                rows = [result(run, number, night == NIGHTS) for number in range(RESULTS)]
                db.executemany("INSERT INTO result VALUES (?, ?, ?, ?, ?, ?)", rows)
            db.execute("COMMIT")


def run_boards(directory, number, seconds, parallel):
    """A night over programs; gives its exit status, its seconds, and how many results it kept."""
    test_night.plant(test_night.Setter())
    os.environ |= {"PYTHONPATH": str(test_night.TOP), "FAKE_S": str(seconds)}
    os.environ["PYCTL_LAB_STORE"] = str(directory / "lab.sqlite")
    names = [f"good-{board}" for board in range(number)]
    test_night.write_fleet(directory, names, f"parallel = {parallel}")
    started = time.monotonic()
    status = main(["lab", "run", str(directory / "fleet.toml"), "--json"])
    taken = time.monotonic() - started
    with Store(directory / "lab.sqlite") as store:
        kept = sum(run.counts["pass"] for run in store.runs(1))
    return {"status": status, "seconds": taken, "kept": kept}


if __name__ == "__main__":
    if sys.argv[1] == "store":
        make_store(Path(sys.argv[2]))
    else:
        place, *numbers = sys.argv[2:]
        found = run_boards(Path(place), *map(int, numbers))
        print(json.dumps(found), file=sys.stderr)
