# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl vm run`: exact statuses, untouched streams, and a board that is what was asked for."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time

import pytest

from pyctl.cache import Cache
from pyctl.vm.build import STUB_DIR
from pyctl.vm.factory import BoardFactory
from pyctl.vm.session import HANG_TIMEOUT_S, Streams
from pyctl.vm.spec import Spec


@pytest.mark.parametrize(
    ("script", "status"), [("true", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137)]
)
def test_the_exit_status_is_the_commands(pyctl, script, status):
    assert pyctl.on_board("sh", "-c", script).returncode == status


def test_a_command_that_is_not_there_is_127_as_in_a_shell(pyctl):
    done = pyctl.on_board("no-such-program")
    assert done.returncode == 127
    assert "no-such-program" in done.stderr


def test_output_and_errors_stay_apart_and_binary(pyctl):
    done = pyctl.on_board(
        "python3",
        "-c",
        "import os; os.write(1, bytes(range(256)) * 4096); os.write(2, b'to stderr')",
        text=False,
    )
    assert done.stdout == bytes(range(256)) * 4096
    assert done.stderr == b"to stderr"


def test_input_reaches_the_command_whole(pyctl):
    data = os.urandom(300_000)
    done = pyctl.on_board("sha256sum", input=data, text=False)
    expected = subprocess.run(["sha256sum"], input=data, capture_output=True).stdout
    assert done.stdout == expected


