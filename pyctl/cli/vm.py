# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl vm`: run commands on a virtual arm64 board, and look after its cache."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyctl.cli.board import board_options, factory_of, spec_of, terminable
from pyctl.cli.network import list_boards, serve, stop
from pyctl.cli.params import Session, json_option, pass_session

if TYPE_CHECKING:
    from pyctl.vm.session import Board


@click.group(short_help="Run commands on a virtual arm64 board.")
def vm() -> None:
    """Run commands on a virtual arm64 board.

    The board is stock QEMU with a stock Debian kernel, our own firmware at EL2 that
    behaves as told, and this project inside. It needs no network once its parts are
    in the cache, and no terminal.
    """


for _command in (serve, list_boards, stop):
    vm.add_command(_command)


@vm.command(short_help="Boot a pristine board and run a command on it.")
@board_options
@click.option("--timeout", type=float, metavar="SECONDS", help="Give the board up after this time.")
@click.option("--dry-run", is_flag=True, help="Print the exact QEMU command and end.")
@click.option(
    "--replay",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Behave as the board in a file of `pyctl lab replay`, and run what it says.",
)
@click.option("--timing", is_flag=True, help="Tell at the end what took how long.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_session
def run(
    session: Session,
    timeout: float | None,
    dry_run: bool,
    timing: bool,
    replay: Path | None,
    command: tuple[str, ...],
    **options: Any,
) -> int:
    """Boot a pristine board, run COMMAND as root on it, and exit with its exit status.

    Output is passed on while it is made. Exit status 4 means that the board was lost
    (panic, hang, --timeout); the console's last lines then say more.

    \b
    Examples:
      pyctl vm run -- pyctl regions
      pyctl vm run --cpus 4 --conduit smc -- pyctl doctor
      pyctl vm run --firmware rate=100 --firmware status=BUSY*4 -- sh -c '...'
    """
    if timeout is not None:
        from pyctl.target.invalidate import check_timeout

        check_timeout(timeout)
    if replay:
        from pyctl.lab.replay import read_replay

        found = read_replay(replay)
        options["firmware"] = (*found.firmware, *options["firmware"])
        options["conduit"] = options["conduit"] or found.conduit
        command = command or found.command
        for path, why in found.cannot:
            session.note(f"pyctl vm: {path} cannot be seen here: {why}")
    spec = spec_of(options)
    factory = factory_of(session)
    if dry_run:
        click.echo(factory.dry_run(spec))
        return 0
    if not command:
        raise click.UsageError("What shall the board run? Give a command after '--'.")
    try:
        with terminable(), factory.boot(spec, options["cold"]) as board:
            board.start(command)
            with factory.timed("command"):
                return _follow(board, timeout)
    finally:
        if timing:
            for phase, seconds in factory.phases:
                session.note(f"pyctl vm: {seconds * 1000:8.0f} ms  {phase}")


@vm.command(short_help="Boot a pristine board and give a shell on it.")
@board_options
@pass_session
def shell(session: Session, **options: Any) -> int:
    """Boot a pristine board and give a root shell on it; its end ends the board.

    Without a terminal on standard input the shell reads commands from there.
    """
    spec = spec_of(options)
    with terminable(), factory_of(session).boot(spec, options["cold"]) as board:
        if not os.isatty(0):
            board.start(["sh"])
            return _follow(board, None)
        size = shutil.get_terminal_size()
        session.note("pyctl vm: a shell on the virtual board; 'exit' ends both")
        board.start(
            ["sh", "-i"],
            pty=(size.lines, size.columns),
            env={"TERM": os.environ.get("TERM", "vt100"), "PS1": "board# "},
        )
        with _raw_terminal(board):
            return _follow(board, None)


def _follow(board: Board, timeout_s: float | None) -> int:
    """Pass output on and Ctrl-C in, until the command ends."""
    from pyctl.vm.session import Streams

    presses = 0
    passed_on = 0

    def press(_number: int, _frame: object) -> None:
        nonlocal presses
        presses += 1
        # The first is the command's to handle; whoever presses again means us.
        if presses > 1:
            raise KeyboardInterrupt

    def pass_on() -> None:
        nonlocal passed_on
        if presses > passed_on:
            passed_on = presses
            board.signal(signal.SIGINT)

    previous = signal.signal(signal.SIGINT, press)
    try:
        return board.follow(
            Streams(_writer(1), _writer(2), stdin=_usable_stdin()), timeout_s, pass_on
        )
    finally:
        signal.signal(signal.SIGINT, previous)


def _usable_stdin() -> int | None:
    try:
        os.fstat(0)
    except OSError:
        return None
    return 0


def _writer(fd: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]

    return write


@contextlib.contextmanager
def _raw_terminal(board: Board) -> Iterator[None]:
    """Let every key, and every change of size, reach the board's terminal."""
    import termios
    import tty

    from pyctl.vm.channel import Frame

    def resize(_number: int, _frame: object) -> None:
        size = shutil.get_terminal_size()
        board.post(Frame.RESIZE, {"rows": size.lines, "columns": size.columns})

    before = termios.tcgetattr(0)
    previous = signal.signal(signal.SIGWINCH, resize)
    try:
        # What was typed ahead is kept.
        tty.setraw(0, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)
        signal.signal(signal.SIGWINCH, previous)


INFO_SHAPE: dict[str, Any] = {
    "cache": None,
    "qemu": None,
    "entries": [],
    "packages": {},
    "size_bytes": None,
}


@vm.command(short_help="Show what the virtual board is made of.")
@json_option(INFO_SHAPE)
@pass_session
def info(session: Session) -> None:
    """Show QEMU, the cache's entries with size and age, and every package's version."""
    from pyctl.cache import Cache
    from pyctl.errors import NotReady
    from pyctl.vm.qemu import Qemu
    from pyctl.vm.spec import QEMU

    cache = Cache()
    answer = session.answer
    answer["cache"] = str(cache.root)
    try:
        answer["qemu"] = Qemu.find(QEMU).version()
    except NotReady as missing:
        session.note(f"pyctl: {missing.message}; {missing.hint}")
    for entry in cache.entries():
        try:
            meta = entry.describe()
        except (OSError, ValueError, KeyError):
            meta = {"what": "damaged; it will be made again when it is needed"}
        size_bytes = entry.size_bytes()
        if not entry.path.exists():
            # Another process has removed it, and what was just read may be half of it.
            continue
        answer["packages"].update(meta.get("packages", {}))
        answer["entries"].append(
            {
                "kind": entry.kind,
                "key": entry.key,
                "what": meta["what"],
                "size_bytes": size_bytes,
                "age_s": int(time.time() - meta.get("made", time.time())),
                "release": meta.get("release"),
            }
        )
    answer["size_bytes"] = sum(entry["size_bytes"] for entry in answer["entries"])
    session.succeed()
    session.say(f"cache  {cache.root}  {answer['size_bytes'] / 2**20:.0f} MiB")
    session.say(f"qemu   {answer['qemu'] or 'missing'}")
    for entry in answer["entries"]:
        session.say(
            f"{entry['kind']:10} {entry['size_bytes'] / 2**20:7.1f} MiB "
            f"{entry['age_s'] / 3600:7.1f} h  {entry['release'] or entry['what']}"
        )
    for name, version in sorted(answer["packages"].items()):
        session.say(f"{name} {version}")


@vm.command(short_help="Empty the virtual board's cache.")
@pass_session
def clean(session: Session) -> None:
    """Remove everything that was fetched or built; the next run makes it again.

    Newer kernels are looked for only then. Running boards are not disturbed.
    """
    from pyctl.cache import Cache

    cache = Cache()
    entries = cache.entries()
    freed = sum(entry.size_bytes() for entry in entries)
    for entry in entries:
        cache.remove(entry)
    shutil.rmtree(cache.root / "apt", ignore_errors=True)
    cache.sweep()
    session.say(f"removed {len(entries)} entries, {freed / 2**20:.0f} MiB, from {cache.root}")
