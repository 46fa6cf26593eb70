# SPDX-License-Identifier: GPL-2.0-only
"""What a virtual board needs of this project, built for it: stub, modules, files.

Three cache entries. The stub and the modules are built in the toolchain root
of the board's suite; the project's own files (Python, tests, modules) become an
archive that the agent unpacks, so that a change of them needs no new boot.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from pyctl.cache import Cache, Entry, Tree, digest
from pyctl.errors import NotReady, UsageError
from pyctl.kbuild import make_command, module_source
from pyctl.vm.kernel import Kernel
from pyctl.vm.process import run
from pyctl.vm.roots import COMPILER, Roots, make_cpio

STUB_DIR = Path(__file__).resolve().parent / "stub"
TOP = STUB_DIR.parents[2]
"""Where pyctl lies: a checkout, or other people's packages beside it."""
GUEST_TOP = Path("opt/pyctl")
_STUB_FILES = ("*.S", "*.c", "*.h", "*.ld", "cflags")
_PROJECT_FILES = ("pyctl/**/*.py",)
_CHECKOUT_FILES = ("tests/**/*", "pyproject.toml")
# What process 1 has imported before any other file of the project is there.
AGENT_FILES = (
    "pyctl/__init__.py",
    "pyctl/vm/__init__.py",
    "pyctl/vm/agent.py",
    "pyctl/vm/channel.py",
    "pyctl/vm/clearing.py",
    "pyctl/vm/command.py",
)
# The agent waits for what another CPU can do meanwhile. It does without Python's
# site packages, until it is to import something from there.
_INIT = """\
#!/bin/sh
mount -a
for driver in /opt/drivers/*.ko*; do
	[ -e "$driver" ] && insmod "$driver"
done
{
	/usr/bin/busybox mkdir -p /dev/pts /dev/shm
	mount -t devpts devpts /dev/pts
	/usr/bin/busybox --install -s /usr/bin
} &
export PYTHONPATH=/opt/pyctl
exec /usr/bin/python3 -S -c 'from pyctl.vm.agent import main; main()'
"""
FSTAB = """\
proc /proc proc
sysfs /sys sysfs
devtmpfs /dev devtmpfs
debugfs /sys/kernel/debug debugfs
securityfs /sys/kernel/security securityfs
tmpfs /run tmpfs
tmpfs /tmp tmpfs
"""
_PYCTL = """\
#!/bin/sh
exec /usr/bin/python3 -m pyctl "$@"
"""
_TOOLS = "/usr/bin:/usr/sbin"
# What the agent's port needs where it is not in the kernel (Linux 6.1), in the order in
# which they need each other.
_DRIVERS = (
    *("virtio/virtio", "virtio/virtio_ring", "virtio/virtio_pci_legacy_dev"),
    *("virtio/virtio_pci_modern_dev", "virtio/virtio_pci", "char/virtio_console"),
)


