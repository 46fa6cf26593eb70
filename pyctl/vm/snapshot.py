# SPDX-License-Identifier: GPL-2.0-only
"""Write a running board to a file.

A snapshot is QEMU's own migration stream.  The board must be idle (its agent
waits for a request), for whatever is half done would come back half done.
"""

from __future__ import annotations

import asyncio
import shlex
import socket
import time
from pathlib import Path

from qemu.qmp import QMPClient, QMPError

from pyctl.errors import OperationFailed

# Only a file is written; QEMU's default limit is meant for networks.
_MAX_BYTES_PER_S = 1 << 40
_POLL_S = 0.02
_SAVE_TIMEOUT_S = 120.0


def save(monitor: socket.socket, path: Path) -> None:
    """Write the board behind a QMP socket to ``path``; the board stands still afterwards.

    Raises OperationFailed when QEMU cannot.
    """
    try:
        asyncio.run(_save(monitor, path))
    except (QMPError, EOFError, OSError) as error:
        raise OperationFailed(f"QEMU could not write the snapshot {path}: {error}") from None


async def _save(monitor: socket.socket, path: Path) -> None:
    client = QMPClient("snapshot")
    await client.connect(monitor)
    try:
        await client.execute("migrate-set-parameters", {"max-bandwidth": _MAX_BYTES_PER_S})
        await client.execute("migrate", {"uri": f"exec:cat > {shlex.quote(str(path))}"})
        deadline = time.monotonic() + _SAVE_TIMEOUT_S
        while True:
            state = await client.execute("query-migrate")
            status = state.get("status") if isinstance(state, dict) else None
            if status == "completed":
                return
            if status in ("failed", "cancelled") or time.monotonic() > deadline:
                raise OperationFailed(
                    f"QEMU could not write the snapshot {path}: it says {state}",
                    "is the disk full?",
                )
            await asyncio.sleep(_POLL_S)
    finally:
        await client.disconnect()
