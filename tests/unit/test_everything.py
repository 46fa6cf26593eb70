# SPDX-License-Identifier: GPL-2.0-only
"""A board's agent has everything imported that a command may need: imports are slow there."""

from __future__ import annotations

import subprocess
import sys

# For a process of its own: this one has other things imported.
PROGRAM = """
import ast, inspect, sys
import pyctl.cli.everything

late = set()
for name, module in list(sys.modules.items()):
    if name.startswith("pyctl."):
        tree = ast.parse(inspect.getsource(module))
        for function in ast.walk(tree):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.Import):
                        late |= {alias.name for alias in node.names}
                    elif isinstance(node, ast.ImportFrom):
                        late.add(node.module)
print(*sorted(late - set(sys.modules)))
"""


def test_nothing_is_left_to_import_when_a_command_runs() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("\n", "")
