# SPDX-License-Identifier: GPL-2.0-only
"""The modules' source, how make is run on it, and where the result is kept.

Builds happen in a copy, so the source tree stays clean and may be read-only.
The virtual board uses the same pieces with make inside its toolchain root.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pyctl.errors import NotReady, OperationFailed

SOURCE_ROOT = Path(__file__).parents[2]
_KBUILD = "Kbuild"
_MODULE_DIR = "module"
_SUFFIXES = (".c", ".h", ".S")
"""Of source files; what make leaves behind has others."""


def source_files(root: Path = SOURCE_ROOT) -> list[Path]:
    """The files that the modules are made of, relative to ``root``, in a fixed order."""
    inside = (root / _MODULE_DIR).rglob("*")
    found = [path for path in inside if path.suffix in _SUFFIXES or path.name == _KBUILD]
    # make's own *.mod.c, left by somebody who built in place, is no source.
    found = [path for path in found if path.is_file() and not path.name.endswith(".mod.c")]
    if not found or not (root / _KBUILD).is_file():
        raise NotReady(
            f"The modules' source is not beside pyctl (no Kbuild and module/ in {root}).",
            "Run pyctl from a checkout, or use built modules with --modules.",
        )
    return [Path(_KBUILD), *sorted(path.relative_to(root) for path in found)]


def source_digest(root: Path = SOURCE_ROOT) -> str:
    """A name for exactly this source: the same files give the same 16 hex digits."""
    digest = hashlib.sha256()
    for path in source_files(root):
        content = (root / path).read_bytes()
        digest.update(f"{path}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def cache_root() -> Path:
    """Where everything fetched or built is kept: PYCTL_CACHE, else below XDG_CACHE_HOME."""
    if named := os.environ.get("PYCTL_CACHE"):
        return Path(named)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "pyctl"


def module_cache(release: str) -> Path:
    """Where the modules for a kernel release and this source are kept."""
    try:
        digest = source_digest()
    except NotReady:
        # Without the source nothing can be stale, and nothing can have been built here.
        digest = "no-source"
    return cache_root() / "modules" / f"{release}-{digest}"


def copy_source(target: Path, root: Path = SOURCE_ROOT) -> None:
    """Copy Kbuild and module/ to ``target``, ready for make."""
    for path in source_files(root):
        (target / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / path, target / path)


def build_command(kdir: Path | str, build_dir: Path | str, make_args: Sequence[str]) -> list[str]:
    """The make command that builds the copy in ``build_dir`` against the headers in ``kdir``."""
    return ["make", "-C", str(kdir), f"M={build_dir}", *make_args, "modules"]


def publish(build_dir: Path, out: Path) -> list[Path]:
    """Move the built modules to ``out``, each whole or not at all; gives their paths."""
    built = sorted(build_dir.rglob("*.ko"))
    if not built:
        raise OperationFailed("make ended well but left no module.", "Look at what make printed.")
    out.mkdir(parents=True, exist_ok=True)
    published = []
    for path in built:
        # Renaming needs the same file system, which the build directory may not be on.
        partial = out / f".{path.name}.{os.getpid()}"
        try:
            shutil.copyfile(path, partial)
            partial.replace(out / path.name)
        finally:
            partial.unlink(missing_ok=True)
        published.append(out / path.name)
    return published


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
    """Build both modules against ``kdir`` and publish them; gives the paths of the .ko files.

    ``out`` defaults to the cache entry where `load` looks; ``progress`` gets what
    make prints, line by line. Raises NotReady where a tool is missing and
    OperationFailed with make's last lines where the build fails.
    """
    release = kernel_release(kdir)
    if shutil.which("make") is None:
        raise NotReady("make is not installed.", "On Debian: `apt install make`.")
    with _build_directory() as directory:
        copy_source(directory)
        _make(build_command(kdir, directory, make_args), progress)
        return publish(directory, out or module_cache(release))


@contextlib.contextmanager
def _build_directory() -> Iterator[Path]:
    top = cache_root() / "build"
    try:
        top.mkdir(parents=True, exist_ok=True)
        made = tempfile.TemporaryDirectory(prefix="modules-", dir=top)
    except OSError as error:
        raise NotReady(
            f"The cache directory {top} cannot be used: {error.strerror}.",
            "Set PYCTL_CACHE to a directory that you may write to.",
        ) from None
    with made as name:
        yield Path(name)


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
        if "not found" in line and ("gcc" in line or "clang" in line):
            raise NotReady(
                f"The compiler for the modules is missing: {line.strip()}.",
                "Install the compiler that built the kernel, or choose one with --make-arg CC=...",
            )
    raise OperationFailed(
        f"make failed with status {process.returncode}:\n" + "\n".join(lines[-15:]),
        "The compiler should be the one that built the kernel; choose with --make-arg CC=...",
    )