def test_output_comes_while_the_command_runs(pyctl):
    process = pyctl.start(
        *("vm", "run", "--", "sh", "-c", "echo first; read -r line; echo got $line"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        # The command cannot end before it gets what is sent only after this line.
        assert process.stdout.readline() == "first\n"
        out, _ = process.communicate("second\n", timeout=60)
    assert out == "got second\n"
    assert process.returncode == 0


def test_the_board_is_root_with_the_project_inside(pyctl):
    script = "id -u; pyctl --version; ls /opt/pyctl/tests/target /opt/pyctl/modules"
    done = pyctl.on_board("sh", "-c", script)
    assert done.stdout.startswith("0\npyctl, version")
    for name in ("test_provider.py", "memregion_test.ko", "smccc_cache.ko"):
        assert name in done.stdout


def test_every_board_is_pristine(pyctl):
    script = "cat /tmp/mark 2>/dev/null; echo x > /tmp/mark"
    assert [pyctl.on_board("sh", "-c", script).stdout for _ in range(2)] == ["", ""]


def test_a_restored_board_has_the_right_time_and_its_own_randomness(pyctl):
    script = (
        "date +%s; cat /proc/sys/kernel/random/uuid; "
        "python3 -c 'import random; print(random.random())'"
    )
    seen = [pyctl.on_board("sh", "-c", script).stdout.splitlines() for _ in range(2)]
    assert abs(int(seen[1][0]) - time.time()) < 60
    for first, second in zip(seen[0][1:], seen[1][1:], strict=True):
        assert first != second


@pytest.mark.parametrize("conduit", ["hvc", "smc"])
@pytest.mark.parametrize("cpus", [1, 4])
def test_conduit_and_cpus_are_as_asked_for(pyctl, conduit, cpus):
    done = pyctl.on_board(
        *("sh", "-c", "nproc; cat /sys/kernel/debug/memregion_test/info"),
        options=("--conduit", conduit, "--cpus", str(cpus)),
    )
    assert done.stdout.startswith(f"{cpus}\n")
    assert f"conduit={conduit}\n" in done.stdout


@pytest.mark.parametrize("cpu", ["max", "cortex-a72"])
def test_other_cpu_models_boot_and_memory_is_as_asked_for(pyctl, cpu):
    done = pyctl.on_board(
        *("sh", "-c", "cat /proc/meminfo; exec pyctl attributes"),
        options=("--cpu", cpu, "--memory", "700", "--cold"),
    )
    assert done.returncode == 0, done.stderr
    total_kib = int(done.stdout.split()[1])
    assert 560 * 1024 < total_kib < 700 * 1024


def test_the_target_range_is_safe_and_invalidate_succeeds_on_it(pyctl):
    done = pyctl.on_board("pyctl", "regions", "--json")
    [target] = [r for r in json.loads(done.stdout)["regions"] if r["safe"]]
    done = pyctl.on_board(
        *("pyctl", "invalidate", "--addr", target["addr"], "--size", "64K", "--json")
    )
    answer = json.loads(done.stdout)
    assert done.returncode == 0
    assert answer["ok"] is True
    assert answer["firmware"]["calls"] == 1
    assert answer["firmware"]["counted"] is True


def invalidate(pyctl, *firmware):
    options = [word for setting in firmware for word in ("--firmware", setting)]
    done = pyctl.on_board(
        *("pyctl", "invalidate", "--addr", "0x5f000000", "--size", "64K", "--json"),
        options=options,
    )
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("setting", ["clean_inv=0", "attributes=0", "smccc=1.0", "smccc=none"])
def test_firmware_without_the_function_is_never_a_success(pyctl, setting):
    status, answer = invalidate(pyctl, setting)
    assert status == 3
    assert answer["ok"] is False
    assert answer["error"]


def test_five_busy_in_the_queue_are_ebusy_and_four_a_success(pyctl):
    status, answer = invalidate(pyctl, "status=BUSY*5")
    assert (status, answer["ok"], answer["errno"]) == (1, False, "EBUSY")
    assert answer["firmware"]["calls"] == answer["firmware"]["busy"] == 5
    status, answer = invalidate(pyctl, "status=BUSY*4")
    assert (status, answer["ok"], answer["errno"]) == (0, True, None)
    assert (answer["firmware"]["calls"], answer["firmware"]["busy"]) == (5, 4)


def test_dry_run_prints_a_command_and_boots_nothing(pyctl):
    done = pyctl("vm", "run", "--dry-run", "--cpus", "3")
    assert done.returncode == 0
    assert done.stdout.startswith("/")
    assert "qemu-system-aarch64" in done.stdout.split()[0]
    assert "-smp 3" in done.stdout


def test_firmware_can_be_made_of_another_source(pyctl, tmp_path):
    source = tmp_path / "stub"
    shutil.copytree(STUB_DIR, source)
    command = ("vm", "run", "--dry-run", "--stub", str(source))
    ours, copied = pyctl("vm", "run", "--dry-run").stdout, pyctl(*command).stdout
    own = re.search(r"\S*/stub/\w+", ours)[0]
    assert own in copied
    banner = source / "main.c"
    banner.write_text(banner.read_text().replace('"stub: ', '"changed: '))
    changed = pyctl(*command)
    assert changed.returncode == 0, changed.stderr
    assert own not in changed.stdout
    # What does not build is no board, and why is said.
    banner.write_text("oops;")
    broken = pyctl(*command)
    assert broken.returncode == 3
    assert "main.c" in broken.stderr


def test_two_boards_at_once_do_not_meet(pyctl):
    script = "pyctl invalidate --addr 0x5f000000 --size 4K --count 20 --json"
    boards = [
        pyctl.start("vm", "run", "--", "sh", "-c", script, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for board in boards:
        out, _ = board.communicate(timeout=120)
        assert json.loads(out)["firmware"]["calls"] == 20


CALLS_UNTIL_STOPPED = """
counters=/sys/kernel/debug/smccc_cache/counters
( until grep -q ^calls=[1-9] $counters; do sleep 0.1; done; echo ready ) &
exec pyctl invalidate --addr 0x5f000000 --size 4K --count 100000 --timeout 1000 --json
"""


def test_ctrl_c_reaches_the_command_which_reports_what_was_done(pyctl):
    process = pyctl.start(
        *("vm", "run", "--firmware", "duration_us=20000", "--"),
        *("sh", "-c", CALLS_UNTIL_STOPPED),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    answer = json.loads(out)
    assert answer["ok"] is False
    assert 0 < answer["completed"] < 100000


def test_a_second_ctrl_c_ends_the_board(pyctl):
    process = pyctl.start(
        *("vm", "run", "--", "sh", "-c", "trap '' INT; echo ready; sleep 1000"),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        assert process.wait(timeout=30) == 130


def test_the_shell_reads_commands_from_a_pipe(pyctl):
    done = pyctl("vm", "shell", input="echo from the board\nexit 5\n")
    assert "from the board" in done.stdout
    assert done.returncode == 5


def test_the_shell_has_a_terminal_where_we_have_one(pyctl):
    ours, theirs = pty.openpty()
    process = pyctl.start("vm", "shell", stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    with process:
        os.write(ours, b"tty && echo $((6 * 7)); exit 3\n")
        assert process.wait(timeout=120) == 3
    text = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:
            break
        if not data:
            break
        text += data
    os.close(ours)
    assert b"/dev/pts/" in text
    assert b"42" in text


def test_a_board_that_nobody_used_for_long_does_not_hang(pyctl):
    """Tests share a board, and hours may lie between two of them."""
    assert pyctl.on_board("true").returncode == 0
    with BoardFactory(Cache()).boot(Spec()) as board:
        board._looked -= 2 * HANG_TIMEOUT_S
        assert board.output(["echo", "fine"]) == (0, "fine\n", "")


@pytest.mark.parametrize("command", [("sleep", "1000"), ("pyctl", "coherency")])
def test_a_signal_that_comes_at_once_is_not_lost(pyctl, command):
    """Ctrl-C may be pressed before the command has become a process of its own."""
    assert pyctl.on_board("true").returncode == 0
    with BoardFactory(Cache()).boot(Spec()) as board:
        for _ in range(5):
            board.start(command)
            board.signal(signal.SIGINT)
            assert board.follow(Streams(), timeout_s=60) == 130
