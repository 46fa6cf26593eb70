# SPDX-License-Identifier: GPL-2.0-only
"""Boards of the network, as far as no board is needed for it."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pyctl.cache import Cache, Entry
from pyctl.errors import TargetLost
from pyctl.vm import network
from pyctl.vm.network import Reach, boards
from tests.unit.test_vm_plan import plan_of

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


# -- what a board is continued from ---------------------------------------------------


class Qemu:
    """In the place of a QEMU process: tells what is done to it."""

    monitor = "monitor"

    def __init__(self, *_what, **_network):
        self.done = []

    def boot(self, _root):
        self.done.append("booted")

    def restore(self, _snapshot):
        self.done.append("continued")

    def close(self):
        self.done.append("closed")


class Snapshot:
    """In the place of a board on disk."""

    def __init__(self, top):
        self.top = top

    def save(self, _monitor, _memory_fd):
        (self.top / "memory").touch()


class Roots:
    """In the place of what Debian supplies: entries with nothing in them."""

    def __init__(self, cache):
        self.cache = cache

    def plain(self, packages):
        return self.cache.get("guest", "-".join(packages), "a root", lambda _: {"packages": {}})

    def kernel_modules(self, _kernel):
        return self.cache.get("modules", "k", "modules", lambda _: None)


@pytest.fixture
def serve(tmp_path, monkeypatch):
    """Has a board; gives what was done to its QEMU, and said. One can be lost by what was done."""
    said: list[str] = []
    cache = Cache(tmp_path, said.append)
    lost = ""

    def listen(process, run_dir, _port, *_words):
        assert {path.name for path in run_dir.iterdir()} >= set(network._KEYS)
        if lost in process.done:
            raise TargetLost("The board was lost.")

    def make_key(command, **_more):
        for name in (command[-1], f"{command[-1]}.pub"):
            Path(name).touch()

    monkeypatch.setattr(network, "QemuProcess", Qemu)
    monkeypatch.setattr(network, "Snapshot", Snapshot)
    monkeypatch.setattr(network, "_listen", listen)
    monkeypatch.setattr(network, "_own_root", lambda *_parts: Path("own.cpio"))
    monkeypatch.setattr(network, "run", make_key)

    def have(lose="", packages=(), **parts):
        nonlocal lost
        lost = lose
        said.clear()
        roots: Any = Roots(cache)
        with network.serve(cache, roots, plan_of(**parts), packages=packages) as (process, _):
            return list(vars(process)["done"]), "\n".join(said)

    return have


MADE = "Making a snapshot of a board that ssh reaches"


def test_a_board_continues_the_snapshot_of_its_kind(serve):
    done, said = serve()
    assert (done, MADE in said) == (["continued"], True)
    done, said = serve()
    assert (done, MADE in said) == (["continued"], False)
    assert MADE in serve(packages=["linux-headers"])[1]
    assert MADE in serve(stub=Entry("stub", "other", Path()))[1]


def test_without_emulation_it_boots(serve):
    done, said = serve(accel="kvm")
    assert (done, MADE in said) == (["booted"], False)


def test_a_snapshot_that_cannot_be_continued_is_made_again_next_time(serve):
    serve()
    done, said = serve(lose="continued")
    assert (done, MADE in said) == (["booted"], False)
    assert "cannot be continued. The board was lost." in said
    assert MADE in serve()[1]
