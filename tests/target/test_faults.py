# SPDX-License-Identifier: GPL-2.0-only
"""Each kind of fault shows in the calls that it is about, and in no other.

Registers are looked at from outside: through raw calls, with every argument
register filled. What a fault does to memory is the modelled cache's to show.
"""

import ctypes
import itertools
import mmap
import os
import struct

import pytest

from pyctl.errors import OperationFailed, TargetLost
from pyctl.firmware.client import Faults
from pyctl.firmware.fault_kinds import KINDS
from pyctl.firmware.faults import parse_faults
from pyctl.target.answers import RawRequest, Request
from pyctl.target.provider import calls_inside
from tests.target.statuses import Status

VERSION = 0x8000_0000
FEATURES = 0x8000_0001
CLEAN_INV = 0xC000_0005
ATTRIBUTES = 0xC000_0006
SVE_HINT = 1 << 16
SMC64 = 1 << 30
COMMIT = 0x46
CALL_TIME_S = 30


@pytest.fixture
def faults(stub):
    return Faults(stub)


@pytest.fixture
def firmware(debugfs, target_range):
    """Makes raw calls with all argument registers filled; gives what came back."""

    class Firmware:
        def call(self, fid, *arguments, cpu=None):
            filled = [*arguments, *range(0x100 + len(arguments), 0x111)]
            request = RawRequest(fid, tuple(filled), cpu)
            [answer] = debugfs.raw_calls([request], CALL_TIME_S)
            return Answer(answer.x, [fid, *filled])

        def clean_inv(self, cpu=None, flags=0):
            return self.call(CLEAN_INV, target_range.addr, 4096, flags, cpu=cpu)

        def statuses(self, number, cpu=None):
            return [self.clean_inv(cpu).status for _ in range(number)]

    return Firmware()


class Answer:
    """x0 to x17 after a call, and before."""

    def __init__(self, after, before):
        self.x = after
        self.changed = {n for n in range(1, 18) if after[n] != before[n]}

    @property
    def status(self):
        return struct.unpack("i", struct.pack("I", self.x[0] & 0xFFFF_FFFF))[0]


def arm(faults, text):
    faults.replace(parse_faults(text))


# -- good firmware, so that what follows can be told from it -------------------


@pytest.mark.parametrize(
    ("fid", "arguments", "results"),
    [
        (VERSION, (), set()),
        (FEATURES, (CLEAN_INV,), set()),
        (CLEAN_INV, (0x5F00_0000, 64, 0), set()),
        (ATTRIBUTES, (), {1, 2, 3, 4}),
    ],
)
def test_without_faults_only_results_change(firmware, fid, arguments, results):
    answer = firmware.call(fid, *arguments)
    assert answer.changed == results
    assert answer.x[0] >> 32 == 0


# -- when -----------------------------------------------------------------------


def test_each_of_many_calls_at_once_is_counted_and_logged(
    faults, firmware, debugfs, stub, target_range, two_cpus
):
    stub.reset(records_only=True)
    request = Request(target_range.addr, 4096, via="smccc", count=5000, threads=4)
    assert debugfs.invalidate_unbounded(request).completed == request.calls
    assert stub.get("clean_inv_calls") == request.calls
    assert stub.get("log_total") == request.calls
    assert all(call.left_ns for call in stub.log())
    # None of them counts as being inside any more.
    arm(faults, "busy_inside")
    assert firmware.clean_inv().status == Status.SUCCESS


def test_next_n_calls(faults, firmware):
    arm(faults, "status:-77@next=2")
    assert firmware.statuses(4) == [-77, -77, 0, 0]


def test_every_kth_call(faults, firmware):
    arm(faults, "status:-77@every=3")
    assert firmware.statuses(7) == [0, 0, -77, 0, 0, -77, 0]


def test_every_kth_call_but_not_for_ever(faults, firmware):
    arm(faults, "status:-77@every=2@next=2")
    assert firmware.statuses(7) == [0, -77, 0, -77, 0, 0, 0]
    [armed] = faults.armed()
    assert (armed.seen, armed.fired) == (7, 2)


def test_one_cpu_only(faults, firmware, two_cpus):
    arm(faults, "status:-77@cpu=1@next=2")
    assert firmware.statuses(2, cpu=0) == [0, 0]
    assert firmware.statuses(3, cpu=1) == [-77, -77, 0]


def test_faults_combine(faults, firmware, stub, two_cpus):
    arm(faults, "status:-77@every=2,x0_garbage:0x1234,latency:20000@next=1,clobber_x4_x17@cpu=1")
    first, second = firmware.clean_inv(cpu=0), firmware.clean_inv(cpu=1)
    assert (first.x[0], first.changed) == (0x1234_0000_0000, set())
    assert (second.x[0], second.changed) == (0x1234_FFFF_FFB3, set(range(4, 18)))
    slow, quick = stub.log()
    assert slow.left_ns - slow.entered_ns >= 20_000_000 > quick.left_ns - quick.entered_ns


