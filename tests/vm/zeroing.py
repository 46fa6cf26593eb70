# SPDX-License-Identifier: GPL-2.0-only
"""What scratch memory takes beside zeroing as much that a process has already.

For scripts/bench, on a virtual board: prints both in seconds, as JSON, for several rounds.
"""

import ctypes
import json
import mmap
import os
import time

SIZE = 64 << 20
ROUNDS = 6
FILE = "/sys/kernel/debug/memregion_test/scratch"


def main():
    memory = mmap.mmap(-1, SIZE)
    where = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    # The first round gives the process its pages.
    ctypes.memset(where, 0, SIZE)
    times: dict[str, list[float]] = {"zeroing": [], "scratch": []}
    for _ in range(ROUNDS):
        started = time.monotonic()
        ctypes.memset(where, 0, SIZE)
        zeroed = time.monotonic()
        file = os.open(FILE, os.O_RDWR)
        os.write(file, f"size={SIZE}".encode())
        had = time.monotonic()
        os.close(file)
        times["zeroing"].append(zeroed - started)
        times["scratch"].append(had - zeroed)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
