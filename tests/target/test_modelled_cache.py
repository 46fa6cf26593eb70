# SPDX-License-Identifier: GPL-2.0-only
"""The modelled cache keeps to the architecture's rules, and faults break just one.

First each rule by itself; then generated sequences of stores, device accesses
and operations, after each of which both sides are compared with the reference.
"""

import random

import pytest

from pyctl.errors import OperationFailed
from pyctl.firmware.client import Faults
from pyctl.firmware.faults import parse_faults
from pyctl.firmware.numbers import MEDIA_READ, MEDIA_WRITE
from pyctl.firmware.settings import parse_setting
from pyctl.smccc import signed32
from pyctl.target.aim import Wish, aim
from pyctl.target.observers import ModelObserver
from tests.reference import Reference
from tests.target.conftest import SCRATCH_BYTES
from tests.target.statuses import Status

CLEAN_INV = 0xC000_0005
SIZE = 4096
LINE = 64
OLD, CPU, DEVICE = b"o", b"c", b"d"


class Window:
    """A window of modelled cache, in which every byte is OLD on both sides."""

    def __init__(self, debugfs, stub, base, scratch):
        self.debugfs, self.stub, self.base, self.scratch = debugfs, stub, base, scratch
        self.observer = None

    def start(self, line_size=LINE, data=OLD * SIZE):
        place = self.base, len(data), line_size
        self.observer = ModelObserver(self.debugfs, *place, self.scratch)
        self.observer.prepare(self.base, data)
        return self

    def cpu_write(self, offset, data):
        self.observer.cpu_write([(self.base + offset, data)])

    def device_write(self, offset, data):
        self.observer.device_write([(self.base + offset, data)])

    def cpu(self, offset=0, size=SIZE):
        return self.observer.cpu_read(self.base + offset, size)

    def device(self, offset=0, size=SIZE):
        return self.observer.device_read(self.base + offset, size)

    def clean_inv(self, offset, size, flags=0):
        return self.debugfs.raw_call(CLEAN_INV, (self.base + offset, size, flags))[0]


@pytest.fixture
def idle_window(debugfs, stub):
    with aim(debugfs, Wish(), SCRATCH_BYTES) as target:
        yield Window(debugfs, stub, target.range.addr + 0x1_0000, target.scratch)
        stub.stop_model()


@pytest.fixture
def window(idle_window):
    return idle_window.start()


@pytest.fixture
def fault(stub):
    return lambda text: Faults(stub).replace(parse_faults(text))


# -- the rules, one by one --------------------------------------------------------


def test_device_store_shows_only_after_invalidation(window):
    window.device_write(128, DEVICE * 64)
    assert window.cpu(128, 64) == OLD * 64
    assert window.clean_inv(128, 64) == 0
    assert window.cpu(128, 64) == DEVICE * 64
    assert window.device(128, 64) == DEVICE * 64


def test_cpu_store_reaches_the_device_only_after_cleaning(window):
    window.cpu_write(130, CPU)
    assert window.device(130, 1) == OLD
    assert window.clean_inv(130, 1) == 0
    assert window.device(130, 1) == CPU
    assert window.cpu(130, 1) == CPU


def test_whole_line_is_covered_and_its_neighbours_are_not(window):
    """One byte is asked for: its line is cleaned, and fetched, as a whole."""
    window.cpu_write(64, CPU * 192)
    window.clean_inv(150, 1)
    assert window.device(0, 320) == OLD * 128 + CPU * 64 + OLD * 128
    window.device_write(0, DEVICE * 256)
    window.clean_inv(150, 1)
    assert window.cpu(0, 320) == OLD * 64 + CPU * 64 + DEVICE * 64 + CPU * 64 + OLD * 64


@pytest.mark.parametrize(("whole", "is_done"), [("refuse", 0), ("accept", 1), ("clamp", 1)])
def test_all_memory_is_refused_or_cleaned_and_invalidated(window, stub, whole, is_done):
    stub.set(parse_setting(f"whole={whole}"))
    window.cpu_write(64, CPU)
    window.device_write(SIZE - LINE, DEVICE)
    status = window.debugfs.raw_call(CLEAN_INV, (0, (1 << 64) - 1, 0))[0]
    assert (status == 0) == bool(is_done)
    assert window.device(64, 1) == (CPU if is_done else OLD)
    assert window.cpu(SIZE - LINE, 1) == (DEVICE if is_done else OLD)


