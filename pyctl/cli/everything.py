# SPDX-License-Identifier: GPL-2.0-only
"""Every command, imported: for a process that many commands will be forked from.

The virtual board's agent imports this before a snapshot is taken. `pyctl vm`
is left out, for a board does not run boards.
"""

from importlib import import_module

from pyctl.cli.main import COMMANDS

for _name, (_module, _attribute, _help) in COMMANDS.items():
    if _name != "vm":
        import_module(_module)
