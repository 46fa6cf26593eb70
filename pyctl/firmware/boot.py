# SPDX-License-Identifier: GPL-2.0-only
"""The boot configuration that the host lays into the board's memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pyctl.firmware.numbers import (
    CONDUITS,
    CONFIG_MAGIC,
    KEY_CONDUIT,
    KEY_TARGET_BASE,
    KEY_TARGET_SIZE,
    U64_LIMIT,
    Entry,
)
from pyctl.firmware.settings import Setting


def fnv1a_64(data: bytes) -> int:
    """The FNV-1a hash of ``data``, 64 bit: the boot configuration's checksum."""
    result = 0xCBF2_9CE4_8422_2325
    for byte in data:
        result = (result ^ byte) * 0x100_0000_01B3 & U64_LIMIT
    return result


def boot_blob(settings: Iterable[Setting], conduit: str, target: range = range(0)) -> bytes:
    """The boot configuration for a board whose device tree names ``conduit`` (hvc, smc).

    Magic, count, entries of two words, checksum; little endian. What is not among
    ``settings`` keeps the stub's default. ``target`` is the memory that tests may
    aim at; the stub does not start without.
    """
    entries = [
        Entry(KEY_CONDUIT, 0, CONDUITS.index(conduit)),
        Entry(KEY_TARGET_BASE, 0, target.start),
        Entry(KEY_TARGET_SIZE, 0, len(target)),
    ]
    for setting in settings:
        entries.extend(setting.entries)
    blob = struct.pack("<QQ", CONFIG_MAGIC, len(entries))
    blob += b"".join(struct.pack("<QQ", e.key | e.index << 32, e.value) for e in entries)
    return blob + struct.pack("<Q", fnv1a_64(blob))
