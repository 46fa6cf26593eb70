# SPDX-License-Identifier: GPL-2.0-only
"""Builds the modules with what this machine has: its make, its compiler, its headers.

Builds happen in a copy, so the source tree stays clean and may be read-only.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from pyctl.cache import Cache, digest, disk_full
from pyctl.errors import NotReady, OperationFailed
from pyctl.kbuild import make_command, module_source

_KIND = "modules"


def module_cache(release: str, root: Path | None = None) -> Path:
    """Where the modules for a kernel release and this source are kept, once they are built.

    ``root`` is another user's cache.
    """
    try:
        source = module_source().key()
    except NotReady:
        # Without the source nothing can be stale, and nothing can have been built here.
        source = "no source"
    return Cache(root).path(_KIND, digest(source, release))


def kernel_release(kdir: Path) -> str:
    """Release of the kernel that the headers in ``kdir`` are for; NotReady if they are none."""
    try:
        return (kdir / "include/config/kernel.release").read_text().strip()
    except OSError:
        raise NotReady(
            f"There are no kernel headers in {kdir}.",
            "On Debian: `apt install linux-headers-$(uname -r)`; or name a directory with --kdir.",
        ) from None


def build(
    kdir: Path,
    make_args: Sequence[str] = (),
    out: Path | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Build both modules against ``kdir``; gives the paths of the .ko files.

    They become the cache entry where `load` looks, in place of an older one, or go to
    the directory ``out``; ``progress`` gets what make prints, line by line. Raises
    NotReady where a tool is missing and OperationFailed with make's last lines where
    the build fails; what was there before is then still there.
    """
    release = kernel_release(kdir)
    if shutil.which("make") is None:
        raise NotReady("make is not installed.", "On Debian: `apt install make`.")
    source = module_source()
    cache = Cache()

    def make(work: Path) -> dict[str, str]:
        with cache.scratch(_KIND) as copy:
            source.write(copy)
            _make(make_command(kdir, copy, make_args), progress)
            built = list(copy.rglob("*.ko"))
            if not built:
                raise OperationFailed(
                    "make ended well but left no module.", "Look at what make printed."
                )
            for module in built:
                shutil.copyfile(module, work / module.name)
        return {"release": release}

    what = f"the modules for {release}"
    if out is None:
        made = cache.renew(_KIND, digest(source.key(), release), what, make).path
        return sorted(made.glob("*.ko"))
    with cache.scratch(_KIND) as made:
        make(made)
        return [_publish(module, out) for module in sorted(made.glob("*.ko"))]


def _publish(module: Path, out: Path) -> Path:
    """Copy a module to ``out``, whole or not at all; gives its new path."""
    out.mkdir(parents=True, exist_ok=True)
    # Renaming needs the same file system, which the cache may not be on.
    partial = out / f".{module.name}.{os.getpid()}"
    try:
        shutil.copyfile(module, partial)
        return partial.replace(out / module.name)
    finally:
        partial.unlink(missing_ok=True)


def _make(command: Sequence[str], progress: Callable[[str], None]) -> None:
    """Run make, pass its lines on, and say what is missing where it fails."""
    lines: list[str] = []
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "LC_ALL": "C"},
    ) as process:
        assert process.stdout
        for line in process.stdout:
            lines.append(line.rstrip())
            progress(lines[-1])
    if process.returncode == 0:
        return
    for line in lines:
        if "No space left on device" in line:
            raise disk_full("the modules", Cache().root, line.strip())
        if "unrecognized command" in line or "unknown argument" in line:
            raise NotReady(
                f"The compiler is not the one that built the kernel: {line.strip()}.",
                "Install the one that `cat /proc/version` names, or choose it with "
                "--make-arg CC=...",
            )
        if "not found" in line and ("gcc" in line or "clang" in line):
            raise NotReady(
                f"The compiler for the modules is missing: {line.strip()}.",
                "Install the compiler that built the kernel, or choose one with --make-arg CC=...",
            )
    raise OperationFailed(
        f"make failed with status {process.returncode}:\n" + "\n".join(lines[-15:]),
        "The compiler should be the one that built the kernel; choose with --make-arg CC=...",
    )
