# SPDX-License-Identifier: GPL-2.0-only
"""QEMU as the host has it: where it is, what it can, and what it says of a machine."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pyctl.cache import digest
from pyctl.errors import NotReady
from pyctl.vm.process import need_tool, run
from pyctl.vm.spec import QEMU

_KVM_CHECK_EXTENSION = 0xAE03  # include/uapi/linux/kvm.h
_KVM_CAP_ARM_EL2 = 240


@dataclass(frozen=True)
class Qemu:
    """A QEMU binary of the host."""

    path: Path

    @classmethod
    def find(cls, name: str) -> Qemu:
        """Find the binary; NotReady says which package holds it."""
        if "/" in name:
            path = Path(name)
            if not os.access(path, os.X_OK):
                raise NotReady(f"There is no program {name}.", "Name a QEMU with --qemu.")
            return cls(path)
        return cls(Path(need_tool(name, "qemu-system-arm")))

    def key(self) -> str:
        """A key that changes when the binary does."""
        info = self.path.resolve().stat()
        return digest(str(self.path.resolve()), info.st_size, info.st_mtime_ns)

    def version(self) -> str:
        """What the binary says of itself."""
        return run([self.path, "--version"], what="ask QEMU for its version").splitlines()[0]

    def device_tree(self, machine: Sequence[str], run_dir: Path) -> bytes:
        """The device tree that QEMU makes for a machine with these arguments.

        Raises NotReady where the program is no QEMU, or does not know such a machine.
        """
        path = run_dir / "qemu.dtb"
        arguments = list(machine)
        arguments[arguments.index("-machine") + 1] += f",dumpdtb={path}"
        cpu = arguments[arguments.index("-cpu") + 1]
        run(
            [self.path, *arguments],
            what="ask QEMU for its device tree",
            hint=f"Is it a {QEMU} that knows CPU model '{cpu}'? See '{self.path} -cpu help'.",
        )
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise NotReady(f"{self.path} gave no device tree.", f"Is it a {QEMU}?") from None


def resolve_accel(wanted: str) -> str:
    """``kvm`` or ``tcg``.

    Our firmware runs at EL2, so KVM serves only with nested virtualisation.
    """
    if wanted == "tcg":
        return "tcg"
    usable = platform.machine() == "aarch64" and _kvm_has_el2()
    if wanted == "kvm" and not usable:
        raise NotReady(
            "KVM cannot run firmware at EL2 on this host.",
            "Use --accel tcg; KVM needs an arm64 host with nested virtualisation "
            "(kvm-arm.mode=nested).",
        )
    return "kvm" if usable else "tcg"


def _kvm_has_el2() -> bool:
    try:
        with open("/dev/kvm", "rb") as kvm:
            return fcntl.ioctl(kvm, _KVM_CHECK_EXTENSION, _KVM_CAP_ARM_EL2) > 0
    except OSError:
        return False
