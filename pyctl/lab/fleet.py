# SPDX-License-Identifier: GPL-2.0-only
"""The boards of a lab, as a person writes them down in a TOML file.

All that is wrong with a file is said at once, each with its line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.errors import UsageError
from pyctl.firmware.settings import parse_settings
from pyctl.lab.answers import COMMANDS

TESTS = "tests"
STEPS = (*COMMANDS, TESTS)
"""What is done with a board, in this order."""
_UNITS_S = {"s": 1, "m": 60, "h": 3600}
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_TARGET = re.compile(r"vm|ssh:\S+|labgrid:\S+")


@dataclass(frozen=True)
class FleetBoard:
    """A board: what reaches it, what is done with it, and for how long.

    ``target`` is ``vm``, ``ssh:[USER@]HOST[:PORT]`` or ``labgrid:PLACE``. ``reset`` is a
    shell command that gives a lost board a fresh start, ``serial`` the number that a board
    must have, lest its address leads to another one, ``back_s`` how long it may then
    take. ``kernel``, ``kind`` (as in `pytest --boards`) and
    ``firmware`` are a virtual board's.
    """

    name: str
    target: str
    steps: tuple[str, ...] = STEPS
    tests: tuple[str, ...] = ("tests/target",)
    budget_s: float = 2 * 3600.0
    wait_s: float = 0.0
    back_s: float = 180.0
    ssh_config: Path | None = None
    reset: str = ""
    serial: str = ""
    kernel: str = ""
    kind: str = ""
    firmware: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fleet:
    """The boards of a file; at most ``parallel`` of them are at work at once."""

    path: Path
    boards: tuple[FleetBoard, ...]
    parallel: int = 4
    budget_s: float = 12 * 3600.0


def read_fleet(path: Path) -> Fleet:
    """The fleet in a file. Raises UsageError with everything that is wrong with it."""
    try:
        text = path.read_text()
        found = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {str(error).rstrip('.')}.") from None
    reader = _Reader(path, text.splitlines())
    fleet = reader.fleet(found)
    if why := "\n".join(f"  {problem}" for problem in reader.problems):
        raise UsageError(f"{path} is no fleet:\n{why}")
    return fleet


class _Reader:
    """Reads what TOML has made of a file, and collects what is wrong with it."""

    def __init__(self, path: Path, lines: list[str]) -> None:
        self.path, self.lines = path, lines
        self.problems: list[str] = []
        self.board_keys: dict[str, tuple[str, Callable[[Any], Any]]] = {
            "target": ("target", _target),
            "steps": ("steps", _steps),
            "tests": ("tests", _texts),
            "budget": ("budget_s", _time_s),
            "wait": ("wait_s", _time_s),
            "back": ("back_s", _time_s),
            "ssh-config": ("ssh_config", lambda value: path.parent / _text(value)),
            "reset": ("reset", _text),
            "serial": ("serial", _text),
            "kernel": ("kernel", _text),
            "kind": ("kind", _text),
            "firmware": ("firmware", _firmware),
        }

    def fleet(self, found: Mapping[str, Any]) -> Fleet:
        tables = {"board": found.get("board"), "defaults": found.get("defaults", {})}
        for name, table in tables.items():
            if not isinstance(table, dict) or (name == "board" and not table):
                self.problem(
                    "",
                    name,
                    "names no board: it needs a table [board.NAME]"
                    if name == "board"
                    else "is no table",
                )
                return Fleet(self.path, ())
        own = {key: value for key, value in found.items() if key not in tables}
        known = self.values(
            "", own, {"parallel": ("parallel", _count), "budget": ("budget_s", _time_s)}
        )
        defaults = self.values("defaults", tables["defaults"], self.board_keys)
        boards = []
        for name, table in tables["board"].items():
            if not _NAME.fullmatch(name):
                self.problem(
                    f"board.{name}", "", "has a name that is not of letters, digits, . _ -"
                )
            if not isinstance(table, dict):
                self.problem("board", name, "is no table")
                continue
            values = defaults | self.values(f"board.{name}", table, self.board_keys)
            if "target" not in values:
                if "target" not in table:
                    self.problem(f"board.{name}", "", "has no target")
                continue
            boards.append(FleetBoard(name, **values))
        return Fleet(self.path, tuple(boards), **known)

    def values(
        self,
        where: str,
        table: Mapping[str, Any],
        keys: Mapping[str, tuple[str, Callable[..., Any]]],
    ) -> dict[str, Any]:
        """The values of a table by the names that we have for them."""
        found = {}
        for key, value in table.items():
            if key not in keys:
                self.problem(where, key, f"is not known; there are {', '.join(keys)}")
                continue
            name, read = keys[key]
            try:
                found[name] = read(value)
            except UsageError as error:
                self.problem(where, key, f"is wrong: {error.message.rstrip('.')}")
            except (TypeError, ValueError) as error:
                self.problem(where, key, str(error))
        return found

    def problem(self, where: str, key: str, what: str) -> None:
        line = self.line(where, key)
        named = ".".join(filter(None, (where, key)))
        self.problems.append(f"{f'line {line}: ' if line else ''}{named} {what}.")

    def line(self, where: str, key: str) -> int:
        """The line of a key, or of its table; 0 where it is written in a way not foreseen."""
        table, of_table = "", 0
        for number, text in enumerate(self.lines, 1):
            if match := re.match(r"\s*\[\s*([^\]]+?)\s*\]", text):
                table = match[1].replace('"', "").replace("'", "")
                of_table = number if table == where else of_table
            elif (
                table == where and key and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*=""", text)
            ):
                return number
            if key and table == ".".join(filter(None, (where, key))):
                return number
        return of_table


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("is no text")
    return value


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("is no list of texts")
    return tuple(map(_text, value))


def _steps(value: Any) -> tuple[str, ...]:
    wanted = _texts(value)
    if unknown := [step for step in wanted if step not in STEPS]:
        raise ValueError(f"has {unknown[0]!r}; there are {', '.join(STEPS)}")
    return tuple(step for step in STEPS if step in wanted)


def _firmware(value: Any) -> tuple[str, ...]:
    settings = _texts(value)
    parse_settings(settings)
    return settings


def _target(value: Any) -> str:
    if not _TARGET.fullmatch(_text(value)):
        raise ValueError(f"is {value!r}, and not vm, ssh:[USER@]HOST[:PORT] or labgrid:PLACE")
    return str(value)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ValueError("is no number from 1 on")
    return value


def _time_s(value: Any) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh])", value) if isinstance(value, str) else None
    if not match:
        raise ValueError('is no time such as "90s", "20m" or "8h"')
    return float(match[1]) * _UNITS_S[match[2]]
