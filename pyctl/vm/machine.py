# SPDX-License-Identifier: GPL-2.0-only
"""One QEMU process: what it is made of, its command line, its life and its end.

The process is tied to ours: it dies with us, however we die. Its console goes
to a file that is only ever read to explain a loss; results travel over the
agent's port (``channel``), and QMP is only spoken to take a snapshot.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shlex
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pyctl.cache import digest
from pyctl.errors import NotReady, UsageError
from pyctl.firmware.boot import boot_blob
from pyctl.firmware.settings import Setting
from pyctl.vm import devicetree
from pyctl.vm.channel import PORT_NAME
from pyctl.vm.devicetree import CONFIG_ADDR, DTB_ADDR, INITRD_ADDR, KERNEL_ADDR, Layout
from pyctl.vm.process import die_with_parent, need_tool, run
from pyctl.vm.snapshot import Snapshot

QEMU = "qemu-system-aarch64"
DEFAULT_CPU = "neoverse-n1"
MIN_MEMORY_MIB = 320
MAX_CPUS = 64
_KVM_CHECK_EXTENSION = 0xAE03  # include/uapi/linux/kvm.h
_KVM_CAP_ARM_EL2 = 240
# Translated code that QEMU keeps. Its own limit is 1 GiB, as much as a board may take in all.
_TRANSLATED_MIB = 256
# Enough for a panic with its call trace.
_CONSOLE_TAIL_LINES = 50


@dataclass(frozen=True)
class Spec:
    """What a user can choose about a board."""

    kernel: str | None = None
    kdir: Path | None = None
    conduit: str = "hvc"
    cpus: int = 2
    memory_mib: int = 512
    cpu: str = DEFAULT_CPU
    accel: str = "auto"
    qemu: str = QEMU
    firmware: tuple[Setting, ...] = ()
    append: str = ""
    # Whether the range that tests may aim at lies above 4 GiB instead of at the end of RAM.
    high_target: bool = False
    # Whether a ready board has the modules loaded.
    load: bool = True
    # Whether it has the target tests collected.
    tests: bool = False

    @property
    def target_addr(self) -> int:
        """The base address of the range that tests may aim at."""
        if self.high_target:
            return devicetree.HIGH_TARGET_ADDR
        return devicetree.RAM_BASE + self.memory_mib * devicetree.MIB - devicetree.TARGET_SIZE

    @property
    def ram_mib(self) -> int:
        """The size of the machine's RAM."""
        if not self.high_target:
            return self.memory_mib
        end = devicetree.HIGH_TARGET_ADDR + devicetree.TARGET_SIZE
        return (end - devicetree.RAM_BASE) // devicetree.MIB

    def __post_init__(self) -> None:
        if not 1 <= self.cpus <= MAX_CPUS:
            raise UsageError(f"--cpus {self.cpus}: a board has 1 to {MAX_CPUS} CPUs")
        if self.memory_mib < MIN_MEMORY_MIB:
            raise UsageError(
                f"--memory {self.memory_mib}: a board needs at least {MIN_MEMORY_MIB} MiB"
            )


@dataclass(frozen=True)
class Parts:
    """The files that a cold boot starts from."""

    stub: Path
    image: Path
    initrd: tuple[Path, ...]


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
                raise NotReady(f"--qemu {name}: no such program")
            return cls(path)
        return cls(Path(need_tool(name, "qemu-system-arm")))

    def key(self) -> str:
        """A key that changes when the binary does."""
        info = self.path.resolve().stat()
        return digest(str(self.path.resolve()), info.st_size, info.st_mtime_ns)

    def version(self) -> str:
        """What the binary says of itself."""
        return run([self.path, "--version"], what="ask QEMU for its version").splitlines()[0]


def resolve_accel(wanted: str) -> str:
    """``kvm`` or ``tcg``.

    Our firmware runs at EL2, so KVM serves only with nested virtualisation.
    """
    if wanted == "tcg":
        return "tcg"
    usable = platform.machine() == "aarch64" and _kvm_has_el2()
    if wanted == "kvm" and not usable:
        raise NotReady(
            "KVM cannot run firmware at EL2 on this host",
            "use --accel tcg; KVM needs an arm64 host with nested virtualisation "
            "(kvm-arm.mode=nested)",
        )
    return "kvm" if usable else "tcg"