@pytest.mark.board(firmware=["fault=status:-77@next=3"])
def test_boot_faults_are_there_and_come_back_with_a_reset(faults, firmware, stub):
    assert firmware.statuses(4) == [-77, -77, -77, 0]
    faults.clear()
    assert firmware.statuses(1) == [0]
    stub.reset()
    assert firmware.statuses(4) == [-77, -77, -77, 0]


# -- what cannot be -------------------------------------------------------------


def test_stub_and_pyctl_agree_on_what_contradicts(stub, faults):
    """The firmware judges by itself; every pair of kinds, with what each has by default."""
    for one, other in itertools.product(KINDS, repeat=2):
        stub.set_key(0x40, 0, one.number)
        stub.set_key(0x40, 1, other.number)
        try:
            stub.set_key(COMMIT, 0, 0b11)
            refused = False
        except OperationFailed:
            refused = True
        calls = set(one.usual) & set(other.usual)
        expected = bool(calls) and (one is other or bool(one.decides & other.decides))
        assert refused == expected, f"{one.name} and {other.name}"
        faults.clear()


@pytest.mark.parametrize(
    "words",
    [
        [(0x40, 0, 0)],
        [(0x40, 0, len(KINDS) + 1)],
        [(0x40, 16, 1)],
        [(0x41, 0, 1)],
        [(0x40, 0, 3), (0x41, 0, 1)],
        [(0x40, 0, 1), (0x41, 0, 1 << 32)],
        [(0x40, 0, 1), (0x42, 0, 1 << 32)],
        [(0x40, 0, 1), (0x43, 0, 0)],
        [(0x40, 0, 1), (0x44, 0, 1 << 24)],
        [(0x40, 0, 1), (0x45, 0, 0)],
        [(0x40, 0, 1), (0x45, 0, 4)],
        [(0x46, 0, 0)],
        [(0x46, 0, 1)],
        [(0x46, 0, 1 << 16)],
        [(0x46, 0, 1 << 48)],
        [(0x46, 1, 1 << 32)],
        [(0x40, 0, 1), (0x46, 0, 1 | 1 << 32)],
        [(0x40, 0, 1), (0x46, 0, 0b11)],
        [(0x47, 0, 1)],
        [(0x49, 0, 1)],
    ],
)
def test_stub_refuses_words_that_make_no_sense(stub, faults, words):
    arm(faults, "latency:5@every=2")
    before = faults.armed()
    *good, bad = words
    for word in good:
        stub.set_key(*word)
    with pytest.raises(OperationFailed, match="INVALID_PARAMETER"):
        stub.set_key(*bad)
    assert faults.armed() == before


# -- what comes back, and when ----------------------------------------------------


@pytest.mark.parametrize("status", [*Status, 1, -6, 2**31 - 1, -(2**31)])
def test_any_status(faults, firmware, status):
    arm(faults, f"status:{int(status)}")
    assert firmware.clean_inv().status == status


def test_status_of_attributes(faults, firmware):
    arm(faults, "status:BUSY@call=attributes@next=1")
    refused, good = firmware.call(ATTRIBUTES), firmware.call(ATTRIBUTES)
    assert (refused.status, refused.changed) == (Status.BUSY, set())
    assert (good.status, good.changed) == (0, {1, 2, 3, 4})


@pytest.mark.parametrize("latency_us", [1_000, 50_000])
def test_any_latency(faults, firmware, stub, latency_us):
    arm(faults, f"latency:{latency_us}")
    firmware.clean_inv()
    [call] = stub.log()
    assert call.left_ns - call.entered_ns >= latency_us * 1000


@pytest.mark.pristine_board
def test_never_returning_names_cpu_and_call(
    irreversible, faults, debugfs, target_range, stub, two_cpus
):
    """The CPU that hangs is lost to the kernel, too; another one tells which it is."""
    arm(faults, "hang@next=1@cpu=1")
    os.sched_setaffinity(0, {0})
    request = Request(target_range.addr, 8192, count=2, threads=2, via="smccc")
    with pytest.raises(TargetLost, match="never came back"):
        debugfs.invalidate(request, 0.5)
    [stuck] = calls_inside(debugfs)
    assert stuck.startswith(f"CPU 1: CLEAN_INV_MEMREGION(0x{target_range.addr:x}, 0x2000, 0x0)")
    assert [call.mpidr for call in stub.log() if call.left_ns is None] == [1]