@pytest.mark.parametrize("whole", ["accept", "clamp"])
def test_nothing_less_than_all_memory_stands_for_it(window, stub, whole):
    stub.set(parse_setting(f"whole={whole}"))
    window.cpu_write(64, CPU)
    assert window.debugfs.raw_call(CLEAN_INV, (0, 4096, 0))[0] == 0
    assert window.device(64, 1) == OLD
    # All bytes, from somewhere else on, are more than there are addresses.
    status = window.debugfs.raw_call(CLEAN_INV, (4096, (1 << 64) - 1, 0))[0]
    assert signed32(status) == Status.INVALID_PARAMETER
    assert window.device(64, 1) == OLD


def test_a_range_of_whole_lines_ends_with_the_last_of_them(window):
    window.cpu_write(64, CPU * 192)
    window.clean_inv(128, 64)
    assert window.device(64, 192) == OLD * 64 + CPU * 64 + OLD * 64


def test_dirty_line_is_written_whole(window):
    """A device that stores to a dirty line loses, as it may on real hardware."""
    window.device_write(64, DEVICE * 32)
    window.cpu_write(127, CPU)
    window.clean_inv(64, 64)
    assert window.device(64, 64) == window.cpu(64, 64) == OLD * 63 + CPU


def test_clean_line_is_not_written(window):
    window.device_write(64, DEVICE * 64)
    window.clean_inv(64, 64)
    window.device_write(64, CPU * 64)
    window.clean_inv(64, 64)
    assert window.device(64, 64) == window.cpu(64, 64) == CPU * 64


def test_global_operation_covers_everything(window):
    window.stub.set(parse_setting("global=1"))
    window.cpu_write(0, CPU * 64)
    window.device_write(SIZE - 64, DEVICE * 64)
    window.clean_inv(128, 1)
    expected = CPU * 64 + OLD * (SIZE - 128) + DEVICE * 64
    assert window.cpu() == window.device() == expected


@pytest.mark.parametrize("line_size", [16, 32, 64, 128, 256, 1024, 4096])
def test_line_size(idle_window, line_size):
    window = idle_window.start(line_size, OLD * 8192)
    window.cpu_write(0, CPU * 8192)
    window.clean_inv(4096 + line_size - 1, 1)
    before = 4096 // line_size * line_size
    expected = OLD * before + CPU * line_size + OLD * (8192 - before - line_size)
    assert window.device(0, 8192) == expected


@pytest.mark.parametrize(
    ("offset", "size"), [(-SIZE, 3 * SIZE), (-1, 2), (SIZE - 1, 2), (-64, 64), (SIZE, 64)]
)
def test_operation_may_go_beyond_the_window(window, offset, size):
    window.cpu_write(0, CPU * SIZE)
    window.clean_inv(offset, size)
    reference = Reference(window.base, OLD * SIZE, LINE)
    reference.cpu_write(window.base, CPU * SIZE)
    reference.clean_inv(window.base + offset, size)
    assert window.device() == reference.media


@pytest.mark.parametrize("flags", [1, 2])
def test_dry_run_and_refused_call_move_nothing(window, flags):
    window.cpu_write(0, CPU * 64)
    window.device_write(64, DEVICE * 64)
    window.clean_inv(0, 128, flags)
    assert window.cpu(0, 128) == CPU * 64 + OLD * 64
    assert window.device(0, 128) == OLD * 64 + DEVICE * 64


def test_dry_run_that_acts_moves_what_the_operation_moves(window, fault):
    fault("dry_run_acts")
    window.cpu_write(0, CPU * LINE)
    assert window.clean_inv(0, LINE, flags=1) == 0
    assert window.device(0, 2 * LINE) == CPU * LINE + OLD * LINE


def test_queued_status_moves_nothing(window):
    window.stub.queue(-5)
    window.cpu_write(0, CPU * 64)
    assert window.clean_inv(0, 64) == 2**64 - 5
    assert window.device(0, 64) == OLD * 64


def test_kernel_call_reaches_the_model(window, provider):
    window.start()
    window.device_write(64, DEVICE * 64)
    assert provider.call(window.base, 128).completed == 1
    assert window.cpu(64, 64) == DEVICE * 64


# -- starting, stopping, asking for what is not there ------------------------------


