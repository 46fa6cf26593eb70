# SPDX-License-Identifier: GPL-2.0-only
"""A kernel with pages of 64 KiB, which Debian does not have: built from Debian's source.

It is made once, which takes ten minutes or more, and then has its place in the cache.
``python -m pyctl.vm.kernel64k`` prints the options with which tests and ``pyctl vm`` take it.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from pyctl.cache import Cache, Entry, digest
from pyctl.errors import NotReady, PyctlError
from pyctl.vm.debian import SUITE
from pyctl.vm.kernel import fetch_source
from pyctl.vm.process import run
from pyctl.vm.roots import COMPILER, Roots

PACKAGES = ("gcc", "libc6-dev", "flex", "bison", "bc", "libssl-dev", "openssl", "diffutils", "gzip")
"""What building a whole kernel takes besides the toolchain."""

# Nothing but this and what it takes, so that the build is short. In the order of the chain:
# what the test modules are about, the machine, what Python and pytest live on.
CONFIG = """\
CONFIG_LOCALVERSION="-64k"
CONFIG_ARM64_64K_PAGES=y
CONFIG_ARM64_VA_BITS_48=y
CONFIG_ARM64_PA_BITS_48=y
CONFIG_MODULES=y
CONFIG_MODULE_UNLOAD=y
CONFIG_DEBUG_KERNEL=y
CONFIG_DEBUG_FS=y
CONFIG_SECURITY=y
CONFIG_SECURITYFS=y
CONFIG_SECURITY_LOCKDOWN_LSM=y
CONFIG_LSM="lockdown"
CONFIG_COMPACTION=y
CONFIG_MIGRATION=y
CONFIG_CMA=y
CONFIG_MEMORY_HOTPLUG=y
CONFIG_MEMORY_HOTREMOVE=y
CONFIG_KPROBES=y
CONFIG_FTRACE=y
CONFIG_FUNCTION_TRACER=y
CONFIG_KPROBE_EVENTS=y
CONFIG_NR_CPUS=64
CONFIG_NUMA=y
CONFIG_HOTPLUG_CPU=y
CONFIG_EFI=y
CONFIG_ACPI=y
CONFIG_PCI=y
CONFIG_PCI_HOST_GENERIC=y
CONFIG_VIRTIO_MENU=y
CONFIG_VIRTIO_PCI=y
CONFIG_VIRTIO_CONSOLE=y
CONFIG_TTY=y
CONFIG_UNIX98_PTYS=y
CONFIG_SERIAL_AMBA_PL011=y
CONFIG_SERIAL_AMBA_PL011_CONSOLE=y
CONFIG_PRINTK=y
CONFIG_BUG=y
CONFIG_KALLSYMS=y
CONFIG_MAGIC_SYSRQ=y
CONFIG_SOFTLOCKUP_DETECTOR=y
CONFIG_HIGH_RES_TIMERS=y
CONFIG_IKCONFIG=y
CONFIG_IKCONFIG_PROC=y
CONFIG_BLK_DEV_INITRD=y
CONFIG_BINFMT_ELF=y
CONFIG_BINFMT_SCRIPT=y
CONFIG_COREDUMP=y
CONFIG_MULTIUSER=y
CONFIG_PROC_FS=y
CONFIG_SYSFS=y
CONFIG_TMPFS=y
CONFIG_SHMEM=y
CONFIG_DEVTMPFS=y
CONFIG_FILE_LOCKING=y
CONFIG_FHANDLE=y
CONFIG_SYSVIPC=y
CONFIG_POSIX_MQUEUE=y
CONFIG_POSIX_TIMERS=y
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_SIGNALFD=y
CONFIG_TIMERFD=y
CONFIG_EVENTFD=y
CONFIG_AIO=y
CONFIG_IO_URING=y
CONFIG_ADVISE_SYSCALLS=y
CONFIG_MEMBARRIER=y
CONFIG_RSEQ=y
CONFIG_NET=y
CONFIG_UNIX=y
CONFIG_INET=y
"""

# What modules are built against, of a tree in which a kernel has been built.
_KEPT = (
    *(".config", "Makefile", "Module.symvers", "include", "scripts"),
    *("arch/arm64/Makefile", "arch/arm64/include"),
)
_NEEDED_BYTES = 5 << 30
_TIMEOUT_S = 4 * 3600.0
_PATH = "PATH=/usr/bin:/usr/sbin"
_SCRIPT = f"""\
set -e
make="make -s ARCH=arm64 CROSS_COMPILE=aarch64-linux-gnu- CC={COMPILER}"
KCONFIG_ALLCONFIG=/wanted $make allnoconfig
$make -j$(nproc) Image modules
"""


def kernel64k(roots: Roots) -> Entry:
    """The entry that holds ``Image`` and ``build``, the tree to build modules against.

    It is made of the newest source that Debian had when it was first asked for. Raises
    NotReady where it cannot be built.
    """
    return roots.cache.get(
        "kernel64k",
        digest(SUITE, PACKAGES, CONFIG, _KEPT, _SCRIPT),
        "a kernel with pages of 64 KiB (fetches 250 MB, then builds for ten minutes and more)",
        lambda work: _make(roots, work),
        thorough=True,
    )


def _make(roots: Roots, work: Path) -> dict[str, Any]:
    roots.cache.need_space(_NEEDED_BYTES, "a kernel's source and its build")
    with roots.cache.scratch("kernel64k") as scratch:
        top = scratch / "root"
        roots.unpack_toolchain(top, PACKAGES)
        archive, package = fetch_source(roots.apt, scratch)
        tree = top / "linux"
        tree.mkdir()
        run(
            ["tar", "-xf", archive, "-C", tree, "--strip-components=1"],
            what=f"unpack {archive.name}",
        )
        (top / "wanted").write_text(CONFIG)
        run(
            ["chroot", top, "/usr/bin/env", "-i", _PATH, "bash", "-c", f"cd /linux; {_SCRIPT}"],
            what=f"build a kernel of {package}",
            timeout_s=_TIMEOUT_S,
        )
        if refused := missing(CONFIG, (tree / ".config").read_text()):
            raise NotReady(
                f"{package} cannot be configured as wanted: it lacks {', '.join(refused)}.",
                "The kernel has renamed them: pyctl/vm/kernel64k.py needs a change.",
            )
        shutil.copy(tree / "arch/arm64/boot/Image", work)
        keep(tree, work / "build")
    return {"package": package}


def missing(wanted: str, config: str) -> list[str]:
    """The options of a configuration that another one does not have as they are wanted."""
    have = set(config.splitlines())
    return [line for line in wanted.splitlines() if line not in have]


def keep(tree: Path, into: Path) -> None:
    """Take out of a kernel's tree what modules are built against."""
    for name in _KEPT:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(tree / name, into / name)


def main() -> int:
    """Print the options that name the kernel's Image and its build tree."""
    try:
        entry = kernel64k(
            Roots(Cache(say=lambda text: print(f"kernel64k: {text}", file=sys.stderr)))  # noqa: T201
        )
    except PyctlError as error:
        print(f"kernel64k: {error.message}\n{error.hint}", file=sys.stderr)  # noqa: T201
        return error.exit_status
    print(shlex.join(["--kernel", f"{entry.path / 'Image'}", "--kdir", f"{entry.path / 'build'}"]))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
