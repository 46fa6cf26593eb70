# SPDX-License-Identifier: GPL-2.0-only
"""What the two modules are made of, and how Kbuild is told to make them.

The machine under test builds them with what it has, the virtual board in a root
of its own; source and command are the same for both.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from pyctl.cache import Tree
from pyctl.errors import NotReady

SOURCE_TOP = Path(__file__).parent / "source"
"""In a checkout links to the files, in what is installed the files themselves."""
_PATTERNS = ("Kbuild", "module/**/Kbuild", "module/**/*.[chS]")
_MADE = ".mod.c"
"""What make itself adds to a tree in which somebody has built."""


def module_source(top: Path = SOURCE_TOP) -> Tree:
    """The files that the modules are made of; their key changes with every byte of them.

    Raises NotReady where somebody has taken the modules' source out of what is installed.
    """
    tree = Tree.read(top, _PATTERNS)
    source = Tree(tuple(file for file in tree.files if not file[0].endswith(_MADE)))
    names = [name for name, _mode, _data in source.files]
    if "Kbuild" not in names or len(names) == 1:
        raise NotReady(
            f"The modules' source is not there (no Kbuild and module/ in {top}).",
            "Install pyctl again, or use built modules with --modules.",
        )
    return source


def make_command(kdir: Path, copy: Path, arguments: Sequence[str] = ()) -> list[str]:
    """The command that builds a copy of the source against the headers in ``kdir``.

    On all CPUs that this process may use.
    """
    jobs = f"-j{len(os.sched_getaffinity(0))}"
    return ["make", jobs, "-C", str(kdir), f"M={copy}", *arguments, "modules"]
