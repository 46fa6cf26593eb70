# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl invalidate`: the main job, as a command."""

from __future__ import annotations

import os

import click

from pyctl.cli.params import COUNT, SIZE, Session, aim_options, json_option, pass_session
from pyctl.errors import UsageError
from pyctl.numbers import errno_name, size_text
from pyctl.smccc import status_name
from pyctl.target.aim import NO_JSON, Aim, Wish, aim
from pyctl.target.answers import Elapsed, FirmwareCalls, Request
from pyctl.target.debugfs import Debugfs
from pyctl.target.invalidate import Result, check_chain, check_request, check_timeout, run
from pyctl.target.provider import find_provider

SHAPE = {
    "addr": None,
    "size": None,
    "target": NO_JSON,
    "via": None,
    "count": None,
    "threads": None,
    "dry_run": None,
    "provider": {"registered": None, "name": None},
    "errno": None,
    "completed": 0,
    "interrupted": False,
    "elapsed_ns": Elapsed.no_json(),
    "firmware": {**FirmwareCalls.no_json(), "counted": False},
}


@click.command(short_help="Clean and invalidate a range.")
@aim_options
@click.option("--size", type=SIZE, help="Length in bytes; needed without --scratch.")
@click.option(
    "--count", type=COUNT, default=1, show_default=True, help="Calls that each thread makes."
)
@click.option(
    "--threads",
    type=COUNT,
    default=1,
    show_default=True,
    help="Kernel threads that call at once, spread over the CPUs.",
)
@click.option(
    "--via",
    type=click.Choice(["memregion", "smccc", "va"]),
    default="memregion",
    show_default=True,
    help="The kernel's call; a direct firmware call; or line by line through a mapping.",
)
@click.option("--dry-run", is_flag=True, help="Ask firmware to do nothing (only --via smccc).")
@click.option("--force", is_flag=True, help="Target memory that is not marked safe.")
@click.option(
    "--timeout",
    type=float,
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="Stop after this time and report what was done.",
)
@json_option(SHAPE)
@pass_session
def invalidate(
    session: Session,
    addr: int | None,
    scratch: int | None,
    node: int | None,
    size: int | None,
    count: int,
    threads: int,
    via: str,
    dry_run: bool,
    force: bool,
    timeout: float,
) -> None:
    """Clean and invalidate a physical range in every cache, and prove that it happened.

    Numbers are decimal or 0x-hexadecimal, with '_' and a suffix K, M, G or T. The
    range must lie in memory that `pyctl regions` marks safe; without --addr it does,
    or is scratch memory, which every machine has. It is a success only if a provider
    was registered throughout and, where calls can be counted, firmware was called.

    \b
    Examples:
      pyctl invalidate --size 64K
      pyctl invalidate --addr 0x5f000000 --size 1M --count 10000 --json
      pyctl invalidate --scratch 2M --node 1 --via smccc --dry-run
    """
    wish = Wish(addr, size, scratch, node)
    session.answer.update(
        addr=None if addr is None else f"0x{addr:x}",
        size=size or scratch,
        via=via,
        count=count,
        threads=threads,
        dry_run=dry_run,
    )
    timeout_s = check_timeout(timeout)
    if size is None and scratch is None:
        raise UsageError(
            "Nothing says how much to invalidate.",
            "Give --size or --scratch; see `pyctl invalidate --help`.",
        )
    debugfs = Debugfs(session.system)
    with aim(debugfs, wish, size or scratch or 0) as target:
        session.answer.update(addr=f"0x{target.range.addr:x}", target=target.as_json())
        request = Request(target.range.addr, target.range.size, via, count, threads, dry_run)
        _invalidate(session, debugfs, request, target, force, timeout_s)


def _invalidate(
    session: Session,
    debugfs: Debugfs,
    request: Request,
    target: Aim,
    force: bool,
    timeout_s: float,
) -> None:
    # Scratch is System RAM, and ours.
    info = check_request(session.system, request, force or target.kind == "scratch")
    session.answer["provider"] = find_provider(session.system, info).as_json()
    check_chain(request, info)
    _warn_of_shared_cpus(session, request.threads)
    result = run(debugfs, request, info, timeout_s)
    _fill(session, result)
    session.answer["target"] = target.as_json()
    failure = target.damage() or result.failure()
    _print(session, result, target)
    if result.interrupted and result.is_partial:
        raise KeyboardInterrupt(
            f"Interrupted after {result.record.completed} of {request.calls} calls."
        )
    if failure:
        raise failure
    session.succeed()


def _warn_of_shared_cpus(session: Session, threads: int) -> None:
    import psutil

    online = psutil.cpu_count() or os.cpu_count() or 1
    if threads > online:
        session.note(f"pyctl: {threads} threads share {online} CPUs, so not all call at once.")


def _fill(session: Session, result: Result) -> None:
    record = result.record
    session.answer.update(
        provider=result.provider.as_json(),
        errno=errno_name(result.errno),
        completed=record.completed,
        interrupted=record.interrupted,
        elapsed_ns=record.elapsed.as_json(),
    )
    if result.firmware:
        session.answer["firmware"] = {**result.firmware.as_json(), "counted": True}
    # A provider that vanished meanwhile was not registered during the request.
    if result.request.via == "memregion":
        session.answer["provider"]["registered"] = record.provider


def _print(session: Session, result: Result, target: Aim) -> None:
    request, record = result.request, result.record
    session.say(
        f"range      0x{request.addr:x} + {size_text(request.size)} via {request.via}"
        + (" (dry run)" if request.dry_run else "")
    )
    if target.scratch:
        guards = target.scratch.state().guards
        session.say(f"scratch    memory of node {target.scratch.node}, guards {guards}")
    session.say(f"completed  {record.completed} of {request.calls} calls")
    if request.via == "memregion":
        session.say(f"provider   {result.provider}")
    session.say(f"firmware   {_firmware_text(result)}")
    elapsed = record.elapsed
    if elapsed.total:
        session.say(
            f"per call   min {_time(elapsed.min)}, median {_time(elapsed.p50)}, "
            f"p99 {_time(elapsed.p99)}, max {_time(elapsed.max)}"
        )


def _firmware_text(result: Result) -> str:
    firmware = result.firmware
    if result.request.via == "va":
        return "not involved"
    if firmware is None:
        return "calls cannot be counted with this provider"
    text = f"calls {firmware.calls}"
    if firmware.busy is not None and firmware.rate_limited is not None:
        text += f", busy {firmware.busy}, rate-limited {firmware.rate_limited}"
    if firmware.last_status is not None:
        text += f", last status {status_name(firmware.last_status)}"
    return text


def _time(nanoseconds: int) -> str:
    """A duration with a unit that keeps it short."""
    for unit, factor in (("s", 10**9), ("ms", 10**6), ("us", 10**3)):
        if nanoseconds >= factor:
            return f"{nanoseconds / factor:.3g} {unit}"
    return f"{nanoseconds} ns"
