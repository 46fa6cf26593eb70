# SPDX-License-Identifier: GPL-2.0-only
"""What the commands share: the session with its answer, number parameters, --json.

A command fills ``session.answer``, which starts with every key of the command's
JSON shape, and prints text through ``session.say``. Whether it ends well or
not, ``pyctl.cli.main`` prints the answer once, so an object always comes out,
and always a whole one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from pyctl.errors import UsageError

if TYPE_CHECKING:
    from pyctl.target.system import System

    NumberBase = click.ParamType[int, str]
else:
    # click 8.1 has no generic ParamType.
    NumberBase = click.ParamType

F = TypeVar("F", bound=Callable[..., Any])


class Session:
    """One command line: the machine it is about, and the answer it gives."""

    def __init__(self, system: System | None = None) -> None:
        self._host = system
        self.json = False
        self.answer: dict[str, Any] = {}

    @property
    def system(self) -> System:
        """The machine; the one we run on unless a test says otherwise."""
        if self._host is None:
            from pyctl.target.system import System

            self._host = System.this()
        return self._host

    def begin(self, shape: Mapping[str, Any], json: bool) -> None:
        """Start an answer with every key of ``shape``."""
        import copy

        self.answer = {"ok": False, "error": None, **copy.deepcopy(dict(shape))}
        self.json = json

    def expect_json(self, shape: Mapping[str, Any] | None) -> None:
        """Make sure that a JSON answer is given, keeping one that was begun."""
        if not self.json and shape is not None:
            self.begin(shape, json=True)

    def say(self, text: str = "") -> None:
        """Text for a person; with --json there is none."""
        if not self.json:
            click.echo(text)

    def note(self, text: str) -> None:
        """Progress and diagnostics, which never go to stdout."""
        tell(text)

    def succeed(self) -> None:
        """Mark the answer as good."""
        self.answer["ok"] = True

    def fail(self, message: str, hint: str) -> None:
        """Mark the answer as bad; a more exact ``error`` of the command's stays."""
        self.answer["ok"] = False
        self.answer["error"] = message
        if hint:
            self.answer["hint"] = hint

    def print_answer(self) -> None:
        """The one JSON object, if one was asked for; on a line where others came before it."""
        if self.json:
            import json

            indent = None if "kind" in self.answer else 2
            click.echo(json.dumps(self.answer, indent=indent))


def tell(text: str) -> None:
    """A line on standard error; where that takes nothing more, the exit status must do."""
    try:
        click.echo(text, err=True)
    except OSError:
        drain(sys.stderr)


def drain(stream: IO[str]) -> None:
    """Let what a stream still holds go nowhere: Python would fail on it at exit."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)


class JsonOption(click.Option):
    """``--json``, which knows the keys of its command's answer."""

    def __init__(self, *args: Any, shape: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.shape = shape or {}


def json_option(shape: Mapping[str, Any]) -> Callable[[F], F]:
    """Add ``--json`` to a command whose answer has the keys (and defaults) of ``shape``.

    Evaluated first, so that an error in any other option is answered in JSON too.
    """

    def begin(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
        ctx.find_object(Session).begin(shape, value)  # type: ignore[union-attr]

    return click.option(
        "--json",
        cls=JsonOption,
        shape=shape,
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=begin,
        help="Print one JSON object.",
    )


def json_shape_of(command: click.Command) -> Mapping[str, Any] | None:
    """The shape of a command's JSON answer; None if it has none."""
    shapes = (param.shape for param in command.params if isinstance(param, JsonOption))
    return next(shapes, None)


pass_session: Callable[[Callable[..., Any]], Callable[..., Any]] = click.make_pass_decorator(
    Session
)
"""Hands the session to a command as its first argument."""


class Number(NumberBase):
    """A count, size or address as ``pyctl.target.answers.parse_number`` reads it."""

    def __init__(self, name: str, minimum: int = 0) -> None:
        self.name = name
        self.minimum = minimum

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number, or click's usage error with our sentence."""
        from pyctl.numbers import parse_number

        if isinstance(value, int):
            return value
        try:
            number = parse_number(value)
        except UsageError as error:
            self.fail(f"{error.message} {error.hint}", param, ctx)
        if number < self.minimum:
            self.fail(f"{value} is too small: at least {self.minimum}.", param, ctx)
        return number


ADDRESS = Number("address")
SIZE = Number("size")
COUNT = Number("count", minimum=1)


def scratch_options(command: F) -> F:
    """Add ``--scratch`` and ``--node``, which ask for scratch memory to aim at."""
    node = click.option(
        "--node", type=Number("node"), help="Take scratch memory of this NUMA node."
    )
    size = click.option("--scratch", type=SIZE, help="Take so much scratch memory, and aim at it.")
    return size(node(command))


def aim_options(command: F) -> F:
    """Add ``--addr``, too: all that says what a command aims at."""
    addr = click.option(
        "--addr",
        type=ADDRESS,
        help="Physical base address.  [default: the first safe range, else scratch memory]",
    )
    return addr(scratch_options(command))
