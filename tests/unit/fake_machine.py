# SPDX-License-Identifier: GPL-2.0-only
"""A made-up machine for the unit tests: a directory that looks like an arm64 board's root.

It starts in the state where everything is ready; a test takes away or changes
what it is about. The files have the formats of the kernel and of our modules.
The one thing that a plain file cannot do, answer what was written to it, is
done by ``FakeModule``.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pyctl import __version__
from pyctl.target.system import System

RELEASE = "7.3.4+deb13-cloud-arm64"
TARGET = 0x5F00_0000
TARGET_SIZE = 0x100_0000
PROVIDER_SRCVERSION = "0123456789ABCDEF0123456"
TEST_SRCVERSION = "FEDCBA9876543210FEDCBA9"

IOMEM = """\
09000000-09000fff : pl011@9000000
  09000000-09000fff : 9000000.pl011 pl011@9000000
40000000-401fffff : System RAM
  40000000-400fffff : reserved
40200000-403fffff : reserved
40400000-5effffff : System RAM
  40400000-41bfffff : Kernel code
  41c00000-427fffff : reserved
  42800000-42efffff : Kernel data
  48000000-4cffffff : reserved
5f000000-5fffffff : reserved
"""

CONFIG = "CONFIG_GENERIC_CPU_CACHE_MAINTENANCE=y\nCONFIG_KPROBE_EVENTS=y\n"

INFO = {
    "version": __version__,
    "framework": 1,
    "provider": 1,
    "smccc_version": "0x10002",
    "conduit": "hvc",
    "pa_bits": 44,
    "page_size": 4096,
    "dcache_line_size": 64,
    "raw_calls": 0,
    "max_count": 1000000,
    "max_threads": 256,
    "max_request_bytes": 4096,
    "scratch_max_bytes": 1 << 30,
}

ATTRIBUTES = {
    "smccc_version": "0x10002",
    "conduit": "hvc",
    "features_clean_inv": 0,
    "features_attributes": 0,
    "status": 0,
    "x0": "0x0",
    "x1": "0x1",
    "x2": "0xfa",
    "x3": "0x64",
    "x4": "0x200000",
}

PROVIDER_ATTRIBUTES = {
    "smccc_version": "0x10002",
    "conduit": "hvc",
    "status": 0,
    "x0": "0x0",
    "x1": "0x1",
    "x2": "0xfa",
    "x3": "0x64",
    "x4": "0x200000",
    "global": 1,
    "latency_us": 250,
    "rate_per_s": 100,
    "break_even_bytes": 2097152,
    "delay_us": 10000,
}

COUNTERS = {
    "requests": 7,
    "calls": 9,
    "busy": 2,
    "rate_limited": 0,
    "errors": 0,
    "waited_ns": 20000000,
    "last_status": 0,
}


def lines(pairs: dict[str, Any]) -> str:
    """A file of key=value lines."""
    return "".join(f"{key}={value}\n" for key, value in pairs.items())


SIGNATURE = b"anything~Module signature appended~\n"
"""How a file ends that somebody has signed."""


def module_bytes(srcversion: str, release: str = RELEASE) -> bytes:
    """What pyctl reads of a .ko file: the strings of its .modinfo section."""
    strings = (
        f"version={__version__}\0license=GPL\0srcversion={srcversion}\0depends=\0"
        f"name=x\0vermagic={release} SMP preempt mod_unload modversions aarch64\0"
    )
    # What the module prints with lies before it.
    before = b"\x7fELF\2\1\1\0" + b"\0" * 60 + b"version=%s\n\0smccc_version=0x%x\n\0"
    return before + strings.encode() + b"\0version=\0rest"


class Machine:
    """A fake root with a board that is ready for the main job."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.system = System(root, "aarch64", 0)
        self.info = dict(INFO)
        self.write("/proc/sys/kernel/osrelease", RELEASE + "\n")
        self.write("/proc/mounts", "debugfs /sys/kernel/debug debugfs rw,nosuid 0 0\n")
        self.write("/proc/filesystems", "nodev\tsysfs\nnodev\tdebugfs\n\text4\nnodev\ttracefs\n")
        self.write("/proc/iomem", IOMEM)
        self.write("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
        self.write(f"/boot/config-{RELEASE}", CONFIG)
        self.write(f"/lib/modules/{RELEASE}/build/Makefile", "")
        self.modules = root / "built"
        self.write_bytes("/built/memregion_test.ko", module_bytes(TEST_SRCVERSION))
        self.write_bytes("/built/smccc_cache.ko", module_bytes(PROVIDER_SRCVERSION))
        self.reserve("memregion-test@5f000000", TARGET, TARGET_SIZE, "memregion-test")
        self.load_test_module()
        self.load_provider()

    def write(self, name: str, text: str) -> None:
        self.write_bytes(name, text.encode())

    def write_bytes(self, name: str, data: bytes) -> None:
        path = self.system.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, name: str) -> None:
        path = self.system.path(name)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()

    def reserve(self, node: str, addr: int, size: int, compatible: str | None) -> None:
        top = "/proc/device-tree/reserved-memory"
        self.write_bytes(f"{top}/#address-cells", (2).to_bytes(4, "big"))
        self.write_bytes(f"{top}/#size-cells", (2).to_bytes(4, "big"))
        self.write_bytes(f"{top}/{node}/reg", addr.to_bytes(8, "big") + size.to_bytes(8, "big"))
        if compatible:
            self.write(f"{top}/{node}/compatible", compatible + "\0")

    def load_test_module(self) -> None:
        self.write("/sys/module/memregion_test/srcversion", TEST_SRCVERSION + "\n")
        self.write("/sys/module/memregion_test/refcnt", "0\n")
        self.set_info()
        self.set_attributes(**ATTRIBUTES)
        self.write("/sys/kernel/debug/memregion_test/invalidate", "")

    def unload_test_module(self) -> None:
        self.remove("/sys/module/memregion_test")
        self.remove("/sys/kernel/debug/memregion_test")

    def load_provider(self) -> None:
        self.write("/sys/module/smccc_cache/srcversion", PROVIDER_SRCVERSION + "\n")
        self.write("/sys/module/smccc_cache/refcnt", "0\n")
        self.write("/sys/kernel/debug/smccc_cache/attributes", lines(PROVIDER_ATTRIBUTES))
        self.write("/sys/kernel/debug/smccc_cache/counters", lines(COUNTERS))

    def unload_provider(self, registered: int = 0) -> None:
        self.remove("/sys/module/smccc_cache")
        self.remove("/sys/kernel/debug/smccc_cache")
        self.set_info(provider=registered)

    def set_info(self, **changes: Any) -> None:
        self.info.update(changes)
        self.write("/sys/kernel/debug/memregion_test/info", lines(self.info))

    def set_attributes(self, **pairs: Any) -> None:
        self.write("/sys/kernel/debug/memregion_test/attributes", lines(pairs))

    def become(self, machine: str = "aarch64", euid: int = 0) -> None:
        self.system = System(self.root, machine, euid)

    def sign_modules(self) -> None:
        for name in ("memregion_test", "smccc_cache"):
            with (self.modules / f"{name}.ko").open("ab") as file:
                file.write(SIGNATURE)

    def hide_debugfs(self) -> None:
        """As for a user who is not root, or where debugfs is not mounted."""
        self.remove("/sys/kernel/debug")


