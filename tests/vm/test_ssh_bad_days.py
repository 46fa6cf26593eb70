# SPDX-License-Identifier: GPL-2.0-only
"""Bad days of target tests over ssh, with the real ssh and a real board.

What does not need them is in unit/test_ssh_target and unit/test_ssh_cleanup.
"""

import shlex
import subprocess
import sys

import pytest

from pyctl.errors import NotReady
from tests.harness.ssh import Destination, SshTarget
from tests.harness.virtual import modules_for
from tests.vm.conftest import TOP, NetworkBoard

A_TEST = "tests/target/test_discovery.py::test_every_read_asks_anew"
TEST_S = 120
# Before the board's own; it is what ssh runs there.
PYTHON = "/usr/local/bin/python3"


@pytest.fixture(scope="module")
def board():
    with NetworkBoard("--cpus", "4") as made:
        yield made


@pytest.fixture
def config(board, tmp_path):
    """Makes a configuration of ssh's like the board's with one thing changed."""

    def change(old, new):
        text = board.config.read_text()
        assert old in text
        path = tmp_path / "ssh_config"
        path.write_text(text.replace(old, new))
        return path

    return change


def key(path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def refusal(config):
    """The sentence with which a board is refused."""
    target = SshTarget(Destination("root@127.0.0.1", config), modules=modules_for)
    with pytest.raises(NotReady) as caught:
        target.run(None, A_TEST, None, TEST_S)
    return caught.value.message


def test_a_key_that_is_refused_fails_the_test_with_a_sentence(board, config, tmp_path):
    other = config(str(board.config.with_name("user_key")), str(key(tmp_path / "other")))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", A_TEST),
            *("--require-target", "--target=ssh:root@127.0.0.1", "--ssh-config", other),
        ],
        cwd=TOP,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "root@127.0.0.1 cannot be reached: it does not accept our key." in done.stdout
    assert "Traceback" not in done.stdout


def test_another_host_key_is_refused(board, config, tmp_path):
    known = tmp_path / "known_hosts"
    public = key(tmp_path / "other").with_name("other.pub").read_text()
    known.write_text(f"[127.0.0.1]:{board.port} {public}")
    changed = config(str(board.config.with_name("known_hosts")), str(known))
    # Where the host's key is not known at all, it is another sentence.
    assert "it answers with another host key than before" in refusal(changed)
    known.write_text("")
    assert "its host key is not known" in refusal(changed)


def test_a_board_that_is_off_does_not_answer(board, config):
    assert "nothing answers at its ssh port" in refusal(config(f"Port {board.port}", "Port 9"))


@pytest.mark.parametrize(
    ("asked", "answer", "words"),
    [
        ("version_info", "echo python=3.9", "has Python 3.9, and 3.11 is needed"),
        ("pytest", "exit 1", "has no pytest"),
    ],
)
def test_what_the_boards_python_lacks_is_named(board, asked, answer, words):
    script = f'#!/bin/sh\ncase "$2" in *{asked}*) {answer};; *) exec /usr/bin/python3 "$@";; esac\n'
    board.good(
        f"mkdir -p /usr/local/bin; printf %s {shlex.quote(script)} >{PYTHON} && chmod 755 {PYTHON}"
    )
    try:
        assert words in refusal(board.config)
    finally:
        board.good(f"rm {PYTHON}")


def test_a_disk_that_is_full_is_named_and_nothing_stays_on_it(board):
    board.good("mount -t tmpfs -o size=256k tmpfs /tmp")
    try:
        assert "does not take the project: No space left on device" in refusal(board.config)
        assert board.good("ls /tmp; lsmod | grep memregion_test || true") == ""
    finally:
        board.good("umount /tmp")
