# SPDX-License-Identifier: GPL-2.0-only
"""Gives a thread task work while it is in the kernel, as io_uring does all the time.

The kernel then marks the thread so that it leaves interruptible sleeps, and
``signal_pending()`` is true in it, although there is no signal. A poll that a thread has
asked io_uring for brings that about when another thread writes to what is polled.
"""

import ctypes
import mmap
import os
import struct

import pytest

from tests.harness.reports import MISSING

# Linux include/uapi/linux/io_uring.h, asm-generic/unistd.h
_SYS_IO_URING_SETUP, _SYS_IO_URING_ENTER = 425, 426
_OP_POLL_ADD, _POLL_IN = 6, 1
_OFF_SQES, _SQE_BYTES, _PARAMS_BYTES = 0x1000_0000, 64, 120
# Of struct io_uring_params: io_sqring_offsets, of which tail, ring_mask and array.
_SQ_OFF = 40


class Poll:
    """A poll of a pipe, asked for by the thread that makes this."""

    def __init__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        params = ctypes.create_string_buffer(_PARAMS_BYTES)
        self.ring = libc.syscall(_SYS_IO_URING_SETUP, 1, params)
        if self.ring < 0:
            pytest.skip(f"{MISSING} io_uring: {os.strerror(ctypes.get_errno())}")
        _head, tail, _mask, _entries, _flags, _dropped, array = struct.unpack_from(
            "7I", params.raw, _SQ_OFF
        )
        self.reader, self.writer = os.pipe()
        with (
            mmap.mmap(self.ring, mmap.PAGESIZE) as queue,
            mmap.mmap(self.ring, mmap.PAGESIZE, offset=_OFF_SQES) as entries,
        ):
            entries[:_SQE_BYTES] = struct.pack(
                "<BBHiQQII32x", _OP_POLL_ADD, 0, 0, self.reader, 0, 0, 0, _POLL_IN
            )
            struct.pack_into("<I", queue, array, 0)
            struct.pack_into("<I", queue, tail, 1)
        assert libc.syscall(_SYS_IO_URING_ENTER, self.ring, 1, 0, 0, 0, 0) == 1

    def fire(self):
        """Give the thread that asked its task work."""
        os.write(self.writer, b"x")

    def close(self):
        for handle in (self.ring, self.reader, self.writer):
            os.close(handle)
