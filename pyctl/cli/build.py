# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl build`: both modules, against the headers of a kernel."""

from __future__ import annotations

from pathlib import Path

import click

from pyctl.cli.params import Session, json_option, pass_session
from pyctl.errors import NotReady


@click.command(short_help="Build the two kernel modules.")
@click.option(
    "--kdir",
    type=click.Path(path_type=Path),
    help="Kernel headers or build tree.  [default: /lib/modules/$(uname -r)/build]",
)
@click.option(
    "--make-arg",
    "make_args",
    multiple=True,
    metavar="VAR=VALUE",
    help="Pass a variable to make (repeatable).",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Put the modules there instead of into the cache where `pyctl load` looks.",
)
@json_option({"kernel": None, "modules": []})
@pass_session
def build(
    session: Session, kdir: Path | None, make_args: tuple[str, ...], output: Path | None
) -> None:
    """Build memregion_test.ko and smccc_cache.ko for the running kernel, or for --kdir.

    The source tree is not written to; the modules go into the cache, and `pyctl
    load` finds them there.

    \b
    Examples:
      pyctl build
      pyctl build --kdir ~/linux --make-arg ARCH=arm64 --make-arg CROSS_COMPILE=aarch64-linux-gnu-
    """
    from pyctl.target.build import build as build_modules
    from pyctl.target.build import kernel_release

    if kdir is None and session.system.machine != "aarch64":
        raise NotReady(
            f"The modules are for arm64 machines; this one is {session.system.machine}.",
            "Use a virtual board (`pyctl vm run`), or build for a board as `pyctl build --help` "
            "shows.",
        )
    headers = kdir or session.system.headers
    session.answer["kernel"] = kernel_release(headers)
    if kdir is None and session.answer["kernel"] != session.system.release:
        raise NotReady(
            f"The headers in {headers} are those of {session.answer['kernel']}, but "
            f"{session.system.release} is running.",
            f"On Debian: `apt install linux-headers-{session.system.release}`; or name them with "
            "--kdir to build for the other kernel.",
        )
    session.note(f"Building the modules for {session.answer['kernel']}")
    built = build_modules(
        headers.resolve(), make_args, output, lambda line: session.note(f"  {line}")
    )
    session.answer["modules"] = [{"name": path.stem, "path": str(path)} for path in built]
    for path in built:
        session.say(str(path))
    session.succeed()
