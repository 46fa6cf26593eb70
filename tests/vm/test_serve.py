# SPDX-License-Identifier: GPL-2.0-only
"""The board of the network: ssh reaches it, nothing of ours is in it, and it never stays behind."""

import contextlib
import json
import re
import signal
import subprocess

import pytest

SSH_TIMEOUT_S = 60


class Served:
    """A running `pyctl vm serve`, and what it said."""

    def __init__(self, process):
        self.process = process
        said = process.stdout.readline()
        assert said.startswith("A board listens on 127.0.0.1, port "), said
        self.port = int(said.split("port ")[1].split(".")[0])
        self.ssh_words = process.stdout.readline().split()

    def ssh(self, script, *options):
        command = [*self.ssh_words[:-1], *options, self.ssh_words[-1], script]
        return subprocess.run(command, capture_output=True, text=True, timeout=SSH_TIMEOUT_S)


@pytest.fixture
def serve(pyctl):
    """Starts boards of the network; ends those that a test has not ended."""
    started = []

    def start(*options):
        process = pyctl.start(
            *("vm", "serve", *options),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        started.append(process)
        return Served(process)

    yield start
    for process in started:
        process.terminate()
        process.communicate(timeout=30)


def listed(pyctl):
    return json.loads(pyctl("vm", "list", "--json").stdout)["boards"]


LOOK = """
id -u; hostname; stat -c %a /var/tmp; ls /boot
ls -d /opt/pyctl /sys/kernel/debug/memregion_test /proc/device-tree 2>/dev/null
python3 -c 'import pytest, click, psutil, pyudev; print("python")'
echo x > ~/x; ip route get 1.1.1.1 2>&1 | tail -1
"""


def test_it_is_reached_by_its_key_listed_and_stopped(pyctl, serve, tmp_path):
    board = serve()
    done = board.ssh(LOOK)
    assert done.stdout.split()[:3] == ["0", "board", "1777"], done.stderr
    assert re.match(r"config-\S+\npython\n", done.stdout.partition("1777\n")[2])
    assert "unreachable" in done.stdout, "there is a way out"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", tmp_path / "other"], check=True)
    done = board.ssh(
        "true",
        "-o",
        f"IdentityFile={tmp_path}/other",
        "-F",
        "none",
        "-p",
        str(board.port),
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
        "-l",
        "root",
    )
    assert done.returncode == 255, "another key opens it"
    assert "Permission denied" in done.stderr

    [found] = [entry for entry in listed(pyctl) if entry["port"] == board.port]
    assert (found["pid"], found["boot"], found["user"]) == (board.process.pid, "uefi", "root")
    assert pyctl("vm", "stop", str(board.port)).returncode == 0
    assert board.process.wait(30) == 130
    assert board.port not in [entry["port"] for entry in listed(pyctl)]
    done = pyctl("vm", "stop", str(board.port))
    assert done.returncode == 2
    assert f"No board listens on port {board.port}." in done.stderr


def test_it_ends_well_when_it_switches_itself_off(serve):
    board = serve("--boot", "dt")
    board.ssh("poweroff")
    _, err = board.process.communicate(timeout=60)
    assert board.process.returncode == 0, err


def test_a_panic_is_exit_4_with_the_consoles_last_lines(serve):
    board = serve("--boot", "dt")
    with contextlib.suppress(subprocess.TimeoutExpired):
        board.ssh("echo c > /proc/sysrq-trigger", "-o", "ServerAliveInterval=1")
    _, err = board.process.communicate(timeout=60)
    assert board.process.returncode == 4
    assert "sysrq triggered crash" in err


def test_it_ends_with_the_process_that_started_it(pyctl, serve):
    board = serve("--boot", "dt")
    board.process.send_signal(signal.SIGKILL)
    board.process.communicate(timeout=30)
    # That nothing is left behind is what the fixture looks for.
    assert board.port not in [entry["port"] for entry in listed(pyctl)]


def test_a_port_that_is_taken_is_one_sentence(pyctl):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = pyctl("vm", "serve", "--port", str(port))
    assert done.returncode == 3
    assert f"Port {port} of 127.0.0.1 cannot be used" in done.stderr
