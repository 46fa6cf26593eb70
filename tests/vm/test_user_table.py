# SPDX-License-Identifier: GPL-2.0-only
"""pyctl/README.md's table of what a user sees for what firmware said is what a run gives."""

from pathlib import Path

README = Path(__file__).resolve().parents[2] / "pyctl/README.md"
BEGIN, END = "<!-- user-table-begin -->", "<!-- user-table-end -->"


def test_the_table_in_the_readme_is_what_a_run_gives(pyctl):
    written = README.read_text().partition(BEGIN)[2].partition(END)[0]
    done = pyctl.on_board("python3", "-m", "tests.vm.user_table")
    assert done.returncode == 0, done.stderr
    assert written.split("\n") == ["", *done.stdout.split("\n")], (
        "paste what `pyctl vm run -- python3 -m tests.vm.user_table` prints between the markers"
    )
