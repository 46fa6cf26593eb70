# SPDX-License-Identifier: GPL-2.0-only
"""Boards of the network, as far as no board is needed for it."""

import json
import os
from pathlib import Path

from pyctl.cache import Cache
from pyctl.vm.network import Reach, boards

REACH = Reach(2222, os.getpid(), Path("/run/ssh_config"), "9.9", "uefi")


def test_only_boards_whose_process_lives_are_listed(tmp_path):
    cache = Cache(tmp_path)
    with cache.scratch("board") as lives, cache.scratch("board") as starts:
        dead = starts.with_name("board-dead")
        dead.mkdir()
        for directory in (lives, dead):
            (directory / "board.json").write_text(json.dumps(REACH.as_json()))
        assert boards(cache) == [REACH.as_json()]
    assert boards(cache) == []


def test_a_record_that_cannot_be_read_is_no_board(tmp_path):
    cache = Cache(tmp_path)
    with cache.scratch("board") as directory:
        (directory / "board.json").write_text("{")
        assert boards(cache) == []


def test_stopping_needs_boards_that_are_there(pyctl):
    assert pyctl("vm", "stop").status == 2
    assert pyctl("vm", "stop", "--all", "1").status == 2
    done = pyctl("vm", "stop", "1")
    assert done.status == 2
    assert "No board listens on port 1." in done.err
    assert pyctl("vm", "list", "--json").json["boards"] == []
