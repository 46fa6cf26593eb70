# SPDX-License-Identifier: GPL-2.0-only
"""What came of the runs of a score, and what of it is kept for the next time."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from pyctl.cache import digest

# What may change the result of a run; a README or a unit test does not.
SEEN = ("Kbuild", "module", "pyctl", "pyproject.toml", "scripts/mutants", "scripts/setup")
SEEN_TESTS = ("__init__.py", "conftest.py", "reference.py", "harness", "mutants", "target")


@dataclass(frozen=True)
class Run:
    """One run of the suite and what came of it: the first test that failed, if any."""

    name: str
    failed: str | None
    seconds: float
    broken: str = ""

    @property
    def missed(self) -> bool:
        """Whether the suite ran and found nothing."""
        return self.failed is None and not self.broken


class Done:
    """The runs of a score that was interrupted, kept for the next one of the same source."""

    def __init__(self, top: Path, directory: Path) -> None:
        """Of the checkout at ``top``; ``directory`` is where they are kept."""
        paths = [*SEEN, *(f"tests/{name}" for name in SEEN_TESTS)]
        command = ["git", "ls-files", "-z", "--", *paths]
        listed = subprocess.run(command, cwd=top, capture_output=True, text=True, check=True)
        names = listed.stdout.split("\0")
        # A link leads to files that are among these themselves.
        files = [(name, (top / name).read_bytes()) for name in names if (top / name).is_file()]
        self.file = directory / f"{digest(*itertools.chain(*files))}.jsonl"
        self.runs: dict[str, Run] = {}
        if self.file.exists():
            for line in self.file.read_text().splitlines():
                run = Run(**json.loads(line))
                self.runs[run.name] = run

    def keep(self, run: Run) -> None:
        """Remember a run that says something."""
        if not run.broken:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a") as file:
                file.write(json.dumps(asdict(run)) + "\n")

    def forget(self, names: Collection[str]) -> None:
        """Begin anew with these next time; a part that was scored is not the end of the rest."""
        kept = [run for name, run in self.runs.items() if name not in names]
        self.file.unlink(missing_ok=True)
        for run in kept:
            self.keep(run)