@pytest.mark.pristine_board
@pytest.mark.parametrize("kind", ["hold", "hold_early"])
def test_held_call_goes_on_when_its_fault_is_cleared(
    faults, stub, target_range, call_on, wait_until, kind
):
    arm(faults, f"noop,{kind}@next=1@cpu=1")
    caller = call_on(1, target_range.addr, 64)
    faults.clear([0])
    [call] = stub.log()
    assert call.left_ns is None, "clearing another fault released it"
    faults.clear([1])
    wait_until(lambda: stub.log()[0].left_ns, "the call left firmware")
    caller.join(CALL_TIME_S)
    assert caller.exitcode == 0


def test_held_call_goes_on_after_its_time(faults, firmware, stub):
    arm(faults, "hold:30000,hold_early:20000")
    assert firmware.clean_inv().status == 0
    [call] = stub.log()
    assert call.left_ns - call.entered_ns >= 50_000_000


@pytest.mark.pristine_board
def test_busy_while_another_cpu_is_inside(faults, firmware, target_range, call_on):
    arm(faults, "busy_inside,hold@next=1@cpu=1")
    assert firmware.statuses(2, cpu=0) == [0, 0]
    caller = call_on(1, target_range.addr, 64)
    assert firmware.statuses(2, cpu=0) == [Status.BUSY] * 2
    faults.clear([1])
    caller.join(CALL_TIME_S)
    assert firmware.statuses(2, cpu=0) == [0, 0]


def test_rate_limit_has_burst_and_window(faults, firmware, stub):
    """Three calls in a window that only a much slower machine would leave by itself."""
    arm(faults, "rate_limit:3/600000000")
    assert firmware.statuses(6) == [0, 0, 0] + [Status.RATE_LIMITED] * 3
    arm(faults, "rate_limit:2/1000")
    firmware.statuses(50)
    log = [call for call in stub.log() if call.seq >= 6]
    good = [call.entered_ns for call in log if call.status == 0]
    assert Status.RATE_LIMITED not in {
        b.status for a, b in itertools.pairwise(log) if b.entered_ns - a.entered_ns > 1_000_000
    }
    assert all(third - first >= 1_000_000 for first, third in zip(good, good[2:], strict=False))


# -- registers ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "garbage"), [("x0_garbage", 0xDEAD_BEEF), ("x0_garbage:0xffffffff", 0xFFFF_FFFF)]
)
def test_garbage_in_the_upper_half_of_x0(faults, firmware, text, garbage):
    arm(faults, f"{text},status:BUSY@every=2")
    assert [firmware.clean_inv().x[0] for _ in range(2)] == [
        garbage << 32,
        garbage << 32 | 0xFFFF_FFFB,
    ]
    assert firmware.call(ATTRIBUTES).x[0] == garbage << 32
    assert firmware.call(VERSION).x[0] >> 32 == 0


def test_x1_to_x3_not_preserved(faults, firmware):
    arm(faults, "clobber_x1_x3@call=clean_inv+features")
    assert firmware.clean_inv().changed == {1, 2, 3}
    assert firmware.call(FEATURES, CLEAN_INV).changed == {1, 2, 3}
    assert firmware.call(VERSION).changed == set()


def test_x4_to_x17_not_preserved(faults, firmware, stub):
    arm(faults, "clobber_x4_x17")
    assert firmware.clean_inv().changed == set(range(4, 18))
    answer = firmware.call(ATTRIBUTES)
    assert answer.changed == {1, 2, 3, *range(4, 18)}
    assert answer.x[4] == stub.get("break_even"), "a result is still a result"


# pread(fd, buffer, size, offset) with v0-v31 loaded from memory before and stored
# after. d8-d15 belong to the caller.
SIMD_AROUND_PREAD = [
    *(0x6DBC27E8, 0x6D012FEA, 0x6D0237EC, 0x6D033FEE),  # stp d8, d9, [sp, #-64]!; ...
    *(0xAA0003E9, 0xAA0403EA),  # mov x9, x0; mov x10, x4
    *(0x3DC00000 | n << 10 | 10 << 5 | n for n in range(32)),  # ldr qN, [x10, #16 * N]
    *(0xD2800868, 0xD4000001),  # mov x8, #67 (pread64); svc #0
    *(0x3D800000 | n << 10 | 10 << 5 | n for n in range(32)),  # str qN, [x10, #16 * N]
    *(0x6D412FEA, 0x6D4237EC, 0x6D433FEE, 0x6CC427E8),  # ldp ...; ldp d8, d9, [sp], #64
    0xD65F03C0,  # ret
]


