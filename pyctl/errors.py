# SPDX-License-Identifier: GPL-2.0-only
"""Every foreseeable failure, as one exception tree.

The library raises these; ``pyctl.cli.main`` is the one place that turns them
into a message on stderr and an exit status. Nothing else in the project
exits or prints a traceback for a foreseeable condition.
"""

from __future__ import annotations

INTERRUPTED = 130
"""The exit status of a process that was interrupted, as a shell would tell it."""


class PyctlError(Exception):
    """Something foreseeable went wrong.

    ``message`` says what happened and why, in one sentence. ``hint`` says
    what to do about it, or is empty. ``exit_status`` is what a process that
    ends with this error exits with.
    """

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class OperationFailed(PyctlError):
    """The operation or a check was carried out and failed (exit status 1)."""

    exit_status = 1


class UsageError(PyctlError):
    """The request itself makes no sense (exit status 2)."""

    exit_status = 2


class NotReady(PyctlError):
    """The environment lacks something; the hint says how to supply it (exit status 3)."""

    exit_status = 3


class TargetLost(PyctlError):
    """The target panicked, hung or vanished (exit status 4).

    ``console`` holds the last lines that the target printed, if any.
    """

    exit_status = 4

    def __init__(self, message: str, hint: str = "", console: str = "") -> None:
        super().__init__(message, hint)
        self.console = console
