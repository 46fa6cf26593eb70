# SPDX-License-Identifier: GPL-2.0-only
"""Boards under QEMU of Debian 13, also where the host is Debian 12: with ``--full`` only."""

import json

import pytest

from pyctl.cache import Cache
from pyctl.vm.roots import QEMU_PACKAGES, Roots
from pyctl.vm.spec import QEMU
from tests.vm.conftest import NetworkBoard


@pytest.fixture(scope="module")
def qemu(request):
    """The path of Debian 13's QEMU."""
    if not request.config.getoption("full"):
        pytest.skip("another QEMU is fetched for it: --full")
    return str(Roots(Cache()).qemu(QEMU_PACKAGES).path / QEMU)


@pytest.mark.parametrize("boot", ["dt", "uefi"])
def test_a_board_boots_and_is_continued(pyctl, qemu, boot):
    for _ in range(2):
        done = pyctl.on_board(
            *("pyctl", "invalidate", "--size", "64K", "--json"),
            options=("--boot", boot, "--qemu", qemu),
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ok"]
    # The second time nothing had to be made.
    assert "snapshot" not in done.stderr


def test_ssh_reaches_a_board(qemu):
    with NetworkBoard("--qemu", qemu) as board:
        assert board.good("uname -m") == "aarch64\n"