@dataclass
class FakeModule:
    """Answers requests as memregion_test and our provider would, and remembers them.

    ``record`` changes what the result block says; ``calls_per_request`` is what
    firmware counts per completed call.
    """

    machine: Machine
    record: dict[str, Any] = field(default_factory=dict)
    calls_per_request: int = 1

    @property
    def requests(self) -> list[str]:
        """Everything that was written, in order (kept in a file: the writer is a child)."""
        path = self.machine.root / "requests"
        return path.read_text().splitlines() if path.exists() else []

    def exchange(self, path: Path, request: bytes) -> bytes:
        if path.name == "smccc":
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        with (self.machine.root / "requests").open("a") as log:
            log.write(request.decode())
        asked = dict(word.split("=") for word in request.decode().split())
        calls = int(asked["count"]) * int(asked["threads"])
        answer: dict[str, Any] = {
            "addr": asked["addr"],
            "size": asked["size"],
            "via": asked["via"],
            "count": asked["count"],
            "threads": asked["threads"],
            "dry_run": asked.get("dry_run", 0),
            "errno": 0,
            "completed": calls,
            "vacuous": 0,
            "interrupted": 0,
            "provider": self.machine.info["provider"],
            "min_ns": 900,
            "p50_ns": 1000,
            "p99_ns": 1500,
            "max_ns": 2000000,
            "total_ns": 1000 * calls,
        }
        if asked["via"] == "smccc":
            answer.update(fw_calls=calls, fw_busy=0, fw_rate_limited=0, fw_last_status=0)
        answer.update(self.record)
        if asked["via"] == "memregion":
            self._count(calls * self.calls_per_request)
        return lines(answer).encode()

    def _count(self, calls: int) -> None:
        path = self.machine.system.path("/sys/kernel/debug/smccc_cache/counters")
        if path.exists():
            text = path.read_text()
            before = int(re.search(r"^calls=(\d+)$", text, re.M)[1])
            path.write_text(text.replace(f"\ncalls={before}\n", f"\ncalls={before + calls}\n"))


@dataclass
class Kernel:
    """Takes modules and lets them go, as the system calls in ``kmod`` do."""

    machine: Machine
    failures: dict[str, int] = field(default_factory=dict)
    """``insert NAME`` or ``remove NAME`` -> the errno that it fails with."""
    interrupted_by: str = ""
    """The command whose end a Ctrl-C comes with."""
    commands: list[str] = field(default_factory=list)

    def insert(self, file: Path, *parameters: str) -> None:
        self._note("insert", file.stem, *parameters)
        if file.stem == "smccc_cache":
            self.machine.load_provider()
            self.machine.set_info(provider=1)
        else:
            self.machine.info["raw_calls"] = int("raw_calls=1" in parameters)
            self.machine.load_test_module()
        if self.interrupted_by == f"insert {file.stem}":
            raise KeyboardInterrupt

    def remove(self, name: str) -> None:
        self._note("remove", name)
        if name == "smccc_cache":
            self.machine.unload_provider()
        else:
            self.machine.unload_test_module()

    def _note(self, *words: str) -> None:
        self.commands.append(" ".join(words))
        if number := self.failures.get(" ".join(words[:2])):
            raise OSError(number, os.strerror(number))