def simd_after_attributes():
    """v0-v31 after the kernel has asked firmware for its attributes, each v filled with n."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(struct.pack(f"<{len(SIMD_AROUND_PREAD)}I", *SIMD_AROUND_PREAD))
    address = ctypes.addressof(ctypes.c_char.from_buffer(code))
    words = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long, ctypes.c_void_p]
    function = ctypes.CFUNCTYPE(ctypes.c_long, *words)(address)
    registers = (ctypes.c_uint8 * 512)(*(n // 16 for n in range(512)))
    text = ctypes.create_string_buffer(4096)
    file = os.open("/sys/kernel/debug/memregion_test/attributes", os.O_RDONLY)
    size = function(file, text, 4096, 0, registers)
    os.close(file)
    assert b"status=0" in text.raw[:size]
    return [bytes(registers[n * 16 : n * 16 + 16]) for n in range(32)]


def test_simd_registers_not_preserved(faults):
    preserved = [bytes([n] * 16) for n in range(32)]
    assert simd_after_attributes() == preserved
    arm(faults, "clobber_simd@next=1")
    assert simd_after_attributes() == [b"\xa5" * 16] * 32
    assert simd_after_attributes() == preserved


# -- what firmware says of itself -----------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "register"),
    [("attr_global", 1), ("attr_latency_us", 2), ("attr_rate", 3), ("attr_break_even", 4)],
)
def test_attributes_lie_and_change(faults, firmware, kind, register, two_cpus):
    truth = firmware.call(ATTRIBUTES).x[1:5]
    arm(faults, f"{kind}:1@every=2")
    seen = [firmware.call(ATTRIBUTES).x[1:5] for _ in range(4)]
    lie = tuple(1 if n == register else value for n, value in enumerate(truth, 1))
    assert seen == [truth, lie, truth, lie]
    arm(faults, f"{kind}:1@cpu=1")
    assert [firmware.call(ATTRIBUTES, cpu=cpu).x[1:5] for cpu in (0, 1)] == [truth, lie]


def test_version_features_and_attributes_contradict_each_other(faults, firmware, stub):
    arm(
        faults,
        "version:1.0,features_clean_inv:NOT_SUPPORTED@next=1,"
        "features_attributes:7,status:NOT_SUPPORTED@call=attributes",
    )
    assert firmware.call(VERSION).x[0] == 0x1_0000
    asked = [firmware.call(FEATURES, fid).status for fid in (ATTRIBUTES, CLEAN_INV, CLEAN_INV)]
    assert asked == [7, Status.NOT_SUPPORTED, 0]
    assert firmware.call(ATTRIBUTES).status == Status.NOT_SUPPORTED
    assert firmware.clean_inv().status == 0


@pytest.mark.board(firmware=["fault=features_clean_inv:NOT_SUPPORTED", "clean_inv=1"])
def test_provider_sees_the_faults_of_discovery(debugfs, firmware):
    assert not debugfs.info().provider
    assert firmware.clean_inv().status == 0


def test_smc32_aliases_answered(faults, firmware):
    aliases = (CLEAN_INV & ~SMC64, ATTRIBUTES & ~SMC64)
    assert [firmware.call(fid, 0x5F00_0000, 64, 0).status for fid in aliases] == [-1, -1]
    arm(faults, "smc32_alias")
    assert [firmware.call(fid, 0x5F00_0000, 64, 0).status for fid in aliases] == [0, 0]
    assert firmware.call(aliases[0] + 2).status == Status.NOT_SUPPORTED


def test_reserved_bits_of_an_id_do_not_count(faults, firmware):
    fids = [CLEAN_INV | 1 << 17, ATTRIBUTES | 1 << 23]
    assert [firmware.call(fid, 0x5F00_0000, 64, 0).status for fid in fids] == [-1, -1]
    arm(faults, "loose_id")
    assert [firmware.call(fid, 0x5F00_0000, 64, 0).status for fid in fids] == [0, 0]


def test_unknown_ids_answered(faults, firmware):
    ids = (0x8000_0ABC, 0xC000_0F0F)
    assert [firmware.call(fid).status for fid in ids] == [-1, -1]
    arm(faults, "answer_unknown")
    assert [firmware.call(fid).status for fid in ids] == [0, 0]
    # Other services go on as they are.
    assert firmware.call(0x8600_0ABC).status == Status.NOT_SUPPORTED


def test_sve_hint_refused(faults, firmware):
    arm(faults, "refuse_sve@every=2")
    hinted = CLEAN_INV | SVE_HINT
    seen = [firmware.call(hinted, 0x5F00_0000, 64, 0).status for _ in range(4)]
    assert seen == [0, Status.NOT_SUPPORTED] * 2
    assert firmware.statuses(2) == [0, 0]
