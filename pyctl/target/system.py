# SPDX-License-Identifier: GPL-2.0-only
"""The machine that pyctl looks at: the one root for procfs, sysfs and debugfs.

Everything in the library that reads the machine takes a ``System``. On a real
machine that is ``System.this()``; the unit tests hand in a directory that looks
like one, with the architecture and the user they want to see.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_ARM_BOOT_FLAGS = 129
"""Offset in the FADT."""
_PSCI_COMPLIANT, _PSCI_USES_HVC = 1, 2


@dataclass(frozen=True)
class System:
    """Where the machine's files are, and what cannot be read from a file.

    ``root`` stands for ``/``; ``machine`` is the architecture as uname says it;
    ``euid`` is the user who asks.
    """

    root: Path
    machine: str
    euid: int

    @classmethod
    def this(cls) -> System:
        """The running machine."""
        return cls(Path("/"), os.uname().machine, os.geteuid())

    @property
    def is_real(self) -> bool:
        """True where libudev and the kernel agree with what the files say."""
        return self.root == Path("/")

    def path(self, absolute: str) -> Path:
        """Where the file called ``absolute`` on the machine really is."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """Stripped text of a file, or None where it cannot be read."""
        try:
            return self.path(absolute).read_text(errors="replace").strip()
        except OSError:
            return None

    @property
    def release(self) -> str:
        """Release of the running kernel, such as ``7.3.4+deb13-cloud-arm64``."""
        return self.text("/proc/sys/kernel/osrelease") or os.uname().release

    @property
    def headers(self) -> Path:
        """Where the headers of the running kernel are, if they are installed."""
        return self.path(f"/lib/modules/{self.release}/build")

    @property
    def is_locked_down(self) -> bool | None:
        """Whether lockdown restricts debugfs and unsigned modules; None if nobody says."""
        state = self.text("/sys/kernel/security/lockdown")
        return None if state is None else "[none]" not in state

    @property
    def psci_conduit(self) -> str | None:
        """The conduit, hvc or smc, that the machine's description names for PSCI.

        That is the device tree, or ACPI's table FADT (ACPI 6.5, section 5.2.9, "ARM Boot
        Architecture Flags": PSCI is there, and uses HVC). None where neither says it.
        """
        if method := (self.text("/proc/device-tree/psci/method") or "").rstrip("\0"):
            return method
        try:
            fadt = self.path("/sys/firmware/acpi/tables/FACP").read_bytes()
        except OSError:
            return None
        flags = int.from_bytes(fadt[_ARM_BOOT_FLAGS : _ARM_BOOT_FLAGS + 2], "little")
        if not flags & _PSCI_COMPLIANT:
            return None
        return "hvc" if flags & _PSCI_USES_HVC else "smc"

    def offers(self, kind: str) -> bool:
        """Whether the kernel can mount a file system of ``kind``; true where it does not say."""
        text = self.text("/proc/filesystems")
        return text is None or kind in text.split()

    def has_mount(self, point: str, kind: str) -> bool:
        """Whether a file system of ``kind`` is mounted at ``point``."""
        lines = (self.text("/proc/mounts") or "").splitlines()
        return any(line.split()[1:3] == [point, kind] for line in lines)
