# SPDX-License-Identifier: GPL-2.0-only
"""README's command lines for the virtual board, typed as they stand there.

By default the first of them and the lines for debugfs, with ``--full`` all.
"""

import shlex
import subprocess

from tests import readme

LINES = [
    line
    for heading in ("On a virtual board", "Checking firmware")
    for block in readme.blocks(heading)
    for line in block
]


def pytest_generate_tests(metafunc):
    if "line" in metafunc.fixturenames:
        metafunc.parametrize("line", LINES if metafunc.config.getoption("full") else LINES[:1])


def test_a_line_does_what_it_says(pyctl, line):
    name, *words = shlex.split(line)
    assert name == "pyctl"
    if words == ["vm", "serve"]:
        return serve_and_stop(pyctl)
    options = {"input": "exit\n"} if words == ["vm", "shell"] else {}
    done = pyctl(*words, **options)
    # Firmware with a defect is found out.
    assert done.returncode == int("fault=skip_last_line" in words), done.stderr
    return None


def serve_and_stop(pyctl):
    with pyctl.start("vm", "serve", stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.readline()
        assert said.startswith("A board listens on 127.0.0.1, port "), said
        process.terminate()
    assert process.returncode == 130


def test_there_are_lines_for_the_virtual_board():
    assert len(LINES) == 13


def test_the_lines_for_debugfs_invalidate(pyctl):
    [block] = readme.blocks("debugfs files")
    done = pyctl.on_board("sh", "-ec", "\n".join(block))
    assert done.returncode == 0, done.stderr
    assert "errno=0\n" in done.stdout
    assert "completed=1\n" in done.stdout
