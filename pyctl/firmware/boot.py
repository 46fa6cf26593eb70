# SPDX-License-Identifier: GPL-2.0-only
"""The boot configuration that the host lays into the board's memory."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass

from pyctl.firmware.numbers import (
    CONDUITS,
    CONFIG_MAGIC,
    KEY_CONDUIT,
    KEY_GUEST_ENTRY,
    KEY_MEMORY_SIZE,
    KEY_TARGET_BASE,
    KEY_TARGET_SIZE,
    U64_LIMIT,
    ConfigEntry,
)
from pyctl.firmware.settings import Setting


def fnv1a_64(data: bytes) -> int:
    """The FNV-1a hash of ``data``, 64 bit: the boot configuration's checksum."""
    result = 0xCBF2_9CE4_8422_2325
    for byte in data:
        result = (result ^ byte) * 0x100_0000_01B3 & U64_LIMIT
    return result


@dataclass(frozen=True)
class GuestMap:
    """What the stub must know of the guest: addresses and sizes in bytes.

    ``entry`` is where it starts: an arm64 Image, or 0 for what lies in the flash.
    ``memory_size`` bytes from the base of RAM are the guest's, but for firmware's own.
    ``target`` is the memory that tests may aim at, if there is any.
    """

    entry: int = 0
    memory_size: int = 0
    target: range = range(0)


def boot_blob(settings: Iterable[Setting], conduit: str, guest: GuestMap) -> bytes:
    """The boot configuration for a board that calls firmware by ``conduit`` (hvc, smc).

    Magic, count, entries of two words, checksum; little endian. What is not among
    ``settings`` keeps the stub's default.
    """
    entries = [
        ConfigEntry(KEY_CONDUIT, 0, CONDUITS.index(conduit)),
        ConfigEntry(KEY_GUEST_ENTRY, 0, guest.entry),
        ConfigEntry(KEY_MEMORY_SIZE, 0, guest.memory_size),
        ConfigEntry(KEY_TARGET_BASE, 0, guest.target.start),
        ConfigEntry(KEY_TARGET_SIZE, 0, len(guest.target)),
    ]
    for setting in settings:
        entries.extend(setting.entries)
    blob = struct.pack("<QQ", CONFIG_MAGIC, len(entries))
    blob += b"".join(struct.pack("<QQ", e.key | e.index << 32, e.value) for e in entries)
    return blob + struct.pack("<Q", fnv1a_64(blob))
