# SPDX-License-Identifier: GPL-2.0-only
"""Every command line in README.md is one: its commands, options, values and files are there."""

import os
import shlex
from itertools import groupby
from pathlib import Path

import click
import pytest

from pyctl.cli.main import cli
from pyctl.cli.params import Session
from tests import readme

TOP = Path(__file__).resolve().parents[2]
# Words that stand for what a person puts there.
PLACES = {"COMMAND": "doctor", "PORT": "1", "OLD": "README.md", "NEW": "README.md"}
OTHERS = ("python3", ".venv/bin/pip", "cd", "exec", "echo", "cat", "uname", "ndctl")
LINES = [line for block in readme.blocks() for line in block] + readme.in_sentences()


def check(words):
    """Fail unless a command line, as a list of words, is one."""
    if words[0] == "sudo":
        words = words[1:]
    name, arguments = words[0], [PLACES.get(word, word) for word in words[1:]]
    if name in ("pyctl", ".venv/bin/pyctl"):
        check_pyctl(arguments)
    elif name.endswith("/pytest"):
        known = "".join(
            (TOP / "tests" / name).read_text() for name in ("conftest.py", "harness/keeper.py")
        )
        for word in arguments:
            assert (
                f'"{word}"' in known if word[:2] == "--" else (TOP / word).exists() or ":" in word
            )
    elif "/" in name and not name.startswith(".venv/"):
        assert os.access(TOP / name, os.X_OK)
    else:
        assert name in OTHERS, name


def check_pyctl(arguments):
    """Have click parse a command line, and what it would run on a board, and invoke nothing."""
    command: click.Command | None = cli
    name = "pyctl"
    while isinstance(command, click.Group) and arguments and arguments[0][0] != "-":
        name, *arguments = arguments
        command = command.get_command(click.Context(command), name)
        assert command, f"there is no command {name}"
    if isinstance(command, click.Group) and not arguments:
        return
    try:
        context = command.make_context(name, arguments, obj=Session(None))
    except click.exceptions.Exit:
        # --help, and what ends as early.
        return
    inner = context.params.get("command", ())
    check_script(inner[2] if inner[:2] == ("sh", "-c") else shlex.join(inner))


def check_script(text):
    """Check each command of a line."""
    words = shlex.shlex(text, posix=True, punctuation_chars="&;|")
    words.whitespace_split = True
    for is_end, command in groupby(words, lambda word: word in ("&&", ";")):
        if not is_end:
            check(list(command))


@pytest.mark.parametrize("line", sorted(set(LINES)))
def test_a_command_line_is_one(line):
    check_script(line)


def test_there_are_command_lines():
    assert len(LINES) > 25
    assert len(readme.blocks("On a board")) == 1


@pytest.mark.parametrize(
    "line",
    [
        "pyctl lood",
        "pyctl vm runn -- true",
        "sudo .venv/bin/pyctl invalidate --sise 64K",
        "pyctl invalidate --size 64Q",
        "pyctl vm run --cpus many -- true",
        "pyctl vm run -- pyctl atributes",
        "pyctl vm run -- sh -c 'true && pyctl fault sett x'",
        ".venv/bin/pytest tests/targets",
        ".venv/bin/pytest tests/vm --no-such-option",
        "scripts/tests",
    ],
)
def test_what_is_none_is_noticed(line):
    with pytest.raises((AssertionError, click.ClickException)):
        check_script(line)