class Builder:
    """Builds, or finds in the cache, what a board needs of this project."""

    def __init__(self, cache: Cache, roots: Roots) -> None:
        self.cache = cache
        self.roots = roots

    def stub(self, source: Path | None = None) -> Entry:
        """The entry that holds ``stub.bin``, the firmware, and ``stub.elf``, its symbols.

        They are made of our source, or of another in the directory ``source``. Raises NotReady
        where it does not build.
        """
        tree = stub_source(source or STUB_DIR)
        key = digest(tree.key(), self.roots.toolchain_key())
        return self.cache.get(
            "stub", key, "the firmware stub", lambda work: self._make_stub(work, tree)
        )

    def _make_stub(self, work: Path, tree: Tree) -> None:
        with self.roots.build_root() as top:
            tree.write(top / "build")
            sources = [name for name, _, _ in tree.files if name.endswith((".S", ".c"))]
            script = (
                f"cd /build && {COMPILER} @cflags -T stub.ld -o stub.elf {' '.join(sources)}"
                " && aarch64-linux-gnu-objcopy -O binary stub.elf stub.bin"
            )
            run(
                ["chroot", top, "/usr/bin/env", f"PATH={_TOOLS}", "sh", "-c", script],
                what="compile the firmware stub",
            )
            for name in ("stub.elf", "stub.bin"):
                shutil.copy(top / "build" / name, work)

    def modules(self, kernel: Kernel, source: Tree | None = None) -> Entry:
        """The entry that holds the kernel modules for a kernel, made of our source or another."""
        tree = source or module_source()
        return self.cache.get(
            "modules",
            digest(tree.key(), kernel.key, self.roots.toolchain_key()),
            f"the modules for {kernel.release}",
            lambda work: self._make_modules(work, tree, kernel),
        )

    def _make_modules(self, work: Path, tree: Tree, kernel: Kernel) -> dict[str, str]:
        with self.roots.build_root(kernel) as top:
            tree.write(top / "build")
            arguments = [
                *("-s", "W=1", "ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-"),
                f"CC={COMPILER}",
                "KCFLAGS=-Werror",
                # W=1 checks comments with kernel-doc, which was Perl before Linux 6.19 and
                # wants modules that the root lacks. Newer kernels check the same comments.
                *(["cmd_checkdoc="] if kernel.version < (6, 19) else []),
            ]
            make = make_command(kernel.kdir, Path("/build"), arguments)
            command: list[str | Path] = ["chroot", top, "/usr/bin/env", f"PATH={_TOOLS}", *make]
            if kernel.headers is None:
                # A build tree of the host's: show it at its own path.
                inside = top / str(kernel.kdir).lstrip("/")
                inside.mkdir(parents=True)
                script = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
                command = [
                    *("unshare", "--mount", "--", "sh", "-c", script, "sh"),
                    *(kernel.kdir, inside),
                    *command,
                ]
            run(command, what=f"build the modules for {kernel.release}")
            for module in (top / "build").rglob("*.ko"):
                # Debugging information would only fill guest memory.
                run(
                    [
                        *("chroot", top, "/usr/bin/aarch64-linux-gnu-strip", "--strip-debug"),
                        Path("/") / module.relative_to(top),
                    ],
                    what=f"strip {module.name}",
                )
                shutil.copy(module, work)
        return {"release": kernel.release}

    def agent(self, kernel: Kernel, more: Sequence[str] = ()) -> Entry:
        """The entry that holds ``agent.cpio``: /init, the agent, and the drivers that it needs.

        ``more`` are drivers of the board's hardware.
        """
        tree = Tree.read(TOP, AGENT_FILES)
        drivers = self._drivers(kernel, more)
        own = [kernel.key, [str(path.name) for path in drivers]] if drivers else []
        key = digest(_INIT, FSTAB, _PYCTL, tree.key(), self.roots.toolchain_key(), own)

        def make(work: Path) -> None:
            top = work / "root"
            tree.write(top / GUEST_TOP)
            self.roots.compile_python(top, [str(GUEST_TOP)])
            files = {"init": _INIT, "etc/fstab": FSTAB, "usr/local/bin/pyctl": _PYCTL}
            for name, text in files.items():
                (top / name).parent.mkdir(parents=True, exist_ok=True)
                (top / name).write_text(text)
                (top / name).chmod(0o755)
            (top / "opt/drivers").mkdir()
            for number, driver in enumerate(drivers):
                shutil.copy(driver, top / f"opt/drivers/{number:02}-{driver.name}")
            make_cpio(top, work / "agent.cpio")
            shutil.rmtree(top)

        return self.cache.get("agent", key, "the guest's agent", make)

    def _drivers(self, kernel: Kernel, more: Sequence[str]) -> list[Path]:
        """Modules of the kernel's own, in order: those by which the agent is reached, and ``more``.

        Raises NotReady where the kernel has no such module.
        """
        config = kernel.config.read_text() if kernel.config else ""
        names = [*(_DRIVERS if "CONFIG_VIRTIO_CONSOLE=m" in config else ()), *more]
        if not names:
            return []
        if kernel.config is None:
            raise NotReady(
                f"The board's hardware needs {', '.join(names)}, and only Debian's kernels bring "
                "modules of their own.",
                "Leave --kernel PATH out.",
            )
        modules = self.roots.kernel_modules(kernel).path / "modules/kernel/drivers"
        found = [(name, [*modules.glob(f"{name}.ko*")]) for name in names]
        if missing := [name for name, paths in found if not paths]:
            raise NotReady(
                f"The kernel {kernel.release} lacks {', '.join(missing)}, which the board needs.",
                "Take another kernel with --kernel.",
            )
        return [paths[0] for _name, paths in found]

    def project(self, kernel: Kernel) -> Entry:
        """The entry that holds ``project.cpio``: the project as the guest sees it."""
        modules = self.modules(kernel)
        has_tests = (TOP / "pyproject.toml").exists()
        tree = Tree.read(TOP, _PROJECT_FILES + (_CHECKOUT_FILES if has_tests else ()))
        key = digest(tree.key(), modules.key, self.roots.toolchain_key())

        def make(work: Path) -> None:
            top = work / "root"
            tree.write(top / GUEST_TOP)
            self.roots.compile_python(top, [str(GUEST_TOP)])
            if has_tests:
                self._compile_tests(top / GUEST_TOP)
            shutil.copytree(modules.path, top / GUEST_TOP / "modules", ignore=_no_manifest)
            if kernel.config is not None:
                (top / "boot").mkdir()
                shutil.copy(kernel.config, top / f"boot/config-{kernel.release}")
            make_cpio(top, work / "project.cpio")
            shutil.rmtree(top)

        return self.cache.get("project", key, "the project's files for the guest", make)

    def _compile_tests(self, project: Path) -> None:
        """Add the target tests as bytecode with pytest's assertions in it.

        Pytest makes it when it collects tests, which on a board takes seconds for every
        kind of board, and uses it for the very same file only: same path, time and size.
        """
        with self.roots.build_root() as top:
            inside = top / GUEST_TOP
            shutil.copytree(project, inside)
            script = (
                f"cd /{GUEST_TOP} && python3 -m pytest --collect-only -qq -p no:cacheprovider"
                " --target=local --rootdir=. tests/target"
            )
            # Tests that cannot be collected are for the board to report.
            with contextlib.suppress(NotReady):
                run(
                    ["chroot", top, "/usr/bin/env", "-i", f"PATH={_TOOLS}", "sh", "-c", script],
                    what="collect the target tests",
                )
            for made in inside.rglob("*-pytest-*.pyc"):
                shutil.copy2(made, project / made.relative_to(inside))


def stub_source(directory: Path = STUB_DIR) -> Tree:
    """The files that the stub is made of. Raises UsageError where there are none."""
    tree = Tree.read(directory, _STUB_FILES)
    if "stub.ld" not in (name for name, _, _ in tree.files):
        raise UsageError(
            f"There is no source of the firmware stub in {directory}.",
            f"Begin with a copy of {STUB_DIR}.",
        )
    return tree


def _no_manifest(_directory: str, names: list[str]) -> list[str]:
    return [name for name in names if not name.endswith(".ko")]
