# SPDX-License-Identifier: GPL-2.0-only
"""Source with one edit: (file, text, replacement), where the text is there exactly once.

So a mutant that no longer fits its source is an error, not a silent pass.
"""

from __future__ import annotations

from pyctl.cache import Tree

Edit = tuple[str, str, str]


def edited(source: Tree, edit: Edit) -> Tree:
    """Give the source with the edit; SystemExit where it does not fit."""
    path, old, new = edit
    files = {name: (mode, data) for name, mode, data in source.files}
    mode, data = files.get(path, (0, b""))
    if data.count(old.encode()) != 1:
        raise SystemExit(f"mutants: {path} does not hold once: {old!r}")
    files[path] = (mode, data.replace(old.encode(), new.encode()))
    return Tree(tuple((name, *file) for name, file in files.items()))
