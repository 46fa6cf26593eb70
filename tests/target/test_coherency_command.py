# SPDX-License-Identifier: GPL-2.0-only
"""The command `coherency` whole: what it prints, how it exits, and how it leaves a lost board."""

import json
import os
import subprocess

import pytest

from pyctl.coherency.lines import STALE
from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.numbers import SLOTS

pytestmark = pytest.mark.duration(300)
# Races take more CPUs, and most of the time.
WITHOUT_RACES = pytest.mark.usefixtures("one_cpu")

# As a shell runs it, but for the time that a call that was told to stop has.
IMPATIENT_PYCTL = """
import sys
from pyctl.cli.main import main
from pyctl.target import bounded

bounded.GRACE_S = 1
sys.exit(main())
"""


def arm(stub, text):
    Faults(stub).replace(parse_faults(text))


@pytest.mark.board(boot="uefi", conduit="smc")
def test_a_board_without_a_range_for_it_has_scratch_memory(pyctl, provider, stub):
    """The whole command, as on a board that nobody has made for this."""
    ended = pyctl("coherency", "--size", "16K", "--json")
    answer = ended.json
    assert (ended.status, ended.err) == (0, "")
    assert (answer["ok"], answer["shown"], answer["observer"]) == (True, True, "model")
    assert (answer["target"]["kind"], answer["target"]["guards"]) == ("scratch", "intact")
    assert not [case for case in answer["cases"] if not case["ok"] and not case["skipped"]]
    arm(stub, "skip_first_line")
    ended = pyctl("coherency", "--size", "16K", "--json")
    assert (ended.status, ended.json["first_bad"]["verdict"]) == (1, STALE)


@WITHOUT_RACES
def test_command_exits_0_on_good_firmware(pyctl, provider):
    ended = pyctl("coherency", "--size", "16K")
    assert (ended.status, ended.err) == (0, "")
    assert "lines are good" in ended.out
    assert "note:" in ended.out


@WITHOUT_RACES
@pytest.mark.parametrize("words", [(), ("--scratch", "16K")])
def test_command_that_can_see_nothing_says_so(pyctl, provider, stub, words):
    """QEMU has no caches: no line is bad, whatever firmware does."""
    arm(stub, "noop")
    ended = pyctl("coherency", "--size", "16K", "--observer", "alias", *words, "--json")
    answer = ended.json
    assert (ended.status, answer["ok"], answer["shown"]) == (3, False, False)
    assert "has shown nothing" in ended.message
    assert answer["lines"]["good"] > 0


@WITHOUT_RACES
def test_command_names_the_first_bad_line(pyctl, provider, stub):
    arm(stub, "skip_first_line")
    ended = pyctl("coherency", "--size", "16K", "--json")
    answer = ended.json
    assert ended.status == 1
    assert not answer["ok"]
    first = answer["first_bad"]
    assert first["case"] == answer["cases"][0]["name"] == "one line"
    assert first["verdict"] == STALE
    assert int(first["line"], 16) == int(answer["cases"][0]["addr"], 16)
    assert first["expected"] != first["found"]
    assert first["line"] in ended.err
    assert answer["lines"]["stale"] == sum(case["lines"]["stale"] for case in answer["cases"])


@pytest.mark.board(cpus=4)
@pytest.mark.parametrize("call", [1, 55, 62], ids=["any", "bound to a CPU", "one of several"])
def test_firmware_that_keeps_a_cpu_is_a_lost_target_for_a_shell(provider, stub, call):
    """The command leaves as it does for a user, and waits for no child that is stuck."""
    arm(stub, f"hold:60000000@every={call}@next=1")
    # Fewer pages leave cases out, and with them the calls that are counted here.
    size = str(4 * os.sysconf("SC_PAGE_SIZE"))
    words = ("--size", size, "--threads", "2", "--timeout", "1", "--json")
    command = subprocess.Popen(
        ["python3", "-c", IMPATIENT_PYCTL, "coherency", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    # The CPU that firmware keeps is another one.
    os.sched_setaffinity(0, {0})
    try:
        out, err = command.communicate(timeout=60)
    finally:
        Faults(stub).clear(range(SLOTS))
        command.kill()
    assert (command.returncode, json.loads(out)["ok"]) == (4, False)
    assert "never came back" in err
    assert "Traceback" not in err


def test_command_needs_a_provider(pyctl, provider):
    provider.unload()
    ended = pyctl("coherency")
    assert ended.status == 3
    assert "No provider" in ended.err
