# SPDX-License-Identifier: GPL-2.0-only
"""State of SVE and SME, on a board whose CPUs have both: QEMU's "max"."""

import json
import signal


def test_lost_vector_state_is_told_and_a_programs_own_is_left_alone(pyctl):
    options = ("--cpu", "max")
    done = pyctl.on_board("python3", "-m", "tests.vm.vector_board", options=options)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    scalable, matrix = said["good"]
    assert scalable.startswith("REG-8 pass: In ")
    assert scalable.endswith(" functions; SVE has vectors of 256 bytes.")
    assert matrix.startswith("REG-9 pass: In ")
    assert matrix.endswith(" functions; SME has vectors of 256 bytes.")
    attributes = "0xc0000006() on CPU 0 gave SUCCESS and changed"
    assert said["bad"] == [
        # z1 to z31, p0 to p15 and FFR.
        f"REG-8 fail: {attributes} z0, z1, z2, z3 and 45 more.",
        f"REG-9 fail: {attributes} ZA.",
    ]
    assert said["user"] == -signal.SIGTERM, "its state was changed"
