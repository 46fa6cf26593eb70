# SPDX-License-Identifier: GPL-2.0-only
"""Every command and what it needs, imported: for a process that many commands will be forked from.

The virtual board's agent imports this before a snapshot is taken. `pyctl vm` and
`pyctl lab` are left out, for a board does not run boards.
"""

from importlib import import_module

from pyctl.cli.main import COMMANDS

WHEN_INVOKED = (
    *(
        "psutil",
        "pyudev",
        "importlib.metadata",
        "pyctl.target.kmod",
        "pyctl.target.vectors",
        "pyctl.target.kernel_log",
    ),
    *(
        "pyctl.conformance.chain",
        "pyctl.conformance.identity",
        "pyctl.conformance.ledger",
        "pyctl.conformance.run",
    ),
    "pyctl.watch.run",
)
"""What commands import only when they get there; a test says what is missing."""

for _name, (_module, _attribute, _help) in COMMANDS.items():
    if _name not in ("vm", "lab"):
        import_module(_module)
for _module in WHEN_INVOKED:
    import_module(_module)
