# SPDX-License-Identifier: GPL-2.0-only
"""The three things that Debian supplies: guest user space, toolchain, kernel.

Each is one cache entry. The guest's user space becomes a cpio archive, which
the kernel unpacks as its initramfs; the toolchain is a directory to chroot
into, so that modules are built by the very compiler that built the kernel,
whatever the host runs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pyctl.cache import Cache, Entry, digest
from pyctl.errors import NotReady, UsageError
from pyctl.vm.debian import (
    BOARD_ARCH,
    OLD_SUITES,
    SUITE,
    Apt,
    host_arch,
    host_mirror,
    merge_usr,
)
from pyctl.vm.kernel import Kernel, fetch_kernel, fetch_modules, local_kernel, parse_kernel_spec
from pyctl.vm.process import need_tool, run
from pyctl.vm.spec import QEMU

GUEST_PACKAGES = (
    "python3",
    "python3-click",
    "python3-psutil",
    "python3-pyudev",
    "python3-pytest",
    "kmod",
    "busybox-static",
)
# The field's programs for NVDIMMs, DAX devices and CXL memory.
DEVICE_PACKAGES = ("ndctl", "daxctl", "cxl")
UEFI_PACKAGE = "qemu-efi-aarch64"
UEFI_IMAGE = "QEMU_EFI.fd"
# The same name on every host, native ones included.
COMPILER = "aarch64-linux-gnu-gcc-14"
TOOLCHAIN_PACKAGES = (
    "gcc-14-aarch64-linux-gnu",
    "make",
    "bash",
    "coreutils",
    "sed",
    "grep",
    "gawk",
    "findutils",
    "kmod",
    "perl-base",
    "pahole",
    "python3-minimal",
    "libpython3-stdlib",
    # What the target tests import while they are collected.
    "python3-click",
    "python3-psutil",
    "python3-pyudev",
    "python3-pytest",
)
QEMU_PACKAGES = ("qemu-system-arm",)
# Of the backports, in which the first one needs the others, and apt will not see that.
NEWEST_QEMU_PACKAGES = tuple(
    f"qemu-system-{part}/{SUITE}-backports" for part in ("arm", "common", "data")
)
# Through the loader and with the libraries that it was built with.
_QEMU_SCRIPT = """\
#!/bin/sh
here=$(dirname "$0")
tree=$here/root
loader=$here/{loader}
libraries=$(dirname "$loader")
QEMU_MODULE_DIR=$libraries/qemu
export QEMU_MODULE_DIR
exec "$loader" --library-path "$libraries" "$tree/usr/bin/{qemu}" \\
	-L "$tree/usr/share/qemu" "$@"
