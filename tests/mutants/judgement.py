# SPDX-License-Identifier: GPL-2.0-only
"""Small changes of the Python that judges, made by mutmut, against its unit tests.

mutmut works in a copy of this checkout, which lies in the cache, and goes on there where it
was interrupted. What it changes is left alone here where the words of a sentence are all that
is another; who only carries something out on a board is scored there, by planted defects.
Needs the extra ``dev``.
"""

from __future__ import annotations

import ast
import difflib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pyctl.cache import digest
from pyctl.places import cache_root
from tests.mutants.survivors import JUDGEMENT

TOP = Path(__file__).resolve().parents[2]
FILES = (
    *(f"pyctl/coherency/{name}.py" for name in ("calls", "cases", "lines", "stage", "window")),
    *(
        f"pyctl/conformance/{name}.py"
        for name in ("calls", "discovery", "outcome", "questions", "registers", "timing")
    ),
    "pyctl/target/invalidate.py",
)
TESTS = (
    *(f"tests/unit/test_coherency_{name}.py" for name in ("cases", "lines", "run")),
    *(f"tests/unit/test_conformance{name}.py" for name in ("_outcome", "_said", "", "_provider")),
    *(f"tests/unit/test_cli_{name}.py" for name in ("conformance", "invalidate")),
    "tests/unit/test_invalidate_errno.py",
)
_SEEN = ("Kbuild", "README.md", "module", "pyctl", "pyproject.toml", "scripts", "tests")
# What mutmut notes of a mutant that a test failed on, and of one that ran for ever. Anything
# else, as of one that was interrupted or never tested, is no kill.
_KILLED = (1, 3, 24, -24, 36, 152, 255)
_MARK = "__mutmut_"


@dataclass(frozen=True)
class Mutant:
    """A change of a function: ``Class.method`` or its name, and the lines that differ."""

    path: str
    function: str
    change: str
    is_words: bool

    def __str__(self) -> str:
        return f"{self.path} {self.function}: {self.change}"

    @property
    def why(self) -> str:
        """The proof that it changes nothing, if there is one."""
        return next(
            (
                why
                for (function, change), why in JUDGEMENT.items()
                if function == self.function and re.search(change, self.change)
            ),
            "",
        )


def score(jobs: int, words: Sequence[str] = ()) -> int:
    """Make all mutants and run the tests on each; print what survived, and the score.

    With ``words`` those of files only whose path has one of them.
    """
    files = [path for path in FILES if not words or any(word in path for word in words)]
    work = _copy()
    log = work / "mutmut.log"
    print(f"the work is in {work}, and what mutmut says in {log.name}", flush=True)
    with log.open("w") as file:
        command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
        command += [f"{path.removesuffix('.py').replace('/', '.')}.*" for path in files]
        status = subprocess.run(command, cwd=work, stdout=file, stderr=file).returncode
    killed, survived = outcomes(work / "mutants", files)
    if status or killed + len(survived) == 0:
        print(f"mutmut ended with {status}: this is no score", flush=True)
        return 1
    explained = [mutant for mutant in survived if mutant.is_words or mutant.why]
    for mutant in survived:
        if mutant not in explained:
            print(f"survived: {mutant}")
    left = len(survived) - len(explained)
    print(f"{len(explained)} change nothing that is judged")
    print(f"killed {killed}/{killed + left}", flush=True)
    return int(left > 0)


def outcomes(mutants: Path, files: Sequence[str]) -> tuple[int, list[Mutant]]:
    """How many of mutmut's mutants of these files were killed, and all others."""
    killed, survived = 0, []
    for path in files:
        noted = json.loads((mutants / f"{path}.meta").read_text())["exit_code_by_key"]
        changed = dict(_changes(path, (mutants / path).read_text()))
        for key, code in noted.items():
            if code in _KILLED:
                killed += 1
            else:
                survived.append(changed[key.rpartition(".")[2]])
    return killed, survived


def _changes(path: str, text: str) -> Iterator[tuple[str, Mutant]]:
    """Each mutant in a file of mutmut's, by mutmut's name for it."""
    functions = {
        node.name: node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and _MARK in node.name
    }
    lines = text.splitlines()
    for name, node in functions.items():
        base, _, number = name.rpartition(_MARK)
        if not number.isdigit():
            continue
        whole = functions[f"{base}{_MARK}orig"]
        old, new = ([line.strip() for line in _lines(lines, one)] for one in (whole, node))
        # The name of the function is another one in each.
        removed: list[str] = []
        added: list[str] = []
        for line in difflib.ndiff(old[1:], new[1:]):
            if line[0] in "-+":
                (removed if line[0] == "-" else added).append(line[2:])
        change = f"{' '.join(removed) or old[0]} -> {' '.join(added) or new[0]}"
        function = re.sub("^xǁ|^x_", "", base).replace("ǁ", ".")
        yield name, Mutant(path, function, change, _shape(whole) == _shape(node))


def _lines(lines: list[str], node: ast.FunctionDef) -> list[str]:
    return lines[node.lineno - 1 : node.end_lineno]


def _shape(node: ast.FunctionDef) -> str:
    """A function without its name, and without the words of its sentences."""

    class Blank(ast.NodeTransformer):
        def visit_Constant(self, constant: ast.Constant) -> ast.Constant:
            is_words = isinstance(constant.value, str) and " " in constant.value
            return ast.Constant("") if is_words else constant

    copy = Blank().visit(ast.parse(ast.unparse(node)).body[0])
    copy.name = ""
    return ast.dump(copy)


def undecorated(text: str) -> str:
    """A file whose rules are made behind their functions: mutmut passes over decorated ones."""
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        if isinstance(node, ast.FunctionDef) and len(node.decorator_list) == 1:
            made = ast.unparse(node.decorator_list[0])
            if made.startswith("rule("):
                lines.insert(node.end_lineno or 0, f"\n\n{node.name} = {made}({node.name})\n")
                del lines[node.decorator_list[0].lineno - 1 : node.lineno - 1]
    return "".join(lines)


def _copy() -> Path:
    """A copy of what is tracked here, made for mutmut, or the one that it has begun with."""
    command = ["git", "ls-files", "-z", "--", *_SEEN]
    listed = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True)
    names = [name for name in listed.stdout.split("\0") if (TOP / name).is_file()]
    key = digest(*chain(*((name, (TOP / name).read_bytes()) for name in names)))
    directory = cache_root() / "score/judgement"
    work = directory / key
    if work.exists():
        return work
    shutil.rmtree(directory, ignore_errors=True)
    made = directory / f"{key}.part"
    for name in names:
        (made / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(TOP / name, made / name, follow_symlinks=False)
    for path in FILES:
        (made / path).write_text(undecorated((made / path).read_text()))
    with (made / "pyproject.toml").open("a") as file:
        file.write(_settings())
    return made.rename(work)


def _settings() -> str:
    """What mutmut shall do; JSON's lists of texts are TOML's."""
    return (
        f'\n[tool.mutmut]\nsource_paths = ["pyctl"]\nonly_mutate = {json.dumps(FILES)}\n'
        f"pytest_add_cli_args_test_selection = {json.dumps(TESTS)}\n"
        'pytest_add_cli_args = ["-q", "-p", "no:randomly"]\n'
        f"also_copy = {json.dumps(_SEEN)}\n"
    )
