# SPDX-License-Identifier: GPL-2.0-only
"""The house: which way imports go, how long files are, and how the code speaks."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from pyctl import errors

TOP = Path(__file__).resolve().parents[2]
# What a room may import from, besides itself. A module that lies in no room is a word.
WORDS = "words"
ROOMS = {
    "cli": {
        "conformance",
        "coherency",
        "measure",
        "lab",
        "watch",
        "target",
        "vm",
        "firmware",
        WORDS,
    },
    "conformance": {"target", "vm", "firmware", WORDS},
    "coherency": {"target", "vm", "firmware", WORDS},
    "measure": {"target", "vm", "firmware", WORDS},
    "watch": {"target", "vm", "firmware", WORDS},
    "lab": {"target", "vm", "firmware", WORDS},
    # It knows no QEMU,
    "target": {"firmware", WORDS},
    # and this one no command and no machine under test.
    "vm": {"firmware", WORDS},
    "firmware": {WORDS},
    WORDS: set(),
}
MAX_LINES = 400
# Longer ones, each with its reason.
LONG = {
    "LICENSE": "the licence's own words",
    # Many small tests of one topic, which are read one by one.
    "tests/unit/test_cli_conformance.py": "the command",
    "tests/unit/test_conformance.py": "every rule",
    "tests/unit/test_conformance_said.py": "every sentence of them",
    "tests/target/test_debugfs.py": "the files' contract",
    "tests/target/test_faults.py": "every fault",
    "tests/target/test_invalidate.py": "the main job",
    "tests/target/test_modelled_cache.py": "the model's rules",
    "tests/target/test_provider.py": "the provider's contract",
}
# Names that are written small, also where a sentence begins.
SMALL = ("debugfs", "insmod", "make", "memregion_test", "rmmod", "smccc_cache")
# A value that is a sentence itself may end one.
SENTENCES = ("message", "summary", "error", "done", "why")


def name_of(path: Path) -> str:
    """The dotted name of a module, or of the package that an __init__.py is."""
    return ".".join(path.relative_to(TOP).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> dict[str, ast.Module]:
    """Every module of pyctl by its name."""
    return {
        name_of(path): ast.parse(path.read_text()) for path in sorted((TOP / "pyctl").rglob("*.py"))
    }


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of pyctl that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("pyctl"))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports say the whole name"
            if node.module and node.module.split(".")[0] == "pyctl":
                inside = {f"{node.module}.{alias.name}" for alias in node.names}
                submodules = inside & modules().keys()
                yield from submodules
                if len(submodules) < len(inside):
                    yield node.module


def room(name: str) -> str:
    """The room that a module lies in."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (TOP / "pyctl" / parts[1]).is_dir() else WORDS


def source_files() -> list[Path]:
    """Every file of the checkout that people write."""
    places = ("module", "pyctl", "scripts", "tests", ".ci")
    files = [path for place in places for path in (TOP / place).rglob("*")]
    return [path for path in (*files, *TOP.iterdir()) if is_written(path)]


def is_written(path: Path) -> bool:
    """Whether a path is a file that people write, and not one that a tool has left."""
    kinds = {".py", ".c", ".h", ".S", ".ld", ".md", ".toml", ".conf"}
    return path.is_file() and (
        path.suffix in kinds or (path.suffix == "" and path.name[0] != "." and path.name != "stamp")
    )


# -- imports ---------------------------------------------------------------------


def test_every_room_is_one_of_the_plan() -> None:
    assert {room(name) for name in modules()} <= ROOMS.keys()


def test_imports_go_one_way() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, tree in modules().items()
        # The package itself: what `python -m pyctl` runs, and the version.
        if name != "pyctl.__main__"
        for other in imported(tree)
        if room(other) not in ROOMS[room(name)] | {room(name)}
    ]
    assert wrong == []


def test_imports_make_no_circle() -> None:
    graph = {name: set(imported(tree)) - {name} for name, tree in modules().items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


# -- sizes and names -------------------------------------------------------------


def test_files_can_be_read_in_one_go() -> None:
    lines = {
        str(path.relative_to(TOP)): len(path.read_text().splitlines()) for path in source_files()
    }
    assert len(lines) > 100
    assert {
        name: size for name, size in lines.items() if size > MAX_LINES and name not in LONG
    } == {}


def test_a_public_class_name_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for name, tree in modules().items():
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


# -- messages --------------------------------------------------------------------

ERRORS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.PyctlError)
}


