# SPDX-License-Identifier: GPL-2.0-only
"""A cache over memory, as simply as it can be written down.

What the firmware's model is compared with: the rules of the architecture, and
what each fault makes of them, with none of the firmware's concern for speed or
for CPUs that store meanwhile.
"""


class Reference:
    """``cache`` and ``media`` are the same bytes as seen by the CPU and by a device."""

    def __init__(self, base, data, line_size):
        self.base = base
        self.size = len(data)
        self.line_size = line_size
        self.cache = bytearray(data)
        self.media = bytearray(data)
        self.synced = bytearray(data)

    def cpu_write(self, addr, data):
        self.cache[addr - self.base : addr - self.base + len(data)] = data

    def device_write(self, addr, data):
        self.media[addr - self.base : addr - self.base + len(data)] = data

    def lines(self, first, last):
        """Slices of the window's lines that the bytes from first to last touch."""
        step = self.line_size
        for start in range(self.base, self.base + self.size, step):
            if start <= last and first < start + step:
                yield start, slice(start - self.base, start - self.base + step)

    def clean_inv(self, base, length, is_global=False, fault=None, parameter=0):
        """The operation, possibly with one fault."""
        first, last = base, base + length - 1
        if is_global:
            first, last = self.base, self.base + self.size - 1
        if fault == "wrong_base":
            first, last = first + parameter, last + parameter
        if fault == "only_below":
            last = min(last, parameter - 1)
        if fault == "skip_second_half":
            last = first + (last - first + 2) // 2 - 1
        if fault == "skip_first_line":
            first = first // self.line_size * self.line_size + self.line_size
        if fault == "skip_last_line":
            last = last // self.line_size * self.line_size - 1
        if fault == "noop" or first > last:
            return
        for start, line in self.lines(first, last):
            partial = start < first or start + self.line_size - 1 > last
            loses = fault == "invalidate_only" or (fault == "lose_partial" and partial)
            self.operate(line, clean=not loses, invalidate=fault != "clean_only")

    def operate(self, line, clean, invalidate):
        if clean and self.cache[line] != self.synced[line]:
            self.media[line] = self.synced[line] = self.cache[line]
        if invalidate:
            self.cache[line] = self.synced[line] = self.media[line]
