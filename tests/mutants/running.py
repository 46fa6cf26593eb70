# SPDX-License-Identifier: GPL-2.0-only
"""The programs that a score runs, several at a time, and their common end."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path


class Running:
    """The processes at work, each in a session of its own, to be ended together."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.processes: set[subprocess.Popen[str]] = set()
        self.ended = False

    def run(
        self, command: list[str], environment: dict[str, str], timeout_s: float
    ) -> tuple[int | None, str, str]:
        """Run one to its end; give its exit status (None: it had none in time) and output."""
        if self.ended:
            return None, "", ""
        with subprocess.Popen(
            command,
            cwd=self.directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            self.processes.add(process)
            if self.ended:
                process.send_signal(signal.SIGINT)
            try:
                out, err = process.communicate(timeout=timeout_s)
                return process.returncode, out, err
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                return None, "", ""
            finally:
                self.processes.discard(process)

    def end(self) -> None:
        """Let all end as after a Ctrl-C, which takes their boards with them."""
        self.ended = True
        for process in list(self.processes):
            process.send_signal(signal.SIGINT)
