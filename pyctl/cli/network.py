# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl vm serve`, `list` and `stop`: boards that ssh reaches, and nothing else."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import time
from typing import Any

import click

from pyctl.cli.board import factory_of, hardware_options, spec_of, terminable
from pyctl.cli.params import Session, json_option, pass_session

_STOP_TIMEOUT_S = 20.0


@click.command(short_help="Boot a board that ssh reaches, and keep it.")
@hardware_options("uefi", 1024)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Port of 127.0.0.1 for its sshd.  [default: one that is free]",
)
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="NAME",
    help="A Debian package that it has besides; needs --memory (repeatable).",
)
@pass_session
def serve(session: Session, port: int, packages: tuple[str, ...], **options: Any) -> int:
    """Boot a board that ssh reaches, and keep it until Ctrl-C or `pyctl vm stop`.

    A board as a lab has it: Debian's packages, sshd, and nothing of this project but the
    firmware beneath. It says how it is reached once it is, and ends with this process.
    """
    from pyctl.vm.network import serve as boot
    from pyctl.vm.network import wait_for_end

    factory = factory_of(session)
    with (
        terminable(),
        boot(factory.cache, factory.roots, factory.plan(spec_of(options)), port, packages) as (
            process,
            reach,
        ),
    ):
        session.say(f"A board listens on 127.0.0.1, port {reach.port}. To reach it:")
        session.say(f"  {shlex.join(reach.command())}")
        session.say(f"It ends with Ctrl-C or `pyctl vm stop {reach.port}`.")
        wait_for_end(process)
    return 0


LIST_SHAPE: dict[str, Any] = {"boards": []}


@click.command("list", short_help="List the boards that ssh reaches.")
@json_option(LIST_SHAPE)
@pass_session
def list_boards(session: Session) -> None:
    """List the running boards of `pyctl vm serve`, and how each is reached."""
    from pyctl.cache import Cache
    from pyctl.vm.network import boards

    session.answer["boards"] = found = boards(Cache())
    session.succeed()
    for board in found:
        session.say(
            f"{board['port']:5}  process {board['pid']}  {board['boot']}  {board['kernel']}  "
            f"ssh -F {board['ssh_config']} {board['user']}@{board['address']}"
        )
    if not found:
        session.say("No board listens. `pyctl vm serve` starts one.")


@click.command(short_help="End boards that ssh reaches.")
@click.argument("ports", nargs=-1, type=int, metavar="PORT...")
@click.option("--all", "everything", is_flag=True, help="End all of them.")
@pass_session
def stop(session: Session, ports: tuple[int, ...], everything: bool) -> None:
    """End the running boards with these ports, and the processes that started them."""
    from pyctl.cache import Cache
    from pyctl.errors import OperationFailed, UsageError
    from pyctl.vm.network import boards

    if bool(ports) == everything:
        raise click.UsageError("Give the ports of boards, or --all.")
    found = {board["port"]: board for board in boards(Cache())}
    if missing := [port for port in ports if port not in found]:
        raise UsageError(f"No board listens on port {missing[0]}.", "See `pyctl vm list`.")
    chosen = [found[port] for port in ports or found]
    for board in chosen:
        with contextlib.suppress(ProcessLookupError):
            os.kill(board["pid"], signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    for board in chosen:
        while board in boards(Cache()):
            if time.monotonic() > deadline:
                raise OperationFailed(
                    f"The board on port {board['port']} did not end.",
                    f"End its process {board['pid']}.",
                )
            time.sleep(0.05)
        session.say(f"ended the board on port {board['port']}")
