# SPDX-License-Identifier: GPL-2.0-only
"""Have a running QEMU write its state to a file, by QMP."""

from __future__ import annotations

import asyncio
import shlex
import socket
import time
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError

from pyctl.errors import OperationFailed

# Only a file is written; QEMU's default limit is meant for networks.
_MAX_BYTES_PER_S = 1 << 40
_POLL_S = 0.02
_TIMEOUT_S = 120.0


def save_state(monitor: socket.socket, path: Path, capabilities: dict[str, Any]) -> None:
    """Write QEMU's migration stream to ``path``; the board stands still afterwards.

    ``capabilities`` is what QMP's migrate-set-capabilities takes. Raises
    OperationFailed when QEMU cannot.
    """
    try:
        asyncio.run(_save_state(monitor, path, capabilities))
    except (QMPError, EOFError, OSError) as error:
        raise OperationFailed(f"QEMU could not write {path}: {error}.") from None


async def _save_state(monitor: socket.socket, path: Path, capabilities: dict[str, Any]) -> None:
    client = QMPClient("snapshot")
    await client.connect(monitor)
    try:
        await client.execute("migrate-set-parameters", {"max-bandwidth": _MAX_BYTES_PER_S})
        await client.execute("migrate-set-capabilities", capabilities)
        await client.execute("migrate", {"uri": f"exec:cat > {shlex.quote(str(path))}"})
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            state = await client.execute("query-migrate")
            status = state.get("status") if isinstance(state, dict) else None
            if status == "completed":
                return
            if status in ("failed", "cancelled") or time.monotonic() > deadline:
                raise OperationFailed(
                    f"QEMU could not write {path}: it says {state}.", "Is the disk full?"
                )
            await asyncio.sleep(_POLL_S)
    finally:
        await client.disconnect()
