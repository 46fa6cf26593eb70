# SPDX-License-Identifier: GPL-2.0-only
"""A kernel that has the provider built in, as one has that carries the series: ``--full`` only.

It is the reference for ``pyctl conformance --provider``: every rule that can be told from
outside must pass. Building the kernel takes ten minutes and more, once.
"""

import json

import pytest

from pyctl.cache import Cache
from pyctl.vm.ownkernel import BUILT_IN, own_kernel
from pyctl.vm.roots import Roots

TOLD = {f"PROV-{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 11, 12)}
UNTOLD = {"PROV-9", "PROV-10"}
SAYS_SO = "registered, conduit"


@pytest.fixture(scope="module")
def kernel(request):
    """The options that name the kernel."""
    if not request.config.getoption("full"):
        pytest.skip("a kernel is built for it: --full")
    entry = own_kernel(Roots(Cache()), "builtin")
    return ("--kernel", str(entry.path / "Image"), "--kdir", str(entry.path / "build"))


@pytest.fixture
def asked(pyctl, kernel):
    """Run a command on a board with that kernel; give its exit status and its output."""

    def run(*command, firmware=()):
        settings = [option for setting in firmware for option in ("--firmware", setting)]
        done = pyctl.on_board(*command, options=(*kernel, *settings))
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.mark.parametrize("stated", ["", "latency_us=3000", "rate=300"])
def test_it_passes_every_rule_that_can_be_told_from_outside(asked, stated):
    status, out, err = asked(
        "pyctl", "conformance", "--provider", "--json", firmware=[stated] if stated else []
    )
    answer = json.loads(out)
    found = {rule["id"]: rule["result"] for rule in answer["rules"]}
    assert {id for id, result in found.items() if result == "pass"} == TOLD, err
    assert {id for id, result in found.items() if result == "not run"} == UNTOLD
    assert status == 0


def test_it_is_known_by_name_and_does_the_work(asked):
    status, out, err = asked("pyctl", "invalidate", "--size", "64K", "--json")
    answer = json.loads(out)
    assert (status, answer["ok"]) == (0, True), err
    assert answer["provider"] == {"registered": True, "name": BUILT_IN}
    # Who counts is firmware.
    assert answer["firmware"]["calls"] >= 1


def test_ours_is_loaded_beside_it_by_nobody_who_does_not_ask(asked):
    script = "{ pyctl unload && pyctl load --raw; } >&2; cut -d' ' -f1 /proc/modules"
    _status, out, err = asked("sh", "-c", script)
    assert out.split() == ["memregion_test"]
    assert "smccc_cache     was not loaded" in err


@pytest.mark.parametrize(
    ("firmware", "registers"),
    [
        ((), True),
        (("clean_inv=0",), False),
        (("attributes=0",), False),
        (("attributes_status=INVALID_PARAMETER",), False),
        (("smccc=1.0",), False),
    ],
)
def test_it_registers_only_with_firmware_that_offers_both_and_says_so_once(
    asked, firmware, registers
):
    status, out, _err = asked("sh", "-c", "pyctl status --json; dmesg", firmware=firmware)
    assert status == 0
    answer, _end = json.JSONDecoder().raw_decode(out)
    assert answer["provider"]["registered"] is registers
    assert out.count(f"{BUILT_IN}: {SAYS_SO}") == registers
