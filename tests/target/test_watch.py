# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl watch` on a real kernel: each call is seen, and what became of it.

The test module makes the kernel's call here as CXL and NVDIMM make it, from a write that
says success whatever the call returned: who writes to its file swallows the result. The
real drivers are in tests/vm/test_callers.py.
"""

import json
import os
import signal
from pathlib import Path

import pytest

from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.target.system import System
from pyctl.target.tracefs import MOUNT_POINT, Tracing, tracefs_at
from tests.target.runner import umount

INVALIDATE = "/sys/kernel/debug/memregion_test/invalidate"
SIZE = 0x4000
BAD = ("INVALID_PARAMETER", "EINVAL")


@pytest.fixture(autouse=True)
def traced(provider):
    """A kernel that can be watched; what the test mounts is not there afterwards."""
    if not Path("/sys/kernel/tracing").is_dir():
        pytest.skip("missing on the target: tracefs")
    before = tracefs_at(System.this())
    yield before
    if before is None and tracefs_at(System.this()):
        umount(MOUNT_POINT)


def write(addr, **options):
    """A shell's words that make the call, and succeed."""
    more = "".join(f" {name}={value}" for name, value in options.items())
    return f"echo addr={addr:#x} size={SIZE:#x}{more} > {INVALIDATE}"


def watched(pyctl, script, *options):
    """Watch a shell; gives how the command ended, its calls, and the summary."""
    ended = pyctl("watch", "--json", *options, "--", "sh", "-c", script)
    *calls, summary = (json.loads(line) for line in ended.out.splitlines())
    assert all(call["kind"] == "call" for call in calls)
    assert summary["kind"] == "summary"
    assert (summary["calls"], summary["lost"]) == (len(calls), 0)
    return ended, calls, summary


def events():
    """What is left in tracefs of anybody's watch."""
    top = Path(tracefs_at(System.this()) or MOUNT_POINT)
    probes = top / "kprobe_events"
    left = probes.read_text().splitlines() if probes.exists() else []
    return [*left, *top.glob("instances/*")]


def test_a_call_is_shown_with_all_that_it_has(pyctl, provider, target_range):
    ended, [call], summary = watched(pyctl, f"{write(target_range.addr)}; echo said >&1; exit 7")
    assert (ended.status, summary["status"], summary["ok"]) == (7, 7, False)
    assert "said" in ended.err
    assert call.pop("time_s") > 0
    assert call.pop("duration_ns") > 0
    assert call.pop("pid") not in (os.getpid(), 0)
    assert call == {
        "kind": "call",
        "process": "sh",
        "caller": "memregion_call",
        "module": "memregion_test",
        "addr": hex(target_range.addr),
        "size": SIZE,
        "provider": "smccc_cache",
        "answered": True,
        "ok": True,
        "errno": None,
        "error": None,
        "tries": 1,
        "swallowed": None,
    }
    assert events() == []


def test_the_tries_are_counted(pyctl, provider, stub, target_range):
    Faults(stub).replace(parse_faults("status:BUSY@next=2"))
    _ended, calls, summary = watched(pyctl, f"{write(target_range.addr, count=2)}")
    assert [(call["tries"], call["ok"]) for call in calls] == [(3, True), (1, True)]
    assert (summary["ok"], summary["failed"]) == (True, 0)
    assert stub.get("clean_inv_calls") == 4


@pytest.mark.parametrize(("end", "swallowed"), [(0, True), (3, False)])
def test_a_failure_is_swallowed_where_the_command_says_success(
    pyctl, provider, stub, target_range, end, swallowed
):
    status, errno = BAD
    Faults(stub).replace(parse_faults(f"status:{status}@next=2"))
    for options, expected in (((), end), (("--fail-on-swallowed",), 1 if swallowed else end)):
        ended, [call], summary = watched(pyctl, f"{write(target_range.addr)}; exit {end}", *options)
        assert ended.status == expected
        assert (call["ok"], call["errno"], call["swallowed"]) == (False, errno, swallowed)
        assert status in call["error"]
        assert (summary["failed"], summary["swallowed"]) == (1, int(swallowed))
        assert not summary["ok"]


def test_a_call_that_nobody_answers_is_seen(pyctl, provider, stub, target_range):
    provider.unload()
    ended, [call], summary = watched(pyctl, write(target_range.addr), "--fail-on-swallowed")
    assert (ended.status, summary["unanswered"], summary["swallowed"]) == (1, 1, 1)
    assert (call["answered"], call["ok"], call["errno"], call["swallowed"]) == (
        *(False, False, None, True),
    )
    assert "Returned success" in call["error"]
    assert (call["caller"], call["addr"], call["size"]) == (
        *("memregion_call", hex(target_range.addr), SIZE),
    )
    assert stub.get("clean_inv_calls") == 0


def test_a_provider_may_go_and_come(pyctl, provider, target_range):
    call = write(target_range.addr)
    provider.touched = True
    script = f"{call}; rmmod smccc_cache; {call}; insmod {provider.file.path}; {call}"
    _ended, calls, _summary = watched(pyctl, script)
    # Of one that failed it is told at the end.
    calls.sort(key=lambda call: call["time_s"])
    assert [call["answered"] for call in calls] == [True, False, True]


