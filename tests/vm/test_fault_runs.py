# SPDX-License-Identifier: GPL-2.0-only
"""Firmware that misbehaves, as seen from the host: exit statuses, and what is said."""

import json
import re

import pytest

INVALIDATE = ("pyctl", "invalidate", "--addr", "0x5f000000", "--size", "64K")


def test_only_cpu_that_hangs_is_named_by_the_console(pyctl):
    done = pyctl.on_board(
        *INVALIDATE, options=("--cpus", "1", "--timeout", "6", "--firmware", "fault=hang")
    )
    assert done.returncode == 4
    assert "CPU 0x0 will not return from call 0xc0000005 (x1 0x5f000000, x2 0x10000)" in done.stderr


def test_cpu_that_hangs_is_named_by_the_log_of_the_others(pyctl):
    done = pyctl.on_board(
        *(*INVALIDATE, "--timeout", "3"), options=("--firmware", "fault=hang@next=1")
    )
    assert done.returncode == 4
    assert re.search(r"CPU \d: CLEAN_INV_MEMREGION\(0x5f000000, 0x10000, 0x0\)", done.stderr)
    assert pyctl.on_board(*INVALIDATE).returncode == 0, "the next board is fresh"


@pytest.mark.parametrize(
    "script", ["nonsense", "hang:1", "noop@next=0", "noop,noop", "hang,status:BUSY", ""]
)
def test_bad_script_is_2_and_no_board_is_started(pyctl, script):
    done = pyctl.on_board("echo", "booted", options=("--firmware", f"fault={script}"))
    assert done.returncode == 2
    assert "booted" not in done.stdout
    assert "fault" in done.stderr


@pytest.mark.parametrize("conduit", ["hvc", "smc"])
def test_coherency_is_clean_on_good_firmware(pyctl, conduit):
    options = ("--conduit", conduit, "--cpus", "4")
    done = pyctl.on_board("pyctl", "coherency", "--size", "16K", "--json", options=options)
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["ok"], answer["first_bad"]) == (0, True, None)
    assert answer["lines"]["good"] > 0
    assert [case["name"] for case in answer["cases"] if case["skipped"]] == []


def test_coherency_names_the_first_bad_line_of_bad_firmware(pyctl):
    done = pyctl.on_board(
        "pyctl", "coherency", "--size", "16K", options=("--firmware", "fault=skip_last_line")
    )
    assert done.returncode == 1
    assert re.search(r"line 0x5f00[0-9a-f]{4}: stale: at 0x5f00[0-9a-f]{4} the ", done.stderr)
