# SPDX-License-Identifier: GPL-2.0-only
"""What goes wrong with a virtual board is said in a sentence, and leaves nothing behind."""

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from pyctl.cache import Cache
from pyctl.errors import TargetLost
from pyctl.vm import session
from pyctl.vm.factory import BoardFactory
from pyctl.vm.spec import Spec


def test_a_panic_is_exit_4_with_the_consoles_last_lines(pyctl):
    done = pyctl.on_board("sh", "-c", "echo c > /proc/sysrq-trigger; sleep 100")
    assert done.returncode == 4
    assert "kernel panicked" in done.stderr
    assert "sysrq triggered crash" in done.stderr


def test_a_board_that_switches_itself_off_is_lost(pyctl):
    done = pyctl.on_board("sh", "-c", "echo o > /proc/sysrq-trigger; sleep 100")
    assert done.returncode == 4
    assert "switched the machine off" in done.stderr


def test_a_command_that_takes_too_long_is_exit_4(pyctl):
    done = pyctl.on_board("sleep", "1000", options=("--timeout", "3"))
    assert done.returncode == 4
    assert "did not end within 3 s" in done.stderr


def test_firmware_that_does_not_return_is_exit_4_within_the_timeout(pyctl):
    done = pyctl.on_board(
        *("pyctl", "invalidate", "--addr", "0x5f000000", "--size", "4K"),
        options=("--cpus", "1", "--timeout", "4", "--firmware", "duration_us=600000000"),
    )
    assert done.returncode == 4


def test_a_guest_that_hangs_is_noticed_without_any_timeout(pyctl, monkeypatch):
    """All CPUs are stopped dead, so that only the silence tells."""
    monkeypatch.setattr(session, "HANG_TIMEOUT_S", 4.0)
    monkeypatch.setattr(session, "PING_INTERVAL_S", 0.5)
    with BoardFactory(Cache()).boot(Spec()) as guest:
        guest.start(["sleep", "1000"])
        os.kill(guest.machine.process.pid, signal.SIGSTOP)
        with pytest.raises(TargetLost, match="it hangs"):
            guest.follow(session.Streams())


def test_a_qemu_that_is_killed_is_exit_4(pyctl):
    # With a snapshot there is but one QEMU to find.
    assert pyctl.on_board("true").returncode == 0
    process = pyctl.start(*("vm", "run", "--", "sleep", "1000"), stderr=subprocess.PIPE, text=True)
    with process:
        qemu = pyctl.wait_for_child(process, "qemu")
        time.sleep(1)
        qemu.kill()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "SIGKILL" in err


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_polite_end_during_start_leaves_nothing(pyctl, end):
    process = pyctl.start("vm", "run", "--", "sleep", "1000", stderr=subprocess.DEVNULL)
    with process:
        pyctl.wait_for_child(process, "qemu")
        process.send_signal(end)
        time.sleep(0.3)
        process.send_signal(end)
        assert process.wait(timeout=30) == 130
    assert pyctl.left_behind() == []


def test_sigkill_at_ten_random_moments_leaves_no_qemu(pyctl):
    for _ in range(10):
        process = pyctl.start("vm", "run", "--", "sleep", "1000", stderr=subprocess.DEVNULL)
        with process:
            # Most of them while the board starts.
            time.sleep(random.uniform(0.05, 1.2))
            process.kill()
        deadline = time.monotonic() + 5
        while (left := pyctl.left_behind()) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert left == []


def test_sigkill_while_a_snapshot_is_made_leaves_nothing_that_is_trusted(pyctl, private_cache):
    for kind in ("base", "ready"):
        shutil.rmtree(private_cache / kind)
    for seconds in (1.5, 4, random.uniform(1, 6)):
        process = pyctl.start("vm", "run", "--", "sleep", "1000", stderr=subprocess.DEVNULL)
        with process:
            time.sleep(seconds)
            process.kill()
    done = pyctl.on_board("echo", "fine")
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert pyctl("vm", "clean").returncode == 0