def _kvm_has_el2() -> bool:
    try:
        with open("/dev/kvm", "rb") as kvm:
            return fcntl.ioctl(kvm, _KVM_CHECK_EXTENSION, _KVM_CAP_ARM_EL2) > 0
    except OSError:
        return False


def machine_arguments(spec: Spec, accel: str) -> list[str]:
    """The QEMU arguments that describe the machine itself."""
    cpu = "host" if accel == "kvm" else spec.cpu
    if cpu == "max":
        # The architected algorithm is slow to emulate and nothing here needs it.
        cpu = "max,pauth-impdef=on"
    return [
        *("-nodefaults", "-no-user-config", "-display", "none"),
        *("-machine", "virt,virtualization=on,gic-version=3"),
        *("-accel", "kvm" if accel == "kvm" else f"tcg,thread=multi,tb-size={_TRANSLATED_MIB}"),
        *("-cpu", cpu, "-smp", str(spec.cpus), "-m", str(spec.ram_mib)),
    ]


def bootargs(spec: Spec) -> str:
    """The kernel command line."""
    # panic=-1: a panic resets at once, and -no-reboot turns that into QEMU's end.
    # The last two spare a third of the boot: the certificates are for signatures,
    # which no module of the guest has, and nothing here relies on the kernel's
    # cryptography to test itself.
    base = (
        "console=ttyAMA0 loglevel=4 panic=-1 rdinit=/init "
        "initcall_blacklist=load_system_certificate_list cryptomgr.notests"
    )
    return f"{base} {spec.append}".strip()


