# SPDX-License-Identifier: GPL-2.0-only
"""The kernels that a board can run: how they are named, and how they are had."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.cache import digest, file_digest
from pyctl.errors import NotReady, UsageError
from pyctl.vm.debian import Apt, merge_usr
from pyctl.vm.process import run

DEFAULT_FLAVOUR = "cloud-arm64"
FLAVOURS = ("cloud-arm64", "arm64", "arm64-16k", "rt-arm64")


@dataclass(frozen=True)
class Kernel:
    """A kernel that a board can run and modules can be built for."""

    spec: str | None
    release: str
    key: str
    image: Path
    # Where the kernel's build tree appears inside the toolchain root.
    kdir: Path
    # A tree to lay over the toolchain root, or None when kdir is a host path.
    headers: Path | None
    packages: dict[str, str]

    @property
    def config(self) -> Path | None:
        """The configuration that Debian would put into /boot; None for a kernel of one's own."""
        if self.headers is None:
            return None
        return self.headers / str(self.kdir).lstrip("/") / ".config"

    @property
    def version(self) -> tuple[int, ...]:
        """Version and patch level, the first two numbers of the release."""
        return tuple(int(number) for number in re.findall(r"\d+", self.release)[:2])


def parse_kernel_spec(spec: str | None) -> tuple[str, str]:
    """Split ``--kernel`` into (version prefix or "", flavour). Raises UsageError."""
    if not spec:
        return "", DEFAULT_FLAVOUR
    if spec in FLAVOURS:
        return "", spec
    match = re.fullmatch(r"(\d+(?:\.\d+)*(?:\+\w+)?)(?:-(.+))?", spec)
    if match and (match[2] or DEFAULT_FLAVOUR) in FLAVOURS:
        return match[1], match[2] or DEFAULT_FLAVOUR
    raise UsageError(
        f"--kernel {spec} names no kernel.",
        f"Give a flavour ({', '.join(FLAVOURS)}), a version, VERSION-FLAVOUR, "
        "or a path (a path contains a '/').",
    )


def matches_version(release: str, prefix: str) -> bool:
    """Whether a release is of the version that a prefix names, by whole components."""
    version = release.split("-")[0]
    if not prefix or prefix in (version, version.split("+")[0]):
        return True
    return version.startswith(prefix + ".")


def check_image(path: Path) -> None:
    """Raise NotReady unless a file is an uncompressed arm64 Image (magic at offset 56)."""
    try:
        with path.open("rb") as f:
            head = f.read(64)
    except OSError as error:
        raise NotReady(f"The kernel {path} cannot be read: {error.strerror}.") from None
    if len(head) < 64 or head[56:60] != b"ARM\x64":
        raise NotReady(
            f"{path} is not an uncompressed arm64 kernel Image.",
            "Give arch/arm64/boot/Image of the kernel's build tree.",
        )


def local_kernel(image: Path, kdir: Path | None) -> Kernel:
    """The kernel of an Image and its build tree.

    Raises UsageError without a build tree, NotReady where one of the two is not what it should be.
    """
    check_image(image)
    if kdir is None:
        raise UsageError(
            "--kernel PATH needs --kdir DIR, the build tree of that kernel.",
            "Modules are built against it; it is the directory that holds Module.symvers.",
        )
    release_file = kdir / "include/config/kernel.release"
    if not release_file.exists():
        raise NotReady(
            f"{kdir} is not a prepared kernel build tree ({release_file} is missing).",
            "Run 'make modules_prepare' or a full build there.",
        )
    symvers = kdir / "Module.symvers"
    stamp = file_digest(symvers) if symvers.exists() else ""
    return Kernel(
        spec=str(image),
        release=release_file.read_text().strip(),
        key=digest(file_digest(image), str(kdir.resolve()), stamp),
        image=image,
        kdir=kdir.resolve(),
        headers=None,
        packages={},
    )