def test_corrupt_entries_are_named_and_made_again(pyctl, private_cache, damage):
    """Even one that was cut and kept the time of its file."""
    for path in private_cache.glob("stub/*/stub.bin"):
        damage(path, "overwrite")
    for path in private_cache.glob("project/*/project.cpio"):
        path.unlink()
    for path in private_cache.glob("ready/*/memory"):
        damage(path, "truncate", keep_time=True)
    done = pyctl.on_board("echo", "fine")
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr
    assert done.stderr.count("is corrupt") == 3


def test_a_full_disk_is_one_sentence(pyctl, tmp_path):
    mount = tmp_path / "small"
    mount.mkdir()
    tmpfs = ["mount", "-t", "tmpfs", "-o", "size=8M", "tmpfs", mount]
    if subprocess.run(tmpfs, capture_output=True).returncode != 0:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        pyctl.env["PYCTL_CACHE"] = str(mount / "cache")
        done = pyctl.on_board("true")
    finally:
        subprocess.run(["umount", mount], check=True)
    assert done.returncode == 3
    assert "No space left" in done.stderr or "full" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unreachable_mirror_is_one_sentence(pyctl, tmp_path):
    """Nothing listens on the discard port of the loopback address."""
    (tmp_path / "sources.list").write_text("deb http://127.0.0.1:9/debian trixie main\n")
    (tmp_path / "apt.conf").write_text(
        f'Dir::Etc::SourceList "{tmp_path}/sources.list";\nDir::Etc::SourceParts "/dev/null";\n'
    )
    pyctl.env |= {"APT_CONFIG": str(tmp_path / "apt.conf"), "PYCTL_CACHE": str(tmp_path / "cache")}
    done = pyctl.on_board("true")
    assert done.returncode == 3
    assert "network" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_qemu_is_named_with_its_package(pyctl):
    done = pyctl.on_board("true", options=("--qemu", "/nonexistent/qemu"))
    assert done.returncode == 3
    done = pyctl.on_board("true", options=("--qemu", "qemu-system-nothing"))
    assert done.returncode == 3
    assert "apt-get install qemu-system-arm" in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--firmware", "speed=1"), "latency_us"),
        (("--firmware", "latency_us=much"), "latency_us"),
        (("--firmware", "latency_us"), "KEY=VALUE"),
        (("--cpus", "0"), "1 to 64"),
        (("--memory", "64"), "at least"),
        (("--kernel", "nonsense"), "cloud-arm64"),
        (("--kdir", "/tmp"), "--kernel PATH"),
    ],
)
def test_bad_options_are_exit_2_with_what_is_right(pyctl, options, said):
    done = pyctl.on_board("true", options=options)
    assert done.returncode == 2
    assert said in done.stderr


def test_an_unknown_cpu_model_is_one_sentence(pyctl):
    done = pyctl.on_board("true", options=("--cpu", "z80"))
    assert done.returncode == 3
    assert "z80" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["/bin/true", "/bin/false", "/no/such/qemu"])
def test_a_program_that_is_no_qemu_is_one_sentence(pyctl, program):
    done = pyctl.on_board("true", options=("--cold", "--qemu", program))
    assert done.returncode == 3
    assert program in done.stderr
    assert "Traceback" not in done.stderr


def test_a_command_is_needed(pyctl):
    assert pyctl("vm", "run").returncode == 2


def test_info_lists_what_the_board_is_made_of(pyctl):
    pyctl.on_board("true")
    info = json.loads(pyctl("vm", "info", "--json").stdout)
    assert {"guest", "toolchain", "kernel", "ready"} <= {e["kind"] for e in info["entries"]}
    assert any(name.startswith("python3:") for name in info["packages"])
    assert any(name.startswith("linux-headers") for name in info["packages"])
    assert all(entry["size_bytes"] > 0 for entry in info["entries"])


def test_clean_empties_the_cache(pyctl, private_cache):
    assert pyctl("vm", "clean").returncode == 0
    assert json.loads(pyctl("vm", "info", "--json").stdout)["entries"] == []
