# SPDX-License-Identifier: GPL-2.0-only
"""A restored board is as good as a cold one, and never runs code of another day."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from pyctl.cache import Cache
from pyctl.vm.factory import BoardFactory
from pyctl.vm.spec import Spec

TOP = Path(__file__).resolve().parents[2]

# One process, for on a cold board each imports everything anew.
ASK = """
import json
from pyctl.cli.main import main
from pyctl.target.debugfs import Debugfs
from pyctl.firmware.client import Stub
from pyctl.target.system import System
for name in ("attributes", "regions", "doctor", "status"):
    try:
        main([name, "--json"])
    except SystemExit as end:
        assert end.code == 0, name
debugfs = Debugfs(System.this())
stub = Stub(lambda fid, arguments: debugfs.raw_call(fid, tuple(arguments)))
stub.identify()
print(json.dumps(stub.state()["settings"]))
"""


MOVING = ("kernel", "ram", "reserved")


@pytest.mark.parametrize("options", [(), ("--conduit", "smc", "--cpus", "4"), ("--boot", "uefi")])
def test_a_restored_board_answers_as_a_cold_one_does(pyctl, options):
    def answers(*more):
        done = pyctl.on_board("python3", "-c", ASK, options=(*options, *more))
        assert done.returncode == 0, done.stderr
        decoder, found, text = json.JSONDecoder(), [], done.stdout.strip()
        while text:
            answer, end = decoder.raw_decode(text)
            found.append(answer)
            text = text[end:].lstrip()
        attributes, regions, doctor, status, stub = found
        # Where the kernel lies, and what it has allocated at boot, differs from boot to boot.
        regions["regions"] = [r for r in regions["regions"] if r["kind"] not in MOVING]
        return attributes, regions, doctor, status, stub

    assert answers() == answers("--cold")


def checkout(path, version):
    """A checkout of this project that calls itself another version."""
    names = subprocess.run(
        ["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True, check=True
    ).stdout.split("\0")
    for name in filter(None, names):
        if (TOP / name).is_symlink():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).symlink_to((TOP / name).readlink())
        elif (TOP / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes((TOP / name).read_bytes())
            (path / name).chmod((TOP / name).stat().st_mode)
    set_version(path, version)
    return path


def set_version(path, version):
    source = path / "pyctl/smccc.py"
    source.write_text(source.read_text() + f"\nMARK = {version!r}\n")


SHOW_MARK = ("python3", "-c", "import pyctl.smccc; print(pyctl.smccc.MARK)")


def test_different_checkouts_at_the_same_time_never_see_each_other(pyctl, tmp_path):
    tops = [checkout(tmp_path / name, name) for name in ("one", "two")]
    runs = [
        subprocess.Popen(
            [*pyctl.command, "vm", "run", "--", *SHOW_MARK],
            cwd=top,
            env=pyctl.env | {"PYTHONPATH": str(top)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for top in tops
    ]
    assert [run.communicate(timeout=300)[0].strip() for run in runs] == ["one", "two"]


def test_a_changed_file_is_in_the_very_next_run(pyctl, tmp_path):
    top = checkout(tmp_path / "top", "before")

    def mark():
        return subprocess.run(
            [*pyctl.command, "vm", "run", "--", *SHOW_MARK],
            cwd=top,
            env=pyctl.env | {"PYTHONPATH": str(top)},
            capture_output=True,
            text=True,
            timeout=300,
        ).stdout.strip()

    assert mark() == "before"
    set_version(top, "after")
    assert mark() == "after"


def test_a_snapshot_that_qemu_cannot_continue_is_made_again(pyctl, private_cache, damage):
    """Damage that size and time do not show: QEMU finds it, and the run recovers."""
    for path in private_cache.glob("ready/*/state"):
        damage(path, "overwrite", keep_time=True)
    done = pyctl.on_board("echo", "fine")
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert "cannot be continued" in done.stderr


@pytest.mark.parametrize(
    "spec",
    [
        Spec(),
        Spec(conduit="smc", cpus=4, tests=True),
        Spec(high_target=True, tests=True),
        Spec(boot="uefi", conduit="smc", tests=True),
    ],
)
def test_a_snapshot_takes_at_most_200_mb(spec):
    # Not whatever lies in the cache: that may be from another version.
    assert 100e6 < BoardFactory(Cache()).ready(spec).size_bytes() <= 200e6


def test_a_board_takes_at_most_1_gib():
    """Even when the guest uses all of its memory."""
    fill = "import os; data = os.urandom(1 << 20) * (os.sysconf('SC_AVPHYS_PAGES') * 3 // 1024)"
    with BoardFactory(Cache()).boot(Spec(tests=True)) as board:
        assert board.output(["python3", "-c", fill]) == (0, "", "")
        status = Path(f"/proc/{board.machine.process.pid}/status").read_text()
    [peak_kib] = re.findall(r"VmHWM:\s+(\d+) kB", status)
    assert 300 << 10 < int(peak_kib) <= 1 << 20


def test_what_a_board_writes_does_not_reach_its_snapshot(pyctl):
    """The snapshot's memory is mapped into the board, for the board alone."""
    command = ("sh", "-c", "ls /tmp/left 2>/dev/null; echo left > /tmp/left; cat /tmp/left")
    for _ in range(2):
        assert pyctl.on_board(*command).stdout == "left\n"
