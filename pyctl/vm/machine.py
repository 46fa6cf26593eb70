# SPDX-License-Identifier: GPL-2.0-only
"""One QEMU process: its command line, its life and its end.

The process is tied to ours: it dies with us, however we die. Its console goes
to a file that is only ever read to explain a loss; results travel over the
agent's port (``channel``), and QMP is only spoken to take a snapshot.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from pyctl.vm.channel import PORT_NAME
from pyctl.vm.plan import BoardPlan
from pyctl.vm.process import die_with_parent
from pyctl.vm.snapshot import Snapshot

# Enough for a panic with its call trace.
_CONSOLE_TAIL_LINES = 50


@dataclass
class QemuProcess:
    """A QEMU process and the sockets to it."""

    plan: BoardPlan
    run_dir: Path
    # A memfd that holds the guest's memory, for a board that will become a snapshot.
    memory_fd: int | None = None
    # QEMU's arguments for a network, which a board has in place of the agent's port.
    network: tuple[str, ...] = ()
    process: subprocess.Popen[bytes] | None = None
    agent: socket.socket | None = None
    monitor: socket.socket | None = None
    _restore: socket.socket | None = None

    @property
    def console(self) -> Path:
        """The file that holds what the guest's console printed."""
        return self.run_dir / "console"

    def boot(self, root: tuple[Path, ...]) -> None:
        """Start QEMU from reset, with archives as root. Call ``close`` in every case afterwards."""
        self._start(self.plan.boot_arguments(self.run_dir, root))

    def _memory(self, path: Path, share: str) -> list[str]:
        """The arguments that put the guest's memory into a file.

        Not shared, the file is only read: what the guest writes is its own.
        """
        size = f"{self.plan.recipe.ram_mib}M"
        return [
            *("-object", f"memory-backend-file,id=ram,size={size},mem-path={path},share={share}"),
            *("-machine", "memory-backend=ram"),
        ]

    def restore(self, snapshot: Snapshot) -> None:
        """Start QEMU to continue a snapshot. Call ``close`` in every case afterwards."""
        memory = [] if self.memory_fd is not None else self._memory(snapshot.memory, "off")
        ours, theirs = socket.socketpair()
        self._start(
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
            str(self.plan.qemu.path),
            *self.plan.machine_arguments(),
            *("-no-reboot", "-serial", f"file:{self.console}"),
            *(self.network or _agent_port(agent_fd)),
            *("-chardev", f"socket,id=monitor,fd={monitor_fd}"),
            *("-mon", "chardev=monitor,mode=control"),
            *(
                self._memory(Path(f"/proc/self/fd/{self.memory_fd}"), "on")
                if self.memory_fd is not None
                else ()
            ),
            *arguments,
        ]

    def dry_run(self) -> str:
        """The exact command of ``boot``, printable; its two sockets are inherited descriptors."""
        arguments = self.plan.boot_arguments(self.run_dir, self.plan.root(with_project=True))
        return shlex.join(self.command(arguments, 3, 4))

    def _start(self, arguments: list[str], pass_fds: tuple[int, ...] = ()) -> None:
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
        if self.panicked():
            return "the guest's kernel panicked"
        if status < 0:
            return f"QEMU was killed by {signal.Signals(-status).name}"
        if status > 0:
            return f"QEMU ended with status {status}: {said.splitlines()[-1] if said else ''}"
        return "the guest switched the machine off or reset it"

    def panicked(self) -> bool:
        """Whether the guest's kernel said on the console that it panicked."""
        return "Kernel panic" in self.console_tail(200)

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


def _agent_port(fd: int) -> list[str]:
    return [
        *("-device", "virtio-serial-pci,bus=pcie.0"),
        *("-chardev", f"socket,id=agent,fd={fd}"),
        *("-device", f"virtserialport,chardev=agent,name={PORT_NAME}"),
    ]
