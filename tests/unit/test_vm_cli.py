# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl vm` on the command line: what is refused before a board is even thought of."""

import pytest


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf"])
def test_a_timeout_that_nobody_can_wait_for_is_bad_usage(pyctl, seconds):
    done = pyctl("vm", "run", "--qemu", "/no/such/qemu", "--timeout", seconds, "--", "true")
    assert done.status == 2
    assert done.err.startswith(f"pyctl: --timeout {float(seconds):g} is no time to wait.\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cpus", "65"), "--cpus 65 is no number of CPUs of a board."),
        (("--memory", "319"), "--memory 319 is too little for a board."),
    ],
)
def test_a_board_that_cannot_be_is_bad_usage(pyctl, options, said):
    done = pyctl("vm", "run", "--qemu", "/no/such/qemu", *options, "--", "true")
    assert done.status == 2
    assert done.err.startswith(f"pyctl: {said}\n")


def test_a_program_that_is_not_there_is_told_before_anything_is_fetched(pyctl):
    done = pyctl("vm", "run", "--qemu", "/no/such/qemu", "--", "true")
    assert done.status == 3
    assert "no program /no/such/qemu." in done.err
