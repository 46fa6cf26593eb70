# SPDX-License-Identifier: GPL-2.0-only
"""Kernels that Debian does not have, built from Debian's source.

One has pages of 64 KiB; the other has the provider built in, as a kernel has that carries
the series. Each is made once, which takes ten minutes or more, and then has its place in the
cache. ``python -m pyctl.vm.ownkernel NAME`` prints the options with which tests and ``pyctl
vm`` take it.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyctl.cache import Cache, Entry, Tree, digest
from pyctl.errors import NotReady, PyctlError
from pyctl.kbuild import module_source
from pyctl.vm.debian import SUITE
from pyctl.vm.kernel import fetch_source
from pyctl.vm.process import run
from pyctl.vm.roots import COMPILER, Roots

PACKAGES = ("gcc", "libc6-dev", "flex", "bison", "bc", "libssl-dev", "openssl", "diffutils", "gzip")
"""What building a whole kernel takes besides the toolchain."""

# Nothing but this and what it takes, so that the build is short. In the order of the chain:
# what the test modules are about, the machine, what Python and pytest live on.
_CONFIG = """\
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

CONFIGS = {
    "64k": f'CONFIG_LOCALVERSION="-64k"\nCONFIG_ARM64_64K_PAGES=y\n{_CONFIG}',
    "builtin": f'CONFIG_LOCALVERSION="-builtin"\nCONFIG_ARM64_4K_PAGES=y\n{_CONFIG}',
}
"""What each kernel is configured as, by name."""
BUILT_IN = "arm_smccc_cache"
"""The provider's name where it is built in: that of the series."""
_PROVIDER_AT = Path("drivers/cache/provider")
# Ours, where the series has its own; it shows in debugfs under that name, which nobody knows.
_KBUILD = {
    "Makefile": "subdir-ccflags-y += -I$(srctree)/$(src)/include\nobj-y += smccc_cache/\n",
    "smccc_cache/Kbuild": f"obj-y := {BUILT_IN}.o\n{BUILT_IN}-y := main.o debugfs.o\n",
}

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


def own_kernel(roots: Roots, name: str) -> Entry:
    """The entry that holds ``Image`` and ``build``, the tree to build modules against.

    It is made of the newest source that Debian had when it was first asked for. Raises
    NotReady where it cannot be built.
    """
    provider = _provider() if name == "builtin" else None
    return roots.cache.get(
        f"kernel-{name}",
        digest(SUITE, PACKAGES, CONFIGS[name], _KEPT, _SCRIPT, provider and provider.key()),
        f"the kernel {name} (fetches 250 MB, then builds for ten minutes and more)",
        lambda work: _make(roots, work, CONFIGS[name], provider),
        thorough=True,
    )


def _provider() -> Tree:
    """What is put into a kernel's tree for the provider to be built in."""
    source = {
        name.removeprefix("module/"): (mode, data)
        for name, mode, data in module_source().files
        if name.startswith(("module/include/", "module/smccc_cache/"))
    }
    source |= {name: (0o644, text.encode()) for name, text in _KBUILD.items()}
    return Tree(tuple((name, *file) for name, file in sorted(source.items())))


def _make(roots: Roots, work: Path, config: str, provider: Tree | None) -> dict[str, Any]:
    roots.cache.need_space(_NEEDED_BYTES, "a kernel's source and its build")
    with roots.cache.scratch("ownkernel") as scratch:
        top = scratch / "root"
        roots.unpack_toolchain(top, PACKAGES)
        archive, package = fetch_source(roots.apt, scratch)
        tree = top / "linux"
        tree.mkdir()
        run(
            ["tar", "-xf", archive, "-C", tree, "--strip-components=1"],
            what=f"unpack {archive.name}",
        )
        if provider:
            put(provider, tree)
        (top / "wanted").write_text(config)
        run(
            ["chroot", top, "/usr/bin/env", "-i", _PATH, "bash", "-c", f"cd /linux; {_SCRIPT}"],
            what=f"build a kernel of {package}",
            timeout_s=_TIMEOUT_S,
        )
        if refused := missing(config, (tree / ".config").read_text()):
            raise NotReady(
                f"{package} cannot be configured as wanted: it lacks {', '.join(refused)}.",
                "The kernel has renamed them: pyctl/vm/ownkernel.py needs a change.",
            )
        shutil.copy(tree / "arch/arm64/boot/Image", work)
        keep(tree, work / "build")
    return {"package": package}


def put(provider: Tree, tree: Path) -> None:
    """Make the provider a part of a kernel's tree."""
    provider.write(tree / _PROVIDER_AT)
    with (tree / _PROVIDER_AT.parent / "Makefile").open("a") as makefile:
        makefile.write(f"obj-y += {_PROVIDER_AT.name}/\n")


def missing(wanted: str, config: str) -> list[str]:
    """The options of a configuration that another one does not have as they are wanted."""
    have = set(config.splitlines())
    return [line for line in wanted.splitlines() if line not in have]


def keep(tree: Path, into: Path) -> None:
    """Take out of a kernel's tree what modules are built against."""
    for name in _KEPT:
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(tree / name, into / name)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the options that name the kernel's Image and its build tree."""
    parser = argparse.ArgumentParser(prog="ownkernel", description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=CONFIGS)
    name = parser.parse_args(arguments).name
    try:
        cache = Cache(say=lambda text: print(f"ownkernel: {text}", file=sys.stderr))  # noqa: T201
        entry = own_kernel(Roots(cache), name)
    except PyctlError as error:
        print(f"ownkernel: {error.message}\n{error.hint}", file=sys.stderr)  # noqa: T201
        return error.exit_status
    print(shlex.join(["--kernel", f"{entry.path / 'Image'}", "--kdir", f"{entry.path / 'build'}"]))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
