# SPDX-License-Identifier: GPL-2.0-only
"""Clears a board's free memory before a snapshot, which would keep what boot has left there.

Runs on the board: in the agent or, where there is none, as a script.
"""

import mmap

_MADV_POPULATE_WRITE = 23  # include/uapi/asm-generic/mman-common.h
_STEP_BYTES = 4 << 20
# What is left, of memory that the kernel can take for itself: not of that which is set
# aside for contiguous pieces (CMA). And what the kernel keeps for itself meanwhile, for
# usually it wants more than that; see Documentation/admin-guide/sysctl/vm.rst.
_LEFT_KIB = 8 << 10
_KEPT_KIB = 4 << 10
_KEPT = "/proc/sys/vm/min_free_kbytes"


def clear_free_memory() -> None:
    """Take free memory, and give it back: the kernel clears each page that it gives."""
    with open(_KEPT) as file:
        usual = file.read()
    _write_kept(f"{min(int(usual), _KEPT_KIB)}")
    try:
        size = sum(_free_kib()) << 10
        with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            for start in range(0, size - _STEP_BYTES, _STEP_BYTES):
                if _free_kib()[0] < _LEFT_KIB:
                    break
                memory.madvise(_MADV_POPULATE_WRITE, start, _STEP_BYTES)
    finally:
        _write_kept(usual)


def _write_kept(kib: str) -> None:
    with open(_KEPT, "w") as file:
        file.write(kib)


def _free_kib() -> tuple[int, int]:
    """Free memory, and how much more is set aside."""
    with open("/proc/meminfo") as file:
        sizes = {name: int(size.split()[0]) for name, size in (line.split(":") for line in file)}
    aside = sizes.get("CmaFree", 0)
    return sizes["MemFree"] - aside, aside


if __name__ == "__main__":
    clear_free_memory()