def fetch_kernel(apts: Iterable[Apt], work: Path, version: str, flavour: str) -> dict[str, Any]:
    """Unpack the newest kernel of a version prefix and a flavour; give what to record about it.

    The first of ``apts`` that has one supplies it. Leaves ``Image`` and the tree
    ``headers`` in ``work``. Raises UsageError where none has one.
    """
    for apt in apts:
        names = apt.names(rf"^linux-(headers|binary|image)-[0-9][^-]*(-[0-9]+)?-{flavour}$")
        if releases := _releases(set(names), version, flavour):
            break
    else:
        raise UsageError(
            f"Debian has no {flavour} kernel{version and ' ' + version} for this board.",
            "See 'apt-cache search linux-headers' on a Debian 13 system with backports.",
        )
    release = releases[-1]
    binary = f"linux-binary-{release}"
    build = release.removesuffix("-" + flavour)
    # One package served all builds of a version before Linux 6.12.
    kbuild = apt.names(rf"^linux-kbuild-({re.escape(build)}|{'.'.join(build.split('.')[:2])})$")
    debs = apt.download(
        [
            binary if binary in names else f"linux-image-{release}",
            f"linux-headers-{release}",
            f"linux-headers-{build}-common",
            f"{kbuild[0]}:{apt.host_arch}",
        ],
        work / "debs",
    )
    image_tree = work / "image"
    packages = {}
    for deb in debs:
        name, deb_version, arch = deb.stem.split("_")
        packages[f"{name}:{arch}"] = deb_version
        for_build = name.startswith(("linux-headers", "linux-kbuild"))
        into = work / "headers" if for_build else image_tree
        run(["dpkg-deb", "-x", deb, into], what=f"unpack {deb.name}")
    # Before 7.x the image lies in /boot, since then beside the modules.
    found = [*image_tree.glob("boot/vmlinuz-*"), *image_tree.glob("usr/lib/modules/*/vmlinuz")]
    check_image(found[0])
    shutil.move(found[0], work / "Image")
    shutil.rmtree(image_tree)
    shutil.rmtree(work / "debs")
    merge_usr(work / "headers", links=False)
    return {
        "release": release,
        "packages": packages,
        "image_sha256": file_digest(work / "Image"),
    }


def fetch_modules(apts: Iterable[Apt], work: Path, kernel: Kernel) -> dict[str, Any]:
    """Unpack a kernel's own modules into the tree ``modules``; give what to record about it.

    Raises NotReady where Debian no longer has that kernel.
    """
    # Before 7.x the modules come with the image.
    wanted = [f"linux-{kind}-{kernel.release}" for kind in ("modules", "image")]
    for apt in apts:
        names = apt.names(f"^linux-(modules|image)-{re.escape(kernel.release)}$")
        if found := [name for name in wanted if name in names]:
            break
    else:
        raise NotReady(
            f"Debian has no modules for {kernel.release} any more.",
            "Run `pyctl vm clean`, so that a newer kernel is taken.",
        )
    [deb] = apt.download(found[:1], work / "debs")
    run(["dpkg-deb", "-x", deb, work / "tree"], what=f"unpack {deb.name}")
    [modules] = (work / "tree").glob(f"**/lib/modules/{kernel.release}")
    shutil.move(modules, work / "modules")
    shutil.rmtree(work / "tree")
    shutil.rmtree(work / "debs")
    name, version, arch = deb.stem.split("_")
    return {"packages": {f"{name}:{arch}": version}}


def fetch_source(apt: Apt, work: Path) -> tuple[Path, str]:
    """Fetch the newest kernel source that there is; give its archive, and the package's name.

    Raises NotReady where the mirror has none.
    """
    package = newest_source(apt.names(r"^linux-source-[0-9.]+$"))
    if package is None:
        raise NotReady(
            "The host's Debian mirror has no kernel source.",
            "Run the command again when it has; see 'apt-cache search linux-source'.",
        )
    [deb] = apt.download([package], work / "debs")
    run(["dpkg-deb", "-x", deb, work / "source"], what=f"unpack {deb.name}")
    shutil.rmtree(work / "debs")
    [archive] = (work / "source/usr/src").glob("linux-source-*.tar.xz")
    return archive, deb.stem


def newest_source(names: Iterable[str]) -> str | None:
    """The package of the newest kernel's source; None if there is none."""
    from debian.debian_support import Version

    return max(names, key=lambda name: Version(name.rpartition("-")[2]), default=None)


def _releases(packages: set[str], version: str, flavour: str) -> list[str]:
    """The releases that can be run and built for, in ascending order, of package names."""
    # Who has a kernel in the cache needs the library no more.
    from debian.debian_support import Version

    return sorted(
        (
            release
            for name in packages
            if name.startswith("linux-headers-")
            and (release := name.removeprefix("linux-headers-")).endswith("-" + flavour)
            and matches_version(release, version)
            and {f"linux-binary-{release}", f"linux-image-{release}"} & packages
        ),
        key=lambda release: Version(release.removesuffix("-" + flavour)),
    )