def test_stop_and_reset_end_the_model(window):
    for end in (window.stub.stop_model, window.stub.reset):
        window.start()
        window.device_write(0, DEVICE * 64)
        end()
        window.clean_inv(0, 64)
        assert window.cpu(0, 64) == OLD * 64
        with pytest.raises(OperationFailed):
            window.device(0, 8)


@pytest.mark.parametrize(
    ("offset", "size", "line_size"),
    [
        (0, 4096, 8),
        (0, 4096, 48),
        (0, 8192, 8192),
        (32, 4096, 64),
        (0, 4000, 64),
        (0, (4 << 20) + 64, 64),
        (1 << 63, 4096, 64),
    ],
)
def test_window_that_cannot_be_is_refused_and_the_old_one_stays(window, offset, size, line_size):
    window.device_write(0, DEVICE * 64)
    with pytest.raises(OperationFailed, match="INVALID_PARAMETER"):
        window.stub.start_model(window.base + offset, size, line_size)
    assert window.device(0, 64) == DEVICE * 64


# Around scratch memory there is more of the guest's.
@pytest.mark.parametrize(
    ("offset", "size"), [(-(1 << 20), 4096), (1 << 24, 4096), ((1 << 24) - 4096, 8192)]
)
def test_window_beyond_the_guests_memory_is_refused(window, reserved_range, offset, size):
    window.device_write(0, DEVICE * 64)
    with pytest.raises(OperationFailed, match="INVALID_PARAMETER"):
        window.stub.start_model(reserved_range.addr + offset, size, 64)
    assert window.device(0, 64) == DEVICE * 64


@pytest.mark.parametrize(
    ("offset", "length"),
    [(-1, 1), (SIZE, 1), (SIZE - 8, 9), (0, 0), (0, 65), (1 << 62, 8), (-8, 16)],
)
@pytest.mark.parametrize("fid", [MEDIA_READ, MEDIA_WRITE])
def test_media_outside_the_window_cannot_be_reached(window, debugfs, fid, offset, length):
    arguments = ((window.base + offset) % 2**64, length, *[0] * 8)
    assert debugfs.raw_call(fid, arguments)[0] == 2**64 - 3
    assert window.device() == OLD * SIZE


@pytest.mark.parametrize("length", [1, 7, 8, 63, 64])
@pytest.mark.parametrize("offset", [0, 5, 8, 61])
def test_media_access_of_any_length_and_alignment(window, offset, length):
    window.device_write(offset, DEVICE * length)
    assert window.device() == OLD * offset + DEVICE * length + OLD * (SIZE - offset - length)
    assert window.device(offset, length) == DEVICE * length


# -- faults -------------------------------------------------------------------------

FAULTS = [
    ("noop", 0),
    ("skip_first_line", 0),
    ("skip_last_line", 0),
    ("skip_second_half", 0),
    ("only_below", 1024),
    ("wrong_base", 256),
    ("wrong_base", -64),
    ("lose_partial", 0),
    ("clean_only", 0),
    ("invalidate_only", 0),
]


def fault_text(base, name, parameter):
    if name == "only_below":
        return f"only_below:{base + parameter:#x}", base + parameter
    return (f"{name}:{parameter}" if parameter else name), parameter


@pytest.mark.parametrize("is_global", [False, True])
@pytest.mark.parametrize(("name", "parameter"), FAULTS)
def test_fault_leaves_other_bytes_than_the_good_operation(
    window, fault, name, parameter, is_global
):
    """Dirty and device-stored lines alternate; the range covers two lines in part."""
    window.stub.set(parse_setting(f"global={int(is_global)}"))
    text, number = fault_text(window.base, name, parameter)
    fault(text)
    good, bad = (Reference(window.base, OLD * SIZE, LINE) for _ in range(2))
    for offset in range(0, SIZE, 2 * LINE):
        window.cpu_write(offset, CPU * LINE)
        window.device_write(offset + LINE, DEVICE * LINE)
        for reference in (good, bad):
            reference.cpu_write(window.base + offset, CPU * LINE)
            reference.device_write(window.base + offset + LINE, DEVICE * LINE)
    assert window.clean_inv(160, 2048) == 0
    good.clean_inv(window.base + 160, 2048, is_global)
    bad.clean_inv(window.base + 160, 2048, is_global, name, number)
    assert (window.cpu(), window.device()) == (bad.cache, bad.media)
    # All lines of a global operation are covered in full.
    if not (is_global and name in ("lose_partial",)):
        assert (good.cache, good.media) != (bad.cache, bad.media)