def begins_well(node: ast.expr) -> bool:
    """Whether an expression begins like a sentence, as far as can be seen here."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(re.match(r"[A-Z'\"`@/-]", node.value)) or node.value.startswith(SMALL)
    if isinstance(node, ast.JoinedStr):
        return begins_well(node.values[0])
    if isinstance(node, ast.BinOp):
        return begins_well(node.left)
    if isinstance(node, ast.IfExp):
        return begins_well(node.body) and begins_well(node.orelse)
    return True


def ends_well(node: ast.expr) -> bool:
    """Whether an expression ends like a sentence, as far as can be seen here."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value == "" or node.value[-1] in ".?"
    if isinstance(node, ast.JoinedStr):
        last = node.values[-1]
        if isinstance(last, ast.FormattedValue):
            # A text without a word of its own is sentences, one after the other.
            own = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            return not own.strip() or ast.unparse(last.value).rpartition(".")[2] in SENTENCES
        return ends_well(last)
    if isinstance(node, ast.BinOp):
        return ends_well(node.right)
    if isinstance(node, ast.IfExp):
        return ends_well(node.body) and ends_well(node.orelse)
    return True


def told(tree: ast.AST) -> Iterator[ast.expr]:
    """The messages and hints of errors that a module raises."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name in ERRORS:
                yield from node.args[:2]
                yield from (word.value for word in node.keywords if word.arg == "hint")


def test_messages_and_hints_are_sentences() -> None:
    seen, wrong = 0, []
    for name, tree in modules().items():
        for text in told(tree):
            seen += 1
            if not (begins_well(text) and ends_well(text)):
                wrong.append(f"{name}:{text.lineno}: {ast.unparse(text)}")
    assert seen > 100
    assert wrong == []


@pytest.mark.parametrize(
    ("code", "is_sentence"),
    [
        ("'It is gone.'", True),
        ("'it is gone.'", False),
        ("'It is gone'", False),
        ("f'{name} is gone.'", True),
        ("f'{name} is gone'", False),
        ("f'It is gone: {error.message}'", True),
        ("f'It is gone: {name}'", False),
        ("'Is it ' + ('gone?' if x else 'there?')", True),
        ("'Is it ' + ('gone' if x else 'there?')", False),
        ("'--size is 0.'", True),
        ("'make is not installed.'", True),
    ],
)
def test_what_a_sentence_is(code: str, is_sentence: bool) -> None:
    node = ast.parse(code, mode="eval").body
    assert (begins_well(node) and ends_well(node)) == is_sentence


# -- the map ---------------------------------------------------------------------


def file_map() -> dict[str, str]:
    """README.md's map: what it says of each directory."""
    text = (TOP / "README.md").read_text().partition("## File map")[2].split("```\n")[1]
    entries: dict[str, str] = {}
    for line in text.splitlines():
        if line[0] != " ":
            directory, line = line.split(maxsplit=1)
            entries[directory] = ""
        entries[directory] = f"{entries[directory]} {line.strip()}".strip()
    return entries


def test_the_map_has_every_directory_and_no_other() -> None:
    directories = {path.parent for path in source_files()} - {TOP, TOP / ".ci", TOP / "module"}
    assert file_map().keys() == {f"{path.relative_to(TOP)}/" for path in directories}


def rooms_of_modules() -> list[str]:
    return [name for name in file_map() if list((TOP / name).glob("*.py")) and name[:5] == "pyctl"]


@pytest.mark.parametrize("directory", rooms_of_modules())
def test_the_map_has_every_module_and_no_other(directory: str) -> None:
    """After what a room is, and a colon, come its modules, each perhaps with a note."""
    listed = re.sub(r"\([^)]*\)", "", file_map()[directory]).partition(":")[2]
    found = {path.stem for path in (TOP / directory).glob("*.py") if path.stem[0] != "_"}
    assert {name.strip() for name in listed.split(",")} == found