@dataclass
class Machine:
    """A QEMU process and the sockets to it."""

    qemu: Qemu
    spec: Spec
    run_dir: Path
    accel: str
    # A memfd that holds the guest's memory, for a board that will become a snapshot.
    memory_fd: int | None = None
    process: subprocess.Popen[bytes] | None = None
    agent: socket.socket | None = None
    monitor: socket.socket | None = None
    _restore: socket.socket | None = None

    @property
    def console(self) -> Path:
        """The file that holds what the guest's console printed."""
        return self.run_dir / "console"

    def cold_arguments(self, parts: Parts) -> list[str]:
        """Write the run's device tree and firmware configuration; return the arguments."""
        addr = INITRD_ADDR
        loaders = [(parts.image, KERNEL_ADDR)]
        for path in parts.initrd:
            loaders.append((path, addr))
            # Archives follow each other; the kernel skips zeros up to a word.
            addr += (path.stat().st_size + 511) & ~511
        layout = Layout(
            memory_bytes=self.spec.memory_mib * devicetree.MIB,
            target_addr=self.spec.target_addr,
            initrd_size=addr - INITRD_ADDR,
            conduit=self.spec.conduit,
            bootargs=bootargs(self.spec),
        )
        if addr > layout.target_addr:
            raise UsageError(
                f"--memory {self.spec.memory_mib}: the guest's root does not fit",
                f"give at least {MIN_MEMORY_MIB} MiB",
            )
        tree = self.run_dir / "board.dtb"
        tree.write_bytes(devicetree.patch(self._qemu_tree(), layout))
        loaders.append((tree, DTB_ADDR))
        config = self.run_dir / "firmware.cfg"
        target = range(layout.target_addr, layout.target_addr + devicetree.TARGET_SIZE)
        config.write_bytes(boot_blob(self.spec.firmware, self.spec.conduit, target))
        loaders.append((config, CONFIG_ADDR))
        return [
            *("-kernel", str(parts.stub)),
            *(
                argument
                for path, where in loaders
                for argument in ("-device", f"loader,file={path},addr={where:#x},force-raw=on")
            ),
        ]

    def _qemu_tree(self) -> bytes:
        path = self.run_dir / "qemu.dtb"
        arguments = machine_arguments(self.spec, self.accel)
        arguments[arguments.index("-machine") + 1] += f",dumpdtb={path}"
        run(
            [self.qemu.path, *arguments],
            what="ask QEMU for its device tree",
            hint=f"is it a {QEMU} that knows CPU model '{self.spec.cpu}'? "
            f"see '{self.qemu.path} -cpu help'",
        )
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise NotReady(f"{self.qemu.path} gave no device tree", f"is it a {QEMU}?") from None

    def _memory(self, path: Path, share: str) -> list[str]:
        """The arguments that put the guest's memory into a file.

        Not shared, the file is only read: what the guest writes is its own.
        """
        size = f"{self.spec.ram_mib}M"
        return [
            *("-object", f"memory-backend-file,id=ram,size={size},mem-path={path},share={share}"),
            *("-machine", "memory-backend=ram"),
        ]

    def restore(self, snapshot: Snapshot) -> None:
        """Start QEMU to continue a snapshot. Call ``close`` in every case afterwards."""
        memory = [] if self.memory_fd is not None else self._memory(snapshot.memory, "off")
        ours, theirs = socket.socketpair()
        self.start(
            [
                *memory,
                *("-incoming", "defer"),
                *("-chardev", f"socket,id=restore,fd={theirs.fileno()}"),
                *("-mon", "chardev=restore,mode=control"),
            ],
            (theirs.fileno(),),
        )
        theirs.close()
        # The library that speaks QMP takes longer to import than all the rest. Nothing
        # need be read here: if one of these fails, QEMU ends and says why.
        self._restore = ours
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            ours.sendall(snapshot.restore_commands())

    def command(self, arguments: list[str], agent_fd: int, monitor_fd: int) -> list[str]:
        """The whole QEMU command line."""
        return [
            str(self.qemu.path),
            *machine_arguments(self.spec, self.accel),
            *("-no-reboot", "-serial", f"file:{self.console}"),
            *("-device", "virtio-serial-pci"),
            *("-chardev", f"socket,id=agent,fd={agent_fd}"),
            *("-device", f"virtserialport,chardev=agent,name={PORT_NAME}"),
            *("-chardev", f"socket,id=monitor,fd={monitor_fd}"),
            *("-mon", "chardev=monitor,mode=control"),
            *(
                self._memory(Path(f"/proc/self/fd/{self.memory_fd}"), "on")
                if self.memory_fd is not None
                else ()
            ),
            *arguments,
        ]

    def dry_run(self, arguments: list[str]) -> str:
        """The exact command, printable; its two sockets are inherited descriptors."""
        return shlex.join(self.command(arguments, 3, 4))

    def start(self, arguments: list[str], pass_fds: tuple[int, ...] = ()) -> None:
        """Start QEMU. Call ``close`` in every case afterwards."""
        self.agent, agent_end = socket.socketpair()
        self.agent.setblocking(False)
        self.monitor, monitor_end = socket.socketpair()
        command = self.command(arguments, agent_end.fileno(), monitor_end.fileno())
        memory_fds = () if self.memory_fd is None else (self.memory_fd,)
        with (self.run_dir / "qemu.log").open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(agent_end.fileno(), monitor_end.fileno(), *memory_fds, *pass_fds),
                # Ctrl-C is ours to pass on, not QEMU's to die from.
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        agent_end.close()
        monitor_end.close()

    def ended(self) -> str | None:
        """How QEMU ended, or None while it runs."""
        if self.process is None or self.process.poll() is None:
            return None
        status = self.process.returncode
        said = (self.run_dir / "qemu.log").read_text(errors="replace").strip()
        if "Kernel panic" in self.console_tail(200):
            return "the guest's kernel panicked"
        if status < 0:
            return f"QEMU was killed by {signal.Signals(-status).name}"
        if status > 0:
            return f"QEMU ended with status {status}: {said.splitlines()[-1] if said else ''}"
        return "the guest switched the machine off or reset it"

    def console_tail(self, lines: int = _CONSOLE_TAIL_LINES) -> str:
        """The last lines of the guest's console."""
        try:
            text = self.console.read_bytes().decode(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.replace("\r", "").splitlines()[-lines:])

    def close(self) -> None:
        """End QEMU and let go of its sockets."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for sock in (self.agent, self.monitor, self._restore):
            if sock is not None:
                sock.close()
