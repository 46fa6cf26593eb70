# SPDX-License-Identifier: GPL-2.0-only
"""The board of the network: reached by ssh and by nothing else, with nothing of ours in it.

Debian packages, a kernel of Debian's, and sshd behind a port of the loopback
address. What a lab's board has been given by its people is made here: keys, an
address, and a process 1. The board runs for as long as the process that started it;
``boards`` finds those of all processes.

It continues a snapshot of a board whose sshd has answered. So boards of one kind have
the same keys, and begin with the same random numbers: no secret of theirs is one, and
the loopback address is all that they are reached from. Their clock is set.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.cache import Cache, Entry, digest
from pyctl.errors import NotReady, TargetLost
from pyctl.vm import clearing
from pyctl.vm.build import FSTAB
from pyctl.vm.kernel import Kernel
from pyctl.vm.machine import QemuProcess
from pyctl.vm.plan import BoardPlan
from pyctl.vm.process import need_tool, run
from pyctl.vm.roots import Roots, make_cpio
from pyctl.vm.snapshot import Snapshot, shared_memory

PACKAGES = ("openssh-server", "openssh-sftp-server")
USER = "root"
HOST = "127.0.0.1"
BOOT_TIMEOUT_S = 180.0
_POLL_S = 0.1
# In the order in which they need each other.
_MODULES = ("net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net")
# QEMU's own network, in which there is nothing but the host.
_INIT = """\
#!/bin/sh
mount -a
/usr/bin/busybox mkdir -p /dev/pts /dev/shm /run/sshd
mount -t devpts devpts /dev/pts
/usr/bin/busybox --install -s /usr/bin
hostname -F /etc/hostname
cd /lib/modules/*/kernel && for module in %s; do insmod $module; done
ip link set lo up
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
exec /usr/bin/busybox init
"""
_FILES = {
    "etc/inittab": "::respawn:/usr/sbin/sshd -D -e\n::shutdown:/usr/bin/busybox umount -a -r\n",
    "etc/passwd": "root:*:0:0:root:/root:/bin/sh\n"
    "sshd:*:101:65534::/run/sshd:/usr/sbin/nologin\n"
    "nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    "etc/group": "root:*:0:\nnogroup:*:65534:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
    "etc/hosts": "127.0.0.1 localhost board\n",
    "etc/hostname": "board\n",
    "etc/ssh/sshd_config": "PasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    "PermitRootLogin prohibit-password\nAcceptEnv LANG LC_*\n"
    "Subsystem sftp /usr/lib/openssh/sftp-server\n",
    "etc/fstab": FSTAB,
}
_RECORD = "board.json"
_CONFIG = "ssh_config"
_KEYS = ("user_key", "host_key", "host_key.pub")
# At some 250 MiB each.
KEPT_SNAPSHOTS = 4
# The exit status that is ssh's own, and how often a connection is tried.
_SSH_FAILED, _ATTEMPTS = 255, 5


@dataclass(frozen=True)
class Reach:
    """How a running board of the network is reached; ``pid`` is the process that it ends with."""

    port: int
    pid: int
    config: Path
    kernel: str
    boot: str

    @property
    def destination(self) -> str:
        """The board as ssh's command line names it, with ``config``."""
        return f"{USER}@{HOST}"

    def command(self, *words: str) -> list[str]:
        """The ssh command that runs ``words`` on the board, or a shell."""
        return ["ssh", "-F", str(self.config), self.destination, *words]

    def as_json(self) -> dict[str, Any]:
        """The keys by which `pyctl vm list --json` tells of it."""
        known = {"port": self.port, "pid": self.pid, "kernel": self.kernel, "boot": self.boot}
        return known | {"address": HOST, "user": USER, "ssh_config": str(self.config)}


@contextlib.contextmanager
def serve(
    cache: Cache, roots: Roots, plan: BoardPlan, port: int = 0, packages: Sequence[str] = ()
) -> Iterator[tuple[QemuProcess, Reach]]:
    """Have a board of the network, and end it with the block; port 0 is any that is free.

    ``packages`` are those of Debian's that it has besides its own. Raises TargetLost where
    sshd does not answer, NotReady where the port is taken or a tool is missing.
    """
    port = free_port(port)
    kind = _Kind(
        cache, plan, roots.plain((*PACKAGES, *packages)), roots.kernel_modules(plan.kernel)
    )
    with cache.scratch("board") as run_dir, contextlib.ExitStack() as stack:
        process = kind.continued(run_dir, port, stack)
        if process is None:
            process = stack.enter_context(kind.booted(run_dir, port))
        reach = Reach(port, os.getpid(), run_dir / _CONFIG, plan.kernel.release, plan.spec.boot)
        (run_dir / _RECORD).write_text(json.dumps(reach.as_json()))
        yield process, reach


@dataclass(frozen=True)
class _Kind:
    """A kind of board: the plan, the root that its packages make, and its kernel's modules."""

    cache: Cache
    plan: BoardPlan
    base: Entry
    drivers: Entry

    def continued(
        self, run_dir: Path, port: int, stack: contextlib.ExitStack
    ) -> QemuProcess | None:
        """A board that continues a snapshot and ends with ``stack``; None where that cannot be."""
        if self.plan.accel != "tcg":
            return None
        entry = self._snapshot()
        with contextlib.ExitStack() as attempt:
            process = QemuProcess(self.plan, run_dir, network=_network(port))
            attempt.callback(process.close)
            try:
                for name in _KEYS:
                    shutil.copy(entry.path / name, run_dir)
                process.restore(Snapshot(entry.path))
                _listen(process, run_dir, port, "date", "-s", f"@{time.time():.0f}")
            except TargetLost as error:
                self.cache.remove(entry)
                self.cache.say(f"Snapshot {entry.key} cannot be continued. {error.message}")
                return None
            stack.push(attempt.pop_all())
            return process

    def _snapshot(self) -> Entry:
        """The snapshot of a board whose sshd has answered, made if need be, and its keys."""

        def make(work: Path) -> None:
            clear = ("python3", "-c", Path(clearing.__file__).read_text())
            with (
                self.cache.scratch("board") as run_dir,
                shared_memory(self.plan.recipe.ram_mib << 20, None) as memory_fd,
                self.booted(run_dir, free_port(), memory_fd, clear) as process,
            ):
                assert process.monitor is not None
                Snapshot(work).save(process.monitor, memory_fd)
                for name in _KEYS:
                    shutil.copy(run_dir / name, work)

        key = digest(self.plan.base_key, self.base.key, self.drivers.key)
        self.cache.keep_newest("network", KEPT_SNAPSHOTS)
        return self.cache.get("network", key, "a snapshot of a board that ssh reaches", make)

    @contextlib.contextmanager
    def booted(
        self,
        run_dir: Path,
        port: int,
        memory_fd: int | None = None,
        words: Sequence[str] = ("true",),
    ) -> Iterator[QemuProcess]:
        """A board that was booted from reset with keys of its own, and has run ``words``."""
        keygen = need_tool("ssh-keygen", "openssh-client")
        for name in ("user_key", "host_key"):
            options = ["-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", str(run_dir / name)]
            run([keygen, *options], what="make the board's keys")
        packages = self.base.describe()["packages"]
        own = _own_root(run_dir, self.plan.kernel, self.drivers.path / "modules", packages)
        process = QemuProcess(self.plan, run_dir, memory_fd, _network(port))
        try:
            process.boot((self.base.path / "base.cpio", own))
            _listen(process, run_dir, port, *words)
            yield process
        finally:
            process.close()


def _listen(process: QemuProcess, run_dir: Path, port: int, *words: str) -> None:
    """Wait until a board can be reached, and run a command there."""
    config = _config(run_dir, port)
    wait_for_sshd(process, port)
    ssh = [need_tool("ssh", "openssh-client"), "-F", str(config), f"{USER}@{HOST}"]
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            done = subprocess.run(
                [*ssh, shlex.join(words)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=BOOT_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired:
            why = f"a command over ssh did not end in {BOOT_TIMEOUT_S:g} s"
            raise _lost(process, why) from None
        # A board that is only just up, or only just continued, may drop a connection.
        if done.returncode != _SSH_FAILED or attempt == _ATTEMPTS or process.ended():
            break
        time.sleep(1)
    if done.returncode:
        raise _lost(process, f"a command over ssh failed: {done.stderr.strip()}")


def free_port(wanted: int = 0) -> int:
    """A port that nobody uses yet: the wanted one, or for 0 any. Raises NotReady."""
    try:
        with socket.create_server((HOST, wanted)) as server:
            port: int = server.getsockname()[1]
            return port
    except OSError as error:
        raise NotReady(
            f"Port {wanted} of {HOST} cannot be used: {error.strerror}.",
            "Name another, or leave --port out.",
        ) from None


def _network(port: int) -> tuple[str, ...]:
    return (
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        # Keys want random numbers, and the board has no other source of them.
        *("-device", "virtio-rng-pci,romfile="),
    )


def _own_root(run_dir: Path, kernel: Kernel, modules: Path, packages: dict[str, str]) -> Path:
    """The archive with what is this board's alone: its configuration, drivers and keys.

    ``packages`` are those in its root, each with its version.
    """
    top = run_dir / "root"
    drivers = [next(modules.glob(f"kernel/{name}.ko*")) for name in _MODULES]
    texts = _FILES | {
        "init": _INIT % " ".join(str(path.relative_to(modules / "kernel")) for path in drivers),
        "root/.ssh/authorized_keys": (run_dir / "user_key.pub").read_text(),
        "etc/ssh/ssh_host_ed25519_key": (run_dir / "host_key").read_text(),
    }
    for name, text in texts.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755 if name == "init" else 0o600 if "key" in name else 0o644)
    for name in ("boot", "home", "var/lib", "var/log", "var/tmp"):
        (top / name).mkdir(parents=True)
    (top / "var/tmp").chmod(0o1777)
    if any(name.startswith("dpkg:") for name in packages):
        _dpkg_record(top, packages)
    if kernel.config is not None:
        shutil.copy(kernel.config, top / f"boot/config-{kernel.release}")
    for path in drivers:
        inside = top / "usr/lib/modules" / kernel.release / path.relative_to(modules)
        inside.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, inside)
    (top / "root").chmod(0o700)
    make_cpio(top, run_dir / "own.cpio")
    return run_dir / "own.cpio"


def _dpkg_record(top: Path, packages: dict[str, str]) -> None:
    """Record the packages of a root as dpkg would have, had it unpacked them.

    So dpkg and apt can install what needs them. Which files are whose is not recorded.
    """
    record = top / "var/lib/dpkg"
    for name in ("info", "updates"):
        (record / name).mkdir(parents=True)
    for name in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (top / name).mkdir(parents=True)
    (record / "info/format").write_text("1\n")
    (record / "available").touch()
    stanzas = []
    for named, version in packages.items():
        name, _, arch = named.partition(":")
        (record / f"info/{name}.list").touch()
        stanzas.append(
            f"Package: {name}\nStatus: install ok installed\nMaintainer: Debian\n"
            # A package may ask for python3 of any architecture.
            "Multi-Arch: allowed\n"
            f"Architecture: {arch}\nVersion: {version}\nDescription: {name}\n"
        )
    (record / "status").write_text("\n".join(stanzas))
    if any(name.startswith("dash:") for name in packages):
        # Busybox would take its own dpkg for that of a script.
        (top / "usr/bin").mkdir(parents=True)
        (top / "usr/bin/sh").symlink_to("dash")


def _config(run_dir: Path, port: int) -> Path:
    """Write the configuration with which ssh reaches the board, and asks nothing."""
    known = run_dir / "known_hosts"
    known.write_text(f"[{HOST}]:{port} {(run_dir / 'host_key.pub').read_text()}")
    config = run_dir / _CONFIG
    config.write_text(
        f"Host {HOST}\n  Port {port}\n  User {USER}\n  IdentityFile {run_dir / 'user_key'}\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {known}\n  StrictHostKeyChecking yes\n"
        "  BatchMode yes\n  LogLevel ERROR\n"
    )
    return config


def wait_for_sshd(process: QemuProcess, port: int) -> None:
    """Wait until the board's sshd introduces itself; raise TargetLost where it never does."""
    deadline = time.monotonic() + BOOT_TIMEOUT_S
    while time.monotonic() < deadline:
        if (why := process.ended()) is not None:
            raise _lost(process, why)
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1) as connection:
            # QEMU takes the connection before there is anybody behind it.
            connection.settimeout(5)
            if connection.recv(4) == b"SSH-":
                return
        time.sleep(_POLL_S)
    raise _lost(process, f"its sshd did not answer within {BOOT_TIMEOUT_S:g} s")


def wait_for_end(process: QemuProcess) -> None:
    """Wait until the board switches itself off; raise TargetLost where it ends otherwise."""
    assert process.process is not None
    while (why := process.ended()) is None:
        time.sleep(_POLL_S)
    if process.process.returncode != 0 or process.panicked():
        raise _lost(process, why)


def _lost(process: QemuProcess, why: str) -> TargetLost:
    return TargetLost(
        f"The virtual board was lost: {why}.",
        "The console's last lines tell more.",
        process.console_tail(),
    )


def boards(cache: Cache) -> list[dict[str, Any]]:
    """What is known of the running boards of the network, of all processes; see ``Reach``."""
    found = []
    for record in sorted(cache.root.glob(f"tmp/board-*/{_RECORD}")):
        # It may go at any time.
        with contextlib.suppress(OSError, ValueError):
            if cache.is_in_use(record.parent):
                found.append(json.loads(record.read_text()))
    return found
