# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl vm` on the command line: what is refused before a board is even thought of."""

from functools import partial

import pytest

from pyctl.cache import Cache, Entry


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


def _packages(name, _work):
    return {"packages": {name: "1"}}


def test_what_another_process_removes_meanwhile_is_not_listed(pyctl, tmp_path, monkeypatch):
    """Not as damaged, and not as something of no size."""
    monkeypatch.setenv("PYCTL_CACHE", str(tmp_path))
    cache = Cache()
    for key in ("gone before", "gone between", "kept"):
        cache.get("ready", key, "the thing", partial(_packages, key))
    listed, describe = cache.entries(), Entry.describe
    cache.remove(listed[0])
    monkeypatch.setattr(Cache, "entries", lambda _self: listed)

    def described_and_gone(entry):
        meta = describe(entry)
        if entry.key == "gone between":
            cache.remove(entry)
        return meta

    monkeypatch.setattr(Entry, "describe", described_and_gone)
    told = pyctl("vm", "info", "--json").json
    assert [entry["key"] for entry in told["entries"]] == ["kept"]
    assert told["entries"][0]["what"] == "the thing"
    assert told["size_bytes"] > 0
    assert told["packages"] == {"kept": "1"}
