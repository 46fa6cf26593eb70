# SPDX-License-Identifier: GPL-2.0-only
"""Whether SIMD and floating-point state survives a write, and so the firmware calls in it.

That is v0 to v31, FPCR and FPSR. A program's registers of this kind stay where they
are while the kernel serves its system call, so firmware that spoils them spoils them
for the program. Python cannot hold values in registers; a few instructions of machine
code do.
"""

from __future__ import annotations

import ctypes
import mmap
import struct

_VECTORS = 32
_BYTES = 16
_VECTOR_BYTES = _VECTORS * _BYTES
_CONTROLS = {"FPCR": 1 << 24, "FPSR": 1 << 27 | 1}
"""Flush-to-zero; and two of the flags that stay set: what no calculation here minds."""
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
_STR_W9, _LDR_W9 = 0xB900_0069, 0xB940_0069
"""str, ldr w9, [x3, #4 * imm12]"""
_MSR, _MRS = 0xD51B_4400, 0xD53B_4400
_FPCR, _FPSR = 0x00, 0x20
"""msr FPCR or FPSR, Xt; mrs Xt, FPCR or FPSR"""
_MOV_X8, _SVC, _RET = 0xD280_0008, 0xD400_0001, 0xD65F_03C0


def _pair(opcode: int, register: int, offset: int) -> int:
    """One stp or ldp of ``register`` and the next; ``offset`` in units of a register."""
    return opcode | offset << 15 | register + 1 << 10 | register


def _program() -> bytes:
    """A function (fd, data, size, state): write() with that state taken from and put to memory.

    The caller's d8 to d15, FPCR and FPSR are kept, as the procedure call standard wants.
    """
    kept = [(register, register - 8) for register in (10, 12, 14)]
    vectors = range(0, _VECTORS, 2)
    # Which, the register that keeps the caller's, and where ours is, in words. The kernel
    # leaves x10 and x11 alone.
    controls = ((_FPCR, 10, _VECTOR_BYTES // 4), (_FPSR, 11, _VECTOR_BYTES // 4 + 1))
    words = [
        _STP_D_PUSH,
        *(_pair(_STP_D, register, offset) for register, offset in kept),
        *(_pair(_LDP_Q, register, register) for register in vectors),
        *(_MRS | which | kept for which, kept, _ in controls),
        *(word for which, _, at in controls for word in (_LDR_W9 | at << 10, _MSR | which | 9)),
        _MOV_X8 | _WRITE << 5,
        _SVC,
        *(_pair(_STP_Q, register, register) for register in vectors),
        *(word for which, _, at in controls for word in (_MRS | which | 9, _STR_W9 | at << 10)),
        *(_MSR | which | kept for which, kept, _ in controls),
        *(_pair(_LDP_D, register, offset) for register, offset in kept),
        _LDP_D_POP,
        _RET,
    ]
    return struct.pack(f"<{len(words)}I", *words)


def changed_by_write(fd: int, data: bytes) -> tuple[int, list[str]]:
    """Write ``data`` with all of that state filled, and look at it again.

    Gives what write() returned (a negative errno if it failed), and the names of the
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
    before = bytes(0xC0 | n // _BYTES for n in range(_VECTOR_BYTES))
    before += struct.pack("<2I", *_CONTROLS.values())
    state = ctypes.create_string_buffer(before, len(before))
    result = write(fd, data, len(data), ctypes.addressof(state))
    after = state.raw
    places = {f"v{n}": slice(n * _BYTES, (n + 1) * _BYTES) for n in range(_VECTORS)}
    for n, name in enumerate(_CONTROLS):
        places[name] = slice(_VECTOR_BYTES + 4 * n, _VECTOR_BYTES + 4 * (n + 1))
    return result, [name for name, at in places.items() if after[at] != before[at]]
