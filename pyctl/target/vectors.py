# SPDX-License-Identifier: GPL-2.0-only
"""Whether v0 to v31 survive a write, and so the firmware calls that it makes.

A program's SIMD registers stay where they are while the kernel serves its
system call, so firmware that spoils them spoils them for the program. Python
cannot hold values in registers; a few instructions of machine code do.
"""

from __future__ import annotations

import ctypes
import mmap
import struct

_VECTORS = 32
_BYTES = 16
_WRITE = 64
"""Number of the system call (include/uapi/asm-generic/unistd.h)."""

_STP_D_PUSH = 0x6DBC_27E8
"""stp d8, d9, [sp, #-64]!"""
_LDP_D_POP = 0x6CC4_27E8
"""ldp d8, d9, [sp], #64"""
_STP_D, _LDP_D = 0x6D00_03E0, 0x6D40_03E0
"""stp, ldp Dt, Dt2, [sp, #8 * imm7]"""
_STP_Q, _LDP_Q = 0xAD00_0060, 0xAD40_0060
"""stp, ldp Qt, Qt2, [x3, #16 * imm7]"""
_MOV_X8, _SVC, _RET = 0xD280_0008, 0xD400_0001, 0xD65F_03C0


def _pair(opcode: int, register: int, offset: int) -> int:
    """One stp or ldp of ``register`` and the next; ``offset`` in units of a register."""
    return opcode | offset << 15 | register + 1 << 10 | register


def _program() -> bytes:
    """A function (fd, data, size, vectors): write() with v0 to v31 taken from and put to memory.

    The caller's d8 to d15 are kept, as the procedure call standard wants.
    """
    kept = [(register, register - 8) for register in (10, 12, 14)]
    vectors = range(0, _VECTORS, 2)
    words = [
        _STP_D_PUSH,
        *(_pair(_STP_D, register, offset) for register, offset in kept),
        *(_pair(_LDP_Q, register, register) for register in vectors),
        _MOV_X8 | _WRITE << 5,
        _SVC,
        *(_pair(_STP_Q, register, register) for register in vectors),
        *(_pair(_LDP_D, register, offset) for register, offset in kept),
        _LDP_D_POP,
        _RET,
    ]
    return struct.pack(f"<{len(words)}I", *words)


def changed_by_write(fd: int, data: bytes) -> tuple[int, list[int]]:
    """Write ``data`` with v0 to v31 filled, and look at them again.

    Gives what write() returned (a negative errno if it failed), and the numbers of the
    registers that are not what they were.
    """
    code = mmap.mmap(-1, mmap.PAGESIZE)
    code.write(_program())
    start = ctypes.addressof(ctypes.c_char.from_buffer(code))
    libc = ctypes.CDLL(None, use_errno=True)
    # Executable only now: the kernel then makes the instructions visible.
    executable = mmap.PROT_READ | mmap.PROT_EXEC
    if libc.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(mmap.PAGESIZE), executable):
        raise OSError(ctypes.get_errno(), "mprotect")
    types = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p)
    write = ctypes.CFUNCTYPE(ctypes.c_long, *types)(start)
    before = bytes(0xC0 | n // _BYTES for n in range(_VECTORS * _BYTES))
    vectors = ctypes.create_string_buffer(before, len(before))
    result = write(fd, data, len(data), ctypes.addressof(vectors))
    after = vectors.raw
    places = range(0, len(before), _BYTES)
    changed = [at // _BYTES for at in places if after[at : at + _BYTES] != before[at : at + _BYTES]]
    return result, changed
