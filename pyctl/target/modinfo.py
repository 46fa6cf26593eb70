# SPDX-License-Identifier: GPL-2.0-only
"""Module files and loaded modules: which build each is, and whether it is the one we mean.

The kernel shows the source checksum of a loaded module; the file has the same
one in its .modinfo section, so a stale module is noticed before anybody
measures with it.
"""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import pwd
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pyctl import __version__
from pyctl.errors import NotReady
from pyctl.places import home_cache
from pyctl.target.build import module_cache
from pyctl.target.debugfs import PROVIDER_MODULE, TEST_MODULE
from pyctl.target.system import System

MODULES = (TEST_MODULE, PROVIDER_MODULE)
"""In the order of loading."""

PACKED = (".xz", ".zst", ".gz")
"""What a compressed module's name ends with; DKMS compresses where the distribution does."""

_DKMS_PLACE = "/lib/modules/{release}/updates/dkms"
_SIGNED = b"~Module signature appended~\n"
"""How a file with a signature ends (Linux include/linux/module_signature.h)."""
# A format that the module prints with, such as "version=%s", is no field.
_FIELD = re.compile(rb"(?<![\w.])(srcversion|vermagic|version)=([\w.+~: -]*)\0")


@dataclass(frozen=True)
class ModuleFile:
    """A built module: its file, the checksum of its source, and the kernel it is for.

    ``is_signed`` says that somebody has signed it, not that the kernel trusts him.
    """

    name: str
    path: Path
    srcversion: str | None
    release: str
    is_signed: bool
    version: str | None

    @classmethod
    def read(cls, path: Path) -> ModuleFile:
        """From the .modinfo strings of a file; NotReady if they are not there."""
        data = module_bytes(path)
        fields: dict[str, str] = {}
        for match in _FIELD.finditer(data):
            fields.setdefault(match[1].decode(), match[2].decode(errors="replace"))
        if not fields.get("vermagic"):
            raise NotReady(
                f"{path} is no kernel module, or not a whole one.", "Run `pyctl build` again."
            )
        release = fields["vermagic"].split()[0]
        return cls(
            name=path.name.partition(".")[0],
            path=path,
            srcversion=fields.get("srcversion"),
            release=release,
            is_signed=data.endswith(_SIGNED),
            version=fields.get("version"),
        )

    def require_release(self, release: str) -> None:
        """Raise NotReady where the kernel that runs is not the one that the file is for."""
        if self.release != release:
            raise NotReady(
                f"{self.path} was built for kernel {self.release}, but {release} is running.",
                "Run `pyctl build`, or point --modules at modules for this kernel.",
            )

    def require_version(self) -> None:
        """Raise NotReady where it comes with another version of pyctl: it is another interface."""
        if self.version not in (None, __version__):
            raise NotReady(
                f"{self.path} is of pyctl {self.version}, and this is pyctl {__version__}.",
                "Run `pyctl build`, or install the two in the same version.",
            )


def module_bytes(path: Path) -> bytes:
    """What is in a module's file, uncompressed. Raises NotReady where it cannot be unpacked."""
    try:
        if path.suffix == ".xz":
            return lzma.decompress(path.read_bytes())
        if path.suffix == ".gz":
            return gzip.decompress(path.read_bytes())
        if path.suffix == ".zst":
            return _unpack_zstd(path)
        return path.read_bytes()
    except (lzma.LZMAError, gzip.BadGzipFile, EOFError) as error:
        raise NotReady(f"{path} cannot be unpacked: {error}.", "Build it again.") from None


def _unpack_zstd(path: Path) -> bytes:
    # Python has it from 3.14 on.
    if shutil.which("zstd") is None:
        raise NotReady(f"{path} is compressed with zstd.", "On Debian: `apt install zstd`.")
    done = subprocess.run(["zstd", "-dcq", path], capture_output=True)
    if done.returncode != 0:
        why = done.stderr.decode(errors="replace").strip()
        raise NotReady(f"{path} cannot be unpacked: {why}.", "Build it again.")
    return done.stdout


def search_path(system: System, extra: Path | None = None) -> Iterator[Path]:
    """Where built modules are looked for: --modules, PYCTL_MODULES, the build cache, DKMS's place.

    Under sudo also the build cache of the user who asks, who may have run `pyctl build`.
    """
    if extra:
        yield extra
        return
    if named := os.environ.get("PYCTL_MODULES"):
        yield Path(named)
    yield module_cache(system.release)
    if system.euid == 0 and (user := os.environ.get("SUDO_UID", "")).isdecimal():
        with contextlib.suppress(KeyError):
            home = Path(pwd.getpwuid(int(user)).pw_dir)
            yield module_cache(system.release, home_cache(home))
    yield system.path(_DKMS_PLACE.format(release=system.release))


def find_file(system: System, name: str, extra: Path | None = None) -> ModuleFile | None:
    """The first built module of that name, or None."""
    for directory in search_path(system, extra):
        for packed in ("", *PACKED):
            path = directory / f"{name}.ko{packed}"
            if path.is_file():
                return ModuleFile.read(path)
    return None


def require_file(system: System, name: str, extra: Path | None = None) -> ModuleFile:
    """The built module for the running kernel; NotReady with the cure otherwise."""
    found = find_file(system, name, extra)
    if found is None:
        places = ", ".join(str(path) for path in search_path(system, extra))
        raise NotReady(
            f"There is no {name}.ko for kernel {system.release} (looked in {places}).",
            "Run `pyctl build`, or name their directory with --modules or PYCTL_MODULES.",
        )
    found.require_release(system.release)
    found.require_version()
    return found


def failed_dkms_log(system: System) -> Path | None:
    """The log of a build for the running kernel that DKMS has given up, or None.

    DKMS moves the log of a build that went well elsewhere.
    """
    for log in sorted(system.path("/var/lib/dkms/pyctl").glob("*/build/make.log")):
        with contextlib.suppress(OSError):
            if f" for kernel {system.release} (" in log.read_text(errors="replace"):
                return log
    return None


@dataclass(frozen=True)
class LoadedModule:
    """A module in the kernel, as /sys/module shows it."""

    name: str
    srcversion: str | None
    users: int

    @classmethod
    def find(cls, system: System, name: str) -> LoadedModule | None:
        """The loaded module, or None."""
        top = f"/sys/module/{name}"
        if not system.path(top).is_dir():
            return None
        users = system.text(f"{top}/refcnt") or "0"
        return cls(name, system.text(f"{top}/srcversion"), int(users))

    def matches(self, file: ModuleFile) -> bool | None:
        """Whether it was loaded from that build; None where one of them has no checksum."""
        if self.srcversion is None or file.srcversion is None:
            return None
        return self.srcversion == file.srcversion