def test_calls_at_the_same_time_are_told_apart(pyctl, provider, stub, target_range):
    _ended, calls, summary = watched(pyctl, write(target_range.addr, threads=16, count=8))
    assert (len(calls), summary["ok"]) == (128, True)
    assert len({call["pid"] for call in calls}) == 16
    assert stub.get("clean_inv_calls") == 128


def test_text_has_the_calls_beside_the_commands_own_output(pyctl, provider, stub, target_range):
    Faults(stub).replace(parse_faults("status:BUSY@next=5"))
    script = f"echo mine; {write(target_range.addr)}"
    ended = pyctl("watch", "--", "sh", "-c", script)
    assert (ended.status, ended.out) == (0, "mine\n")
    call, summary = ended.err.splitlines()
    assert "memregion_call [memregion_test]" in call
    assert f"{target_range.addr:#x} + 16K" in call
    assert "5 tries" in call
    assert "SWALLOWED: EBUSY: " in call
    assert summary == "pyctl watch: calls 1, failed 1, swallowed 1"


def test_without_a_command_it_goes_on_until_it_is_interrupted(
    pyctl, provider, target_range, wait_until
):
    running = pyctl.start("watch")
    wait_until(lambda: any("enable" in str(path) for path in enabled()), "the watch began")
    os.system(write(target_range.addr))
    running.kill(signal.SIGINT)
    ended = running.wait()
    assert (ended.status, len(ended.out.splitlines())) == (0, 1)
    assert "memregion_call" in ended.out
    assert events() == []


def enabled():
    """The switches of probes that record now."""
    top = Path(tracefs_at(System.this()) or MOUNT_POINT)
    switches = top.glob("instances/pyctl-*/events/pyctl_*/enable")
    return [path for path in switches if path.read_text().strip() == "1"]


# -- bad days ----


def test_a_polite_kill_ends_the_watch_and_not_the_command(
    pyctl, provider, stub, target_range, wait_until
):
    Faults(stub).replace(parse_faults("status:NOT_SUPPORTED@next=1"))
    script = f"{write(target_range.addr)}; echo $$; exec sleep 600"
    running = pyctl.start("watch", "--json", "--", "sh", "-c", script)
    wait_until(lambda: stub.get("clean_inv_calls"), "the call reached firmware")
    running.kill(signal.SIGTERM)
    ended = running.wait()
    call, summary = (json.loads(line) for line in ended.out.splitlines())
    # It failed; whether the command will say so is not known.
    assert (call["errno"], call["swallowed"], summary["status"]) == ("EOPNOTSUPP", None, None)
    assert (ended.status, summary["failed"], summary["ok"]) == (130, 1, False)
    os.kill(int(ended.err.splitlines()[0]), signal.SIGKILL)
    assert events() == []


def test_a_command_that_is_killed_has_the_status_of_a_shell(pyctl, target_range):
    ended, calls, summary = watched(pyctl, f"{write(target_range.addr)}; kill -9 $$")
    assert (ended.status, summary["status"], len(calls)) == (137, 137, 1)


def test_what_a_command_leaves_running_is_not_waited_for(pyctl, target_range):
    ended, calls, _summary = watched(pyctl, f"{write(target_range.addr)}; sleep 600 & echo $!")
    assert (ended.status, len(calls)) == (0, 1)
    os.kill(int(ended.err.splitlines()[0]), signal.SIGKILL)


def test_a_command_that_is_not_there_is_bad_usage(pyctl):
    ended = pyctl("watch", "--json", "--", "no-such-program")
    assert (ended.status, ended.json["ok"]) == (2, False)
    assert "no-such-program" in ended.message
    assert events() == []


def test_a_watch_that_is_killed_leaves_nothing(pyctl, wait_until, traced):
    running = pyctl.start("watch", "--", "sleep", "600")
    wait_until(enabled, "the watch began")
    running.kill(signal.SIGKILL)
    running.wait()
    wait_until(lambda: tracefs_at(System.this()) == traced, "it unmounted what it had mounted")
    # What is not mounted is not seen.
    if traced is None:
        assert os.system(f"mount -t tracefs tracefs {MOUNT_POINT}") == 0
    wait_until(lambda: not events(), "the guardian took all back")


def test_what_a_killed_watch_and_its_guardian_leave_the_next_one_takes_away(pyctl, wait_until):
    running = pyctl.start("watch", "--", "sleep", "600")
    wait_until(enabled, "the watch began")
    for text in Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split():
        os.kill(int(text), signal.SIGKILL)
    running.kill(signal.SIGKILL)
    running.wait()
    assert events() != []
    _ended, calls, _summary = watched(pyctl, "true")
    assert (calls, events()) == ([], [])


def test_tracefs_that_was_mounted_stays_so_and_other_tracers_are_left_alone(pyctl, target_range):
    with Tracing(System.this()) as other:
        top = other.instance.parent.parent
        (other.instance / "current_tracer").write_text("function")
        assert other.probe("mine", "vfs_write")
        _ended, calls, _summary = watched(pyctl, write(target_range.addr))
        assert len(calls) == 1
        assert (other.instance / "current_tracer").read_text() == "function\n"
        assert "mine vfs_write" in (top / "kprobe_events").read_text()
        assert tracefs_at(System.this()) == str(top)


def test_only_root_may_watch(pyctl):
    ended = pyctl("watch", "--json", "--", "true", uid=65534)
    assert (ended.status, ended.json["ok"]) == (3, False)
    assert "Only root" in ended.message
