# SPDX-License-Identifier: GPL-2.0-only
"""What the commands that boot a virtual board share: its options, and how it ends."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyctl.cli.params import SIZE, Session
from pyctl.errors import UsageError

if TYPE_CHECKING:
    from pyctl.vm.factory import BoardFactory
    from pyctl.vm.spec import Spec

F = TypeVar("F", bound=Callable[..., Any])


def _show_settings(ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> Any:
    if "help" not in values:
        return values
    from pyctl.firmware.fault_kinds import KINDS
    from pyctl.firmware.settings import SETTINGS

    rows = [(setting.usage, setting.help) for setting in SETTINGS]
    rows += [("", ""), ("Kinds of faults:", ""), *((kind.usage, kind.help) for kind in KINDS)]
    width = max(len(kind.usage) for kind in KINDS)
    for usage, text in rows:
        click.echo(f"{usage:{width}}  {text}".rstrip())
    return ctx.exit(0)


HARDWARE_OPTIONS = (
    click.option(
        "--kernel",
        metavar="WHICH",
        help="A flavour (cloud-arm64, arm64, arm64-16k, rt-arm64), a version (7.2), "
        "VERSION-FLAVOUR, or the path of an Image.  [default: newest cloud-arm64]",
    ),
    click.option(
        "--kdir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help="Build tree of the kernel, where --kernel is a path.",
    ),
    click.option(
        "--conduit",
        type=click.Choice(["hvc", "smc"]),
        help="How the guest calls firmware.  [default: hvc; smc with --boot uefi]",
    ),
    click.option("--cpus", type=int, default=2, show_default=True, help="Number of CPUs."),
    click.option(
        "--cpu", default="neoverse-n1", show_default=True, help="CPU model, as QEMU names it."
    ),
    click.option(
        "--accel",
        type=click.Choice(["auto", "tcg", "kvm"]),
        default="auto",
        show_default=True,
        help="How the CPU is emulated.",
    ),
    click.option(
        "--qemu",
        default="qemu-system-aarch64",
        show_default=True,
        metavar="PROGRAM",
        help="The QEMU to use.",
    ),
    click.option(
        "--firmware",
        multiple=True,
        metavar="KEY=VALUE",
        callback=_show_settings,
        help="Firmware behaviour at boot; repeatable. `--firmware help` lists them.",
    ),
    click.option(
        "--stub",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Build the firmware from this source instead of the project's own (pyctl/vm/stub).",
    ),
    click.option("--append", default="", metavar="ARGS", help="More kernel arguments."),
)


DEVICE_OPTIONS = (
    click.option("--nvdimm", type=SIZE, default=0, help="Add an NVDIMM of this size."),
    click.option(
        "--cxl",
        type=SIZE,
        multiple=True,
        help="Add a CXL memory device of this size (--boot uefi; takes a QEMU of Debian's "
        "backports where --qemu names none); repeatable.",
    ),
)
STATE_OPTIONS = (
    click.option("--bare", is_flag=True, help="Do not load the modules."),
    click.option("--cold", is_flag=True, help="Boot from reset instead of from a snapshot."),
)


def hardware_options(boot: str, memory: int) -> Callable[[F], F]:
    """Add the options that describe a board, with these defaults of --boot and --memory."""
    with_defaults = (
        click.option(
            "--boot",
            type=click.Choice(["dt", "uefi"]),
            default=boot,
            show_default=True,
            help="How the board comes to its kernel: with a device tree and a range for tests, or "
            "with UEFI and ACPI and nothing made for tests.",
        ),
        click.option(
            "--memory",
            type=int,
            default=memory,
            show_default=True,
            metavar="MIB",
            help="Guest memory.",
        ),
    )

    def add(command: F) -> F:
        for option in reversed((*with_defaults, *HARDWARE_OPTIONS)):
            command = option(command)
        return command

    return add


def board_options(command: F) -> F:
    """Add the options that describe a board with the project inside."""
    for option in reversed(DEVICE_OPTIONS + STATE_OPTIONS):
        command = option(command)
    return hardware_options("dt", 512)(command)


def spec_of(options: dict[str, Any]) -> Spec:
    """The board that the options of ``hardware_options`` describe. Raises UsageError."""
    from pyctl.firmware.settings import parse_settings
    from pyctl.vm.spec import Spec

    return Spec(
        kernel=options["kernel"],
        kdir=options["kdir"],
        boot=options["boot"],
        conduit=options["conduit"] or "",
        cpus=options["cpus"],
        memory_mib=options["memory"],
        cpu=options["cpu"],
        accel=options["accel"],
        qemu=options["qemu"],
        firmware=tuple(parse_settings(options["firmware"])),
        stub=options["stub"],
        append=options["append"],
        nvdimm_mib=mib_of("--nvdimm", options.get("nvdimm", 0)),
        cxl_mib=tuple(mib_of("--cxl", size) for size in options.get("cxl", ())),
        load=not options.get("bare", False),
    )


def mib_of(option: str, size: int) -> int:
    """A size in MiB. Raises UsageError where it has parts of one."""
    if size % (1 << 20):
        raise UsageError(f"{option} {size} is no whole number of MiB.", "Give it as 64M or so.")
    return size >> 20


def factory_of(session: Session) -> BoardFactory:
    """A factory whose progress the session tells."""
    from pyctl.cache import Cache
    from pyctl.vm.factory import BoardFactory

    return BoardFactory(Cache(say=lambda text: session.note(f"pyctl vm: {text}")))


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """Make a polite kill end the board in order, too."""

    def end(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt("Terminated.")

    kinds = (signal.SIGTERM, signal.SIGHUP)
    previous = [signal.signal(number, end) for number in kinds]
    try:
        yield
    finally:
        for number, handler in zip(kinds, previous, strict=True):
            signal.signal(number, handler)