@pytest.mark.pristine_board
@pytest.mark.board(cpus=4)
def test_second_of_two_queued_ranges_is_not_covered(window, fault, call_on):
    fault("skip_queued,hold@next=1@cpu=1")
    window.cpu_write(0, CPU * 128)
    first = call_on(1, window.base, 64)
    second = call_on(2, window.base + 64, 64)
    Faults(window.stub).clear([1])
    for call in (first, second):
        call.join(30)
    assert [call.status for call in window.stub.log()] == [0, 0]
    assert window.device(0, 128) == CPU * 64 + OLD * 64


# -- generated sequences ----------------------------------------------------------------


def operations(draw, size, fault):
    """An endless supply of stores, device accesses and operations."""
    while True:
        kind = draw.choice(["cpu_write", "cpu_write", "device_write", "device_write", "clean_inv"])
        # Half of them at the borders of lines, where things go wrong.
        offset = draw.randrange(0, size, draw.choice([1, 128]))
        length = min(draw.choice([1, 3, 8, 16, 64, 100, 128, 256, 777]), size - offset)
        if kind == "clean_inv":
            yield kind, offset, length, (draw.random() < 0.15, *draw.choice([fault, (None, 0)]))
        else:
            yield kind, offset, length, draw.randbytes(length)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("which", FAULTS, ids=str)
def test_generated_sequence_ends_as_in_the_reference(idle_window, fault, which, seed):
    draw = random.Random(f"{which} {seed}")
    line_size = draw.choice([16, 64, 128, 512])
    first = draw.randbytes(2048)
    window = idle_window.start(line_size, first)
    reference = Reference(window.base, first, line_size)
    history = []
    for kind, offset, length, what in operations(draw, len(first), which):
        history.append((kind, offset, length, what if kind == "clean_inv" else what[:4]))
        if kind == "clean_inv":
            is_global, name, parameter = what
            text, number = fault_text(window.base, name, parameter)
            window.stub.set(parse_setting(f"global={int(is_global)}"))
            Faults(window.stub).clear()
            if name:
                fault(text)
            window.clean_inv(offset, length)
            reference.clean_inv(window.base + offset, length, is_global, name, number)
        else:
            getattr(window, kind)(offset, what)
            getattr(reference, kind)(window.base + offset, what)
        assert window.cpu(0, len(first)) == reference.cache, history
        assert window.device(0, len(first)) == reference.media, history
        if len(history) == 40:
            break


@pytest.mark.parametrize("size", [256, 257, 4096])
def test_many_bytes_go_through_a_buffer_and_are_the_same(window, size):
    """More than a few bytes travel by another call, in either direction."""
    data = random.Random(size).randbytes(size)
    window.device_write(SIZE - size, data)
    assert window.device() == OLD * (SIZE - size) + data
    assert b"".join(window.device(offset, 64) for offset in range(0, SIZE, 64)) == window.device()
    assert window.cpu() == OLD * SIZE


@pytest.mark.parametrize(
    ("offset", "size", "buffer", "direction"),
    [
        (0, 64, 64, 0),
        (0, 64, -63, 1),
        (0, 64, SIZE - 1, 0),
        (0, 0, SIZE, 0),
        (0, SIZE + 1, SIZE, 0),
        (SIZE, 64, SIZE, 0),
        (0, 64, SIZE, 2),
    ],
)
def test_copy_beyond_window_and_buffer_is_refused(window, stub, offset, size, buffer, direction):
    with pytest.raises(OperationFailed, match="INVALID_PARAMETER"):
        stub.copy_media(window.base + offset, size, window.base + buffer, direction)
    assert window.cpu() == window.device() == OLD * SIZE


@pytest.mark.parametrize(("buffer", "direction"), [(1 << 24, 0), (-(1 << 24), 1)])
def test_copy_beyond_the_guests_memory_is_refused(window, reserved_range, stub, buffer, direction):
    with pytest.raises(OperationFailed, match="INVALID_PARAMETER"):
        stub.copy_media(window.base, 64, window.base + buffer, direction)
    assert window.cpu() == window.device() == OLD * SIZE
