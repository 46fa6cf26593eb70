# SPDX-License-Identifier: GPL-2.0-only
"""The modelled cache against the reference, with sequences that hypothesis generates.

They are generated here and carried out on one board, so that a sequence that
ends differently is made as short as it can be.
"""

import json
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.reference import Reference

BASE = 0x5F01_0000
SIZE = 1024
FAULTS = [
    (None, 0),
    ("noop", 0),
    ("skip_first_line", 0),
    ("skip_last_line", 0),
    ("skip_second_half", 0),
    ("only_below", BASE + 500),
    ("wrong_base", 256),
    ("wrong_base", -16),
    ("lose_partial", 0),
    ("clean_only", 0),
    ("invalidate_only", 0),
]


@pytest.fixture(scope="module")
def board():
    """Carries out one sequence after the other; gives what was seen after each operation."""
    guest = ["python3", "-m", "tests.vm.model_board"]
    command = [sys.executable, "-m", "pyctl", "vm", "run", "--", *guest]
    with subprocess.Popen(
        command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:

        def ask(task):
            process.stdin.write(json.dumps(task) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield ask
        process.stdin.close()
        assert process.wait(60) == 0


# Half of them at the borders of lines, where things go wrong.
offsets = st.one_of(st.integers(0, SIZE - 1), st.integers(0, SIZE // 64 - 1).map(lambda n: n * 64))
sizes = st.one_of(st.integers(1, SIZE), st.integers(1, SIZE // 64).map(lambda n: n * 64))
contents = st.tuples(sizes, st.integers(1, 255)).map(lambda pair: bytes([pair[1]]) * pair[0])
stores = st.tuples(st.sampled_from(["cpu_write", "device_write"]), offsets, contents)
calls = st.tuples(st.just("clean_inv"), offsets, sizes, st.sampled_from([False, False, True]))
sequences = st.lists(st.one_of(stores, stores, calls), min_size=1, max_size=12)


def as_sent(operation, fault, parameter):
    kind, offset, what, *is_global = operation
    if kind != "clean_inv":
        return [kind, BASE + offset, what[: SIZE - offset].hex()]
    text = f"{fault}:{parameter}" if parameter else fault
    return [kind, BASE + offset, what, *is_global, text]


def expected(reference, operation, fault):
    kind, offset, what, *is_global = operation
    if kind == "clean_inv":
        reference.clean_inv(BASE + offset, what, *is_global, *fault)
    else:
        getattr(reference, kind)(BASE + offset, what[: SIZE - offset])
    return [reference.cache.hex(), reference.media.hex()]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault[0]))
def test_generated_sequences_end_as_in_the_reference(board, fault):
    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(sequences, st.sampled_from([16, 64, 256]), st.binary(min_size=1, max_size=16))
    def check(sequence, line_size, filling):
        data = (filling * SIZE)[:SIZE]
        reference = Reference(BASE, data, line_size)
        task = {"base": BASE, "line_size": line_size, "data": data.hex()}
        seen = board(task | {"operations": [as_sent(operation, *fault) for operation in sequence]})
        assert seen == [expected(reference, operation, fault) for operation in sequence]

    check()
