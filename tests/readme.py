# SPDX-License-Identifier: GPL-2.0-only
"""The commands that README.md tells people to type, as they stand there."""

import re
from pathlib import Path

TEXT = (Path(__file__).resolve().parents[1] / "README.md").read_text()
_COMMENT = re.compile(r"\s+# .*$")


def blocks(heading=None):
    """The fenced blocks below a heading, or all of them: each a list of command lines."""
    text = TEXT if heading is None else section(heading)
    found = re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)
    lines = [[_COMMENT.sub("", line) for line in block.splitlines()] for block in found]
    # Drawings and maps are no commands.
    return [block for block in lines if not block[0].startswith((" ", "module/"))]


def section(heading):
    """The text below a heading, down to the next of its level."""
    text = TEXT.partition(f"\n## {heading}\n")[2]
    assert text, f"README.md has no heading {heading}"
    return text.partition("\n## ")[0]


def in_sentences():
    """The command lines of pyctl that stand in sentences."""
    return [" ".join(words.split()) for words in re.findall(r"`(pyctl [^`]+)`", TEXT)]