"""
# What the three take together while they are made.
_NEEDED_BYTES = 1 << 30
# It would only be copied into guest memory at every boot.
_DOCUMENTS = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/zoneinfo",
    "var/cache",
)
# Whole packages, of which dpkg's record is made anew.
_PLAIN_LITTER = (*_DOCUMENTS, "var/lib/apt", "var/lib/dpkg")
# The same, where nothing is to run but Python, pytest, kmod and busybox.
_GUEST_LITTER = (
    *_DOCUMENTS,
    "var/lib",
    "usr/share/perl5",
    "usr/share/lintian",
    "usr/share/bug",
    "usr/lib/aarch64-linux-gnu/gconv",
    "usr/lib/aarch64-linux-gnu/perl-base",
    "usr/lib/python3.*/test",
    "usr/lib/python3.*/idlelib",
    "usr/lib/python3.*/ensurepip",
    "usr/lib/python3.*/pydoc_data",
    "usr/lib/python3.*/lib2to3",
    "usr/lib/python3.*/lib-dynload/_test*",
    "usr/lib/python3.*/lib-dynload/_dbm*",
    "usr/lib/python3.*/lib-dynload/_sqlite3*",
    "usr/lib/python3.*/lib-dynload/_ssl*",
    "usr/lib/python3/dist-packages/psutil/tests",
    "usr/lib/aarch64-linux-gnu/libdb-*",
    "usr/lib/aarch64-linux-gnu/libsqlite3.*",
    "usr/lib/aarch64-linux-gnu/libssl.*",
    "usr/bin/perl*",
    "usr/bin/dpkg*",
    "usr/bin/deb*",
)

# Counts changes of the recipe that the lists above do not show.
_GUEST_RECIPE = 2


class Roots:
    """Makes, or finds in the cache, what comes from Debian."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self._apt: Apt | None = None

    @property
    def apt(self) -> Apt:
        """The private apt state; only needed when something is missing."""
        if self._apt is None:
            if os.geteuid() != 0:
                raise NotReady(
                    "Making the virtual board's roots needs root (device nodes, chroot).",
                    "Run the command once as root or with sudo; later runs need no root.",
                )
            self.cache.need_space(_NEEDED_BYTES, "the virtual board's roots")
            self._apt = Apt(self.cache, host_mirror())
        return self._apt

    def _apts(self) -> Iterator[Apt]:
        """Yield the apt states to look for a kernel in, in this order."""
        yield self.apt
        yield Apt(self.cache, self.apt.mirror, OLD_SUITES)

    # -- guest user space -------------------------------------------------

    def guest(self, more: Sequence[str] = ()) -> Entry:
        """The entry that holds ``base.cpio``, the guest's user space with ``more`` packages."""
        return self._user_space((*GUEST_PACKAGES, *more), _GUEST_LITTER)

    def plain(self, packages: Sequence[str]) -> Entry:
        """The entry that holds ``base.cpio``, a root of whole Debian packages."""
        return self._user_space((*GUEST_PACKAGES, *packages), _PLAIN_LITTER)

    def _user_space(self, packages: Sequence[str], litter: Sequence[str]) -> Entry:
        return self.cache.get(
            "guest",
            digest(SUITE, packages, litter, self.toolchain_key(), _GUEST_RECIPE),
            "the guest's user space (Debian packages)",
            lambda work: self._make_guest(work, packages, litter),
        )

    def _make_guest(
        self, work: Path, packages: Sequence[str], litter: Sequence[str]
    ) -> dict[str, Any]:
        need_tool("cpio", "cpio")
        top = work / "root"
        versions = self.apt.bootstrap(top, [BOARD_ARCH], packages)
        for pattern in litter:
            for path in top.glob(pattern):
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        merge_usr(top)
        for name in ("proc", "sys", "run", "root", "dev", "tmp", "opt", "mnt"):
            (top / name).mkdir(exist_ok=True)
        for name in ("sh", "mount", "umount"):
            (top / "usr/bin" / name).unlink(missing_ok=True)
            (top / "usr/bin" / name).symlink_to("busybox")
        for name in ("insmod", "rmmod", "modinfo", "modprobe", "lsmod", "depmod"):
            (top / "usr/sbin" / name).unlink(missing_ok=True)
            (top / "usr/sbin" / name).symlink_to("../bin/kmod")
        self.compile_python(top, ["usr/lib"], sources=False)
        make_cpio(top, work / "base.cpio")
        shutil.rmtree(top)
        return {"packages": versions}

    def compile_python(self, top: Path, below: Sequence[str], sources: bool = True) -> None:
        """Compile the Python files of a guest tree to bytecode; keep their ``sources`` or not.

        Bytecode does not depend on the architecture but on Python's minor
        version, so the toolchain root's Python (same suite) does it. The
        files are marked as never to be checked against their source.
        """
        tool = self.toolchain().path / "root"
        python = next((tool / "usr/bin").glob("python3.[0-9]*"))
        loader = next(
            path
            for pattern in ("lib64/ld-linux-*", "lib/ld-linux-*")
            for path in (tool / "usr").glob(pattern)
        )
        env = {"PYTHONHOME": str(tool / "usr"), "PATH": os.environ.get("PATH", "")}
        for sub in below:
            run(
                [
                    loader,
                    "--library-path",
                    loader.resolve().parent,
                    python,
                    *("-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"),
                    # In the place of its source, bytecode is imported without one.
                    *(() if sources else ("-b",)),
                    *("-s", top, "-p", "/", top / sub),
                ],
                what="compile the guest's Python files",
                env=env,
            )
            for path in () if sources else (top / sub).rglob("*.py"):
                # What cannot be compiled is somebody's template.
                if path.with_suffix(".pyc").exists():
                    path.unlink()

    # -- UEFI ----------------------------------------------------------------

    def uefi(self) -> Entry:
        """The entry that holds UEFI_IMAGE, the UEFI of Debian's for QEMU's machine."""
        return self.cache.get(
            "uefi", digest(SUITE, UEFI_PACKAGE), "UEFI (a Debian package)", self._make_uefi
        )

    def _make_uefi(self, work: Path) -> dict[str, Any]:
        [deb] = self.apt.download([UEFI_PACKAGE], work / "debs")
        name, version, arch = deb.stem.split("_")
        run(["dpkg-deb", "-x", deb, work / "root"], what=f"unpack {deb.name}")
        shutil.move(work / "root/usr/share" / UEFI_PACKAGE / UEFI_IMAGE, work)
        shutil.rmtree(work / "root")
        shutil.rmtree(work / "debs")
        return {"packages": {f"{name}:{arch}": version}}

    # -- a newer QEMU ----------------------------------------------------------

    def qemu(self, packages: Sequence[str] = NEWEST_QEMU_PACKAGES) -> Entry:
        """The entry that holds ``QEMU`` of these packages, to be run whatever the host is."""
        return self.cache.get(
            "qemu",
            digest(SUITE, packages, _QEMU_SCRIPT, host_arch()),
            "a newer QEMU (Debian packages)",
            lambda work: self._make_qemu(work, packages),
        )

    def _make_qemu(self, work: Path, packages: Sequence[str]) -> dict[str, Any]:
        top = work / "root"
        versions = self.apt.bootstrap(top, [self.apt.host_arch], packages)
        for litter in (*_DOCUMENTS, "usr/lib/modules", "usr/share/qemu/edk2*"):
            for path in top.glob(litter):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        merge_usr(top)
        loader = next(
            path
            for pattern in ("lib64/ld-linux-*", "lib/ld-linux-*")
            for path in (top / "usr").glob(pattern)
        ).resolve()
        script = work / QEMU
        script.write_text(_QEMU_SCRIPT.format(loader=loader.relative_to(work), qemu=QEMU))
        script.chmod(0o755)
        return {"packages": versions}

    # -- toolchain ---------------------------------------------------------

    def toolchain_key(self) -> str:
        """The toolchain's key, which goes into the key of all that it makes."""
        return digest(SUITE, TOOLCHAIN_PACKAGES, host_arch())

    def toolchain(self) -> Entry:
        """The entry whose ``root`` holds the cross compiler, make and pytest."""
        return self.cache.get(
            "toolchain",
            self.toolchain_key(),
            "the toolchain root (Debian packages)",
            self._make_toolchain,
            thorough=True,
        )

    def _make_toolchain(self, work: Path) -> dict[str, Any]:
        top = work / "root"
        versions = self.unpack_toolchain(top)
        for litter in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info"):
            shutil.rmtree(top / litter, ignore_errors=True)
        return {"packages": versions}

    def unpack_toolchain(self, top: Path, more: Sequence[str] = ()) -> dict[str, str]:
        """Unpack the toolchain's packages, and ``more``, into a new root; give their versions."""
        packages = (*TOOLCHAIN_PACKAGES, *more)
        versions = self.apt.bootstrap(top, [self.apt.host_arch], packages)
        merge_usr(top)
        for name, target in (("sh", "bash"), ("awk", "gawk")):
            (top / "usr/bin" / name).unlink(missing_ok=True)
            (top / "usr/bin" / name).symlink_to(target)
        return versions

    @contextlib.contextmanager
    def build_root(self, kernel: Kernel | None = None) -> Iterator[Path]:
        """A throw-away toolchain root with a kernel's headers and an empty /build.

        The files are hard links into the cache, so this takes no space and
        little time.
        """
        with self.cache.scratch("build") as scratch:
            top = scratch / "root"
            if kernel is not None and kernel.headers is not None:
                kernel = self.kernel(kernel.spec, thorough=True)
            run(
                ["cp", "-al", self.toolchain().path / "root", top],
                what="set up the toolchain root",
            )
            if kernel is not None and kernel.headers is not None:
                run(
                    ["cp", "-al", f"{kernel.headers}/.", top],
                    what="add the kernel's headers to the toolchain root",
                )
            (top / "build").mkdir()
            yield top

    def kernel_modules(self, kernel: Kernel) -> Entry:
        """The entry that holds the tree ``modules``: a Debian kernel's own modules."""
        return self.cache.get(
            "kernel-modules",
            kernel.key,
            f"the own modules of {kernel.release} (a Debian package)",
            lambda work: fetch_modules(self._apts(), work, kernel),
        )

    # -- kernel -------------------------------------------------------------

    def kernel(self, spec: str | None, kdir: Path | None = None, thorough: bool = False) -> Kernel:
        """Find the kernel that ``--kernel`` names.

        ``spec`` is None (newest of the default flavour), a flavour, a version
        prefix (``7.2``), ``VERSION-FLAVOUR``, or the path of an arm64 Image,
        which needs ``kdir``, its build tree.
        """
        if spec is not None and "/" in spec:
            return local_kernel(Path(spec), kdir)
        if kdir is not None:
            raise UsageError(
                "--kdir goes with --kernel PATH only.",
                "Debian's kernels bring their own build tree.",
            )
        version, flavour = parse_kernel_spec(spec)
        # What a name meant when it was first asked for stays in the cache, so
        # that a run needs neither network nor apt; 'vm clean' forgets it.
        entry = self.cache.get(
            "kernel",
            digest(SUITE, version, flavour, 2),
            f"the kernel {version or 'newest'} {flavour} (Debian packages)",
            lambda work: fetch_kernel(self._apts(), work, version, flavour),
            thorough,
        )
        meta = entry.describe()
        release = meta["release"]
        return Kernel(
            spec=spec,
            release=release,
            key=digest(meta["image_sha256"], meta["packages"]),
            image=entry.path / "Image",
            kdir=Path("/usr/src") / f"linux-headers-{release}",
            headers=entry.path / "headers",
            packages=meta["packages"],
        )


def make_cpio(top: Path, archive: Path) -> None:
    """Pack a tree as a newc cpio archive, byte for byte reproducible, owned by root."""
    names = sorted(
        os.path.join(os.path.relpath(base, top), name)
        for base, dirs, files in os.walk(top)
        for name in (*dirs, *files)
    )
    run(
        [
            need_tool("cpio", "cpio"),
            *("--null", "--create", "--format=newc", "--reproducible", "--quiet"),
            *("--owner=0:0", f"--file={archive}"),
        ],
        what=f"pack {archive.name}",
        stdin="\0".join(names),
        cwd=top,
    )
