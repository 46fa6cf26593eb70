# SPDX-License-Identifier: GPL-2.0-only
"""A board that is about to be had: what a Spec leaves open, looked up once.

Whatever boots, restores or describes the board takes the plan. How it comes
from reset to its kernel is its *recipe*, one class for each kind of board.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol

from pyctl.cache import Entry, Tree, digest
from pyctl.vm.kernel import Kernel
from pyctl.vm.qemu import Qemu
from pyctl.vm.snapshot import FORMAT
from pyctl.vm.spec import Spec

# Translated code that QEMU keeps. Its own limit is 1 GiB, as much as a board may take in all.
_TRANSLATED_MIB = 256
# Imported before a snapshot, so that a command need not import them.
BASE_MODULES = ("click", "json", "psutil", "pyudev", "subprocess", "pytest")
READY_MODULES = ("pyctl.cli.everything",)
# What a snapshot holds that is nobody's file: device tree, QEMU's devices, the way it is written.
_RECIPES = Path(__file__).parent, ("*.py",)


@dataclass(frozen=True)
class Parts:
    """The files that a cold boot starts from."""

    stub: Path
    image: Path
    initrd: tuple[Path, ...]


class Recipe(Protocol):
    """How a kind of board comes from reset to its kernel."""

    @property
    def ram_mib(self) -> int:
        """The size of the machine's RAM."""

    @property
    def key(self) -> str:
        """A key over what it lays into the board, what a Spec says excepted."""

    @property
    def leaves_copies(self) -> bool:
        """Whether the boot leaves whole copies of the root in memory that is then free."""

    @property
    def machine(self) -> list[str]:
        """QEMU's arguments that belong to the machine, also where it continues a snapshot."""

    @property
    def drivers(self) -> tuple[str, ...]:
        """The kernel's own modules that its hardware takes, below drivers/, in order."""

    def arguments(self, plan: BoardPlan, parts: Parts, run_dir: Path) -> list[str]:
        """Write what the boot needs besides ``parts``; give QEMU's arguments for it.

        Raises UsageError where ``parts`` do not fit into the board.
        """


@dataclass(frozen=True)
class BoardPlan:
    """A board with everything that it takes."""

    spec: Spec
    recipe: Recipe
    qemu: Qemu
    accel: str
    kernel: Kernel
    stub: Entry
    guest: Entry
    agent: Entry
    project: Entry

    def root(self, with_project: bool) -> tuple[Path, ...]:
        """The archives that the guest's root is made of, with or without the project's."""
        archives = (self.guest.path / "base.cpio", self.agent.path / "agent.cpio")
        return (*archives, self.project.path / "project.cpio") if with_project else archives

    def machine_arguments(self) -> list[str]:
        """The QEMU arguments that describe the machine itself."""
        cpu = "host" if self.accel == "kvm" else self.spec.cpu
        if cpu == "max":
            # The architected algorithm is slow to emulate and nothing here needs it.
            cpu = "max,pauth-impdef=on"
        tcg = f"tcg,thread=multi,tb-size={_TRANSLATED_MIB}"
        return [
            *("-nodefaults", "-no-user-config", "-display", "none"),
            *("-machine", "virt,virtualization=on,gic-version=3"),
            *("-accel", "kvm" if self.accel == "kvm" else tcg),
            *("-cpu", cpu, "-smp", str(self.spec.cpus), "-m", str(self.recipe.ram_mib)),
            *self.recipe.machine,
        ]

    def boot_arguments(self, run_dir: Path, root: tuple[Path, ...]) -> list[str]:
        """QEMU's arguments for a boot from reset into a root made of archives.

        What the boot needs besides is written to ``run_dir``.
        """
        parts = Parts(self.stub.path / "stub.bin", self.kernel.image, root)
        return self.recipe.arguments(self, parts, run_dir)

    def bootargs(self) -> str:
        """The kernel command line."""
        # panic=-1: a panic resets at once, and -no-reboot turns that into QEMU's end.
        # The last two spare a third of the boot: the certificates are for signatures,
        # which no module of the guest has, and nothing here relies on the kernel's
        # cryptography to test itself.
        base = (
            "console=ttyAMA0 loglevel=4 panic=-1 rdinit=/init "
            "initcall_blacklist=load_system_certificate_list cryptomgr.notests"
        )
        return f"{base} {self.spec.append}".strip()

    @cached_property
    def base_key(self) -> str:
        """The key of a snapshot of the booted board without any project file."""
        # What is left out goes in by what it came to, or only into the ready board.
        chosen = replace(self.spec, kernel=None, kdir=None, qemu="", accel="", firmware=())
        chosen = replace(chosen, stub=None, load=True, tests=False)
        return digest(
            repr(chosen),
            [entry.key for entry in (self.stub, self.guest, self.agent)],
            [self.kernel.key, self.qemu.key(), self.accel],
            self.recipe.key,
            Tree.read(*_RECIPES).key(),
            BASE_MODULES,
            FORMAT,
        )

    @cached_property
    def ready_key(self) -> str:
        """The key of a snapshot of the board that is ready for commands."""
        return digest(
            self.base_key, self.project.key, READY_MODULES, self.spec.load, self.spec.tests
        )


def loaders(placed: Iterable[tuple[Path, int]]) -> list[str]:
    """The arguments that lay files at physical addresses before reset."""
    return [
        argument
        for path, addr in placed
        for argument in ("-device", f"loader,file={path},addr={addr:#x},force-raw=on")
    ]
