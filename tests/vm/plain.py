# SPDX-License-Identifier: GPL-2.0-only
"""A machine with nothing of ours in it, which `scripts/bench` compares boards with."""

import subprocess
from pathlib import Path

from pyctl.cache import Cache
from pyctl.vm.factory import BoardFactory


def plain_qemu(scratch: Path) -> list[str]:
    """Return a command that boots the same kernel to a one-line shell init and off again."""
    factory = BoardFactory(Cache())
    kernel = factory.roots.kernel(None)
    base = factory.roots.guest().path / "base.cpio"
    root = scratch / "root"
    root.mkdir()
    with base.open("rb") as archive:
        subprocess.run(
            ["cpio", "-idm", "--quiet", "usr/bin/busybox"], stdin=archive, cwd=root, check=True
        )
    (root / "init").write_text("#!/usr/bin/busybox sh\n/usr/bin/busybox poweroff -f\n")
    (root / "init").chmod(0o755)
    with (scratch / "initrd").open("wb") as archive:
        names = subprocess.run(["find", "."], cwd=root, capture_output=True, check=True).stdout
        subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet"],
            input=names,
            stdout=archive,
            cwd=root,
            check=True,
        )
    return [
        *("qemu-system-aarch64", "-machine", "virt,gic-version=3", "-cpu", "neoverse-n1"),
        *("-accel", "tcg,thread=multi", "-smp", "2", "-m", "512", "-nodefaults"),
        *("-display", "none", "-no-reboot", "-serial", f"file:{scratch}/console"),
        *("-kernel", str(kernel.image), "-initrd", str(scratch / "initrd")),
        *("-append", "console=ttyAMA0 loglevel=4 panic=-1 rdinit=/init"),
    ]
