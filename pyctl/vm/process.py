# SPDX-License-Identifier: GPL-2.0-only
"""Run the host's tools so that none of them outlives us.

Whatever the virtual board starts on the host (QEMU, apt, mmdebstrap, make)
goes through here. A child is killed by the kernel when this process dies in
any way, SIGKILL included, and a tool that is missing or fails becomes one
sentence instead of a traceback.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from pyctl.errors import NotReady

# No tool takes as long on any machine of use; one that hangs must not hang us.
TOOL_TIMEOUT_S = 900.0
# What pyproject.toml lists as the extra "vm": what is imported, and what it is called.
_LIBRARIES = {"fdt": "fdt", "debian": "python-debian", "qemu.qmp": "qemu.qmp"}
_MAKE_NOISE = re.compile(r"make(\[\d+\])?: ")
_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> Callable[[], None]:
    """A ``preexec_fn`` that ties a child's life to this process.

    The signal follows the *thread* that forks, so start long-lived children
    from the main thread.
    """
    parent = os.getpid()

    def in_child() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the request took effect.
        if os.getppid() != parent:
            os._exit(1)

    return in_child


def need_libraries() -> None:
    """Raise NotReady where a library of the extra ``vm`` is missing."""
    for module, package in _LIBRARIES.items():
        try:
            found = find_spec(module) is not None
        except ModuleNotFoundError:
            # The package that it would be in is missing.
            found = False
        if not found:
            raise NotReady(
                f"The virtual board needs the Python package {package}, which is not installed.",
                f"Run `pip install {' '.join(_LIBRARIES.values())}`. Not all of them are Debian "
                "packages: beside Debian's Python install pyctl in a virtual environment, too.",
            )


def need_tool(name: str, package: str) -> str:
    """The path of a host program; NotReady names the Debian package that holds it."""
    path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if path is None:
        raise NotReady(f"The program '{name}' is missing.", f"Run `apt-get install {package}`.")
    return path


def run(
    argv: Sequence[str | Path],
    *,
    what: str,
    env: Mapping[str, str] | None = None,
    stdin: str | bytes | None = None,
    cwd: Path | None = None,
    hint: str = "",
    timeout_s: float = TOOL_TIMEOUT_S,
) -> str:
    """Run a tool to its end and return its standard output.

    ``what`` completes "Could not ...". Raises NotReady with the last lines
    that the tool printed, or when it takes longer than ``timeout_s``: what is
    run here prepares the board.
    """
    data = stdin.encode() if isinstance(stdin, str) else stdin
    try:
        with subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.DEVNULL if data is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        ) as process:
            try:
                out, err = process.communicate(data, timeout_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                raise NotReady(
                    f"Could not {what}: {argv[0]} did not end within {timeout_s:g} s.", hint
                ) from None
            except BaseException:
                # Ctrl-C reaches us only, for the child has a session of its own.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
    except FileNotFoundError as error:
        raise NotReady(f"Could not {what}: '{error.filename}' is missing.", hint) from None
    if process.returncode != 0:
        text = (err or out).decode(errors="replace").strip()
        # What make says after the compiler's own words helps nobody.
        lines = [line for line in text.splitlines() if not _MAKE_NOISE.match(line)]
        raise NotReady(
            f"Could not {what}: {shlex.join(str(a) for a in argv[:2])} ... "
            f"ended with status {process.returncode} ({' / '.join(lines[-4:])}).",
            hint,
        )
    return out.decode(errors="replace")
