# SPDX-License-Identifier: GPL-2.0-only
"""The virtual board's firmware (pyctl/vm/stub) as Python sees it.

One table names everything that its behaviour can be told to be.  From it come
the boot configuration that the host lays into the board's memory, and the
vendor calls by which a running guest reads and changes the same settings.
Numbers here are a transcription of their own; the stub's are in its settings.h
and vendor.h, and a test compares the two.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pyctl.errors import NotReady, OperationFailed, UsageError
from pyctl.firmware.faults import (
    DURATION_LIMIT_US,
    KEY_COMMIT,
    cpu_of,
    parse_faults,
    script_words,
)
from pyctl.smccc import STATUS_NAMES, VERSIONS, parse_status, signed32, version_text
from pyctl.target.answers import parse_number

RawCall = Callable[[int, Sequence[int]], Sequence[int]]
"""Makes one SMCCC call: function id and x1..., gives x0 to x17."""

U32_LIMIT = (1 << 32) - 1
U64_LIMIT = (1 << 64) - 1
LOG_RECORDS = 256
"""CLEAN_INV_MEMREGION calls that the firmware remembers."""
QUEUE_RUNS = 64
"""Runs of equal statuses that the firmware's queue holds."""

UUID_WORDS = (0x17B0C6CB, 0xD3436850, 0x22D92DA3, 0xB048A850)
"""cbc6b017-5068-43d3-a32d-d92250a848b0, as DEN0028 puts a UUID into w0 to w3."""
MAJOR_REVISION = 1

CALL_UID = 0x8600_FF01
CALL_REVISION = 0x8600_FF03
GET = 0xC600_0001
SET = 0xC600_0002
RESET = 0xC600_0003
QUEUE = 0xC600_0004
LOG = 0xC600_0005
MODEL = 0xC600_0006
MEDIA_READ = 0xC600_0007
MEDIA_WRITE = 0xC600_0008
MEDIA_COPY = 0xC600_0009
MEDIA_BYTES_PER_CALL = 64
MEDIA_BYTES_PER_COPY = 0x1_0000
MODEL_WINDOW_LIMIT = 4 << 20
MODEL_LINE_LIMITS = (16, 4096)

KEY_QUEUED_STATUS = 0x0A
KEY_TARGET_BASE = 0x0D
KEY_TARGET_SIZE = 0x0E
KEY_CONDUIT = 0x0F
CONDUITS = ("hvc", "smc")

CONFIG_MAGIC = 0x3130_4746_434C_5450
CONFIG_SIZE = 0x1_0000

_VERSIONS = {"none": 0} | VERSIONS


class _Unparsable(Exception):
    """A value is not what its key takes; says what that is."""


@dataclass(frozen=True)
class Entry:
    """One word pair of the boot configuration, or one SET call."""

    key: int
    index: int
    value: int


@dataclass(frozen=True)
class Setting:
    """One ``KEY=VALUE``, checked: what was written and what the firmware gets."""

    name: str
    text: str
    entries: tuple[Entry, ...]

    def __str__(self) -> str:
        return f"{self.name}={self.text}"


@dataclass(frozen=True)
class SettingKind:
    """A setting that exists: ``parse`` gives its entries, ``show`` a value for JSON."""

    name: str
    key: int
    values: str
    help: str
    parse: Callable[[int, str], tuple[Entry, ...]]
    show: Callable[[int], int | str] = int
    readable: bool = True

    @property
    def usage(self) -> str:
        """``KEY=VALUE`` for a help text."""
        return f"{self.name}={self.values}"


def _number_up_to(limit: int) -> Callable[[int, str], tuple[Entry, ...]]:
    def parse(key: int, text: str) -> tuple[Entry, ...]:
        try:
            value = parse_number(text)
        except UsageError as error:
            raise _Unparsable(error.message) from None
        if value > limit:
            raise _Unparsable(f"It is more than {limit}.")
        return (Entry(key, 0, value),)

    return parse


def _flag(key: int, text: str) -> tuple[Entry, ...]:
    if text not in ("0", "1"):
        raise _Unparsable("It is neither 0 nor 1.")
    return (Entry(key, 0, int(text)),)


def _version(key: int, text: str) -> tuple[Entry, ...]:
    if text not in _VERSIONS:
        raise _Unparsable(f"It is none of {', '.join(_VERSIONS)}.")
    return (Entry(key, 0, _VERSIONS[text]),)


def parse_queue(text: str) -> list[tuple[int, int]]:
    """Statuses in order, as (status, repeat): ``BUSY*4,SUCCESS,-77``.

    Raises UsageError for a status or a repeat (1 to 2^32 - 1) that is none, and for
    more than QUEUE_RUNS runs of equal statuses.
    """
    runs: list[tuple[int, int]] = []
    for word in text.split(","):
        name, star, count = word.strip().partition("*")
        repeat = parse_number(count) if star else 1
        if not 1 <= repeat <= U32_LIMIT:
            raise UsageError(f"{word.strip()!r} repeats a status {repeat} times, not 1 to 2^32-1.")
        runs.append((parse_status(name), repeat))
    if len(runs) > QUEUE_RUNS:
        raise UsageError(
            f"{len(runs)} entries are more than the {QUEUE_RUNS} that the queue holds.",
            "Write equal statuses that follow each other as one: BUSY*4.",
        )
    return runs


def _status(key: int, text: str) -> tuple[Entry, ...]:
    try:
        return (Entry(key, 0, parse_status(text) & U64_LIMIT),)
    except UsageError as error:
        raise _Unparsable(f"{error.message} {error.hint}") from None


def _queue(key: int, text: str) -> tuple[Entry, ...]:
    try:
        # The index of an entry counts its further repeats.
        return tuple(Entry(key, n - 1, status & U32_LIMIT) for status, n in parse_queue(text))
    except UsageError as error:
        raise _Unparsable(f"{error.message} {error.hint}".strip()) from None


def _faults(_key: int, text: str) -> tuple[Entry, ...]:
    try:
        return tuple(Entry(*word) for word in script_words(parse_faults(text)))
    except UsageError as error:
        raise _Unparsable(f"{error.message} {error.hint}".strip()) from None


def _show_version(value: int) -> str:
    return version_text(value) if value else "none"


def _show_status(value: int) -> int | str:
    status = signed32(value)
    return STATUS_NAMES.get(status, status)


SETTINGS = (
    SettingKind(
        "smccc", 0x01, "none|1.0|1.1|1.2", "SMCCC version that is offered.", _version, _show_version
    ),
    SettingKind("clean_inv", 0x02, "0|1", "Whether CLEAN_INV_MEMREGION is offered.", _flag),
    SettingKind("attributes", 0x03, "0|1", "Whether its ATTRIBUTES function is offered.", _flag),
    SettingKind("global", 0x04, "0|1", "Whether the operation is global.", _flag),
    SettingKind(
        "latency_us", 0x05, "N", "Advertised worst-case latency, in us.", _number_up_to(U32_LIMIT)
    ),
    SettingKind("rate", 0x06, "N", "Advertised most calls per second.", _number_up_to(U64_LIMIT)),
    SettingKind(
        "break_even", 0x07, "N", "Advertised break-even size, in bytes.", _number_up_to(U64_LIMIT)
    ),
    SettingKind(
        "duration_us",
        0x08,
        "N",
        "Time that a call really takes, in us.",
        _number_up_to(DURATION_LIMIT_US),
    ),
    SettingKind(
        "attributes_status", 0x09, "S", "Status that ATTRIBUTES returns.", _status, _show_status
    ),
    SettingKind(
        "status",
        KEY_QUEUED_STATUS,
        "S1,S2*N,...",
        "Statuses that the next calls return, by name or number; *N repeats.",
        _queue,
        readable=False,
    ),
    SettingKind(
        "fault",
        KEY_COMMIT,
        "KIND[:PARAM][@next=N][@every=K][@cpu=C][@call=F],...",
        "Deliberate misbehaviour; `pyctl fault list` shows the kinds.",
        _faults,
        readable=False,
    ),
)

READINGS = {
    "clean_inv_calls": 0x20,
    "attributes_calls": 0x21,
    "arch_features_calls": 0x22,
    "smccc_version_calls": 0x23,
    "unknown_calls": 0x24,
    "log_total": 0x25,
    "queue_length": 0x26,
    "counter_hz": 0x27,
    "cpus_online": 0x28,
    "other_conduit_calls": 0x29,
}
"""What can only be read, and its key."""

_KINDS = {kind.name: kind for kind in SETTINGS}
_KEYS = {kind.name: kind.key for kind in SETTINGS if kind.readable} | READINGS


def _kind(name: str) -> SettingKind:
    if name not in _KINDS:
        raise UsageError(f"The firmware has no setting {name!r}.", f"It has {', '.join(_KINDS)}.")
    return _KINDS[name]


def parse_setting(text: str) -> Setting:
    """One ``KEY=VALUE``; UsageError says which part of it is wrong, and what is right."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            f"The firmware setting {text!r} is not KEY=VALUE.", f"The keys are {', '.join(_KINDS)}."
        )
    kind = _kind(name)
    try:
        return Setting(name, value, kind.parse(kind.key, value))
    except _Unparsable as error:
        raise UsageError(
            f"The firmware setting {name} cannot be {value!r}. {error}", f"Write {kind.usage}."
        ) from None


def parse_settings(texts: Iterable[str]) -> list[Setting]:
    """Settings as they stand on a command line, ``KEY=VALUE`` each.

    Raises UsageError for the first that makes no sense, and for a key given twice.
    """
    settings: dict[str, Setting] = {}
    for text in texts:
        setting = parse_setting(text)
        if setting.name in settings:
            raise UsageError(
                f"The firmware setting {setting.name} is given twice: "
                f"{settings[setting.name]} and {setting}.",
                "Give it once.",
            )
        settings[setting.name] = setting
    return list(settings.values())


def fnv1a_64(data: bytes) -> int:
    """The FNV-1a hash of ``data``, 64 bit: the boot configuration's checksum."""
    result = 0xCBF2_9CE4_8422_2325
    for byte in data:
        result = (result ^ byte) * 0x100_0000_01B3 & U64_LIMIT
    return result


def boot_blob(settings: Iterable[Setting], conduit: str, target: range = range(0)) -> bytes:
    """The boot configuration for a board whose device tree names ``conduit`` (hvc, smc).

    Magic, count, entries of two words, checksum; little endian.  What is not among
    ``settings`` keeps the stub's default.  ``target`` is the memory that tests may
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


@dataclass(frozen=True)
class LogEntry:
    """One CLEAN_INV_MEMREGION call, as the firmware saw it.

    Times are those of the guest's counter, in ns; ``left_ns`` is None while the call
    is still in the firmware, and ``status`` means nothing then.
    """

    seq: int
    fid: int
    base: int
    length: int
    flags: int
    mpidr: int
    entered_ns: int
    left_ns: int | None
    x0: int
    conduit: str

    def __str__(self) -> str:
        return (
            f"CPU {cpu_of(self.mpidr)}: CLEAN_INV_MEMREGION(0x{self.base:x}, "
            f"0x{self.length:x}, 0x{self.flags:x}), call {self.seq}, by {self.conduit},"
        )

    @property
    def status(self) -> int:
        """The status that the call returned."""
        return signed32(self.x0)

    @property
    def dry_run(self) -> bool:
        """Whether the call asked for checks only."""
        return bool(self.flags & 1)


class Stub:
    """The firmware of the board that we run on, through raw SMCCC calls.

    The first call of any kind is the identification, so nothing of another vendor's
    is ever called.
    """

    def __init__(self, raw: RawCall) -> None:
        self._raw = raw
        self._hz = 0

    def identify(self) -> None:
        """Make sure that the firmware is our stub, in a revision that we know.

        Raises NotReady if it is not.
        """
        hint = "This works on the virtual board only: see `pyctl vm run --help`."
        try:
            words = self._raw(CALL_UID, ())[:4]
            if tuple(word & U32_LIMIT for word in words) != UUID_WORDS:
                raise NotReady("The firmware below is not the stub of the virtual board.", hint)
            major = self._raw(CALL_REVISION, ())[0]
        except OperationFailed as error:
            raise NotReady(
                f"The firmware could not be asked who it is: {error.message}", hint
            ) from error
        if major != MAJOR_REVISION:
            raise NotReady(
                f"The stub below has revision {major}, this pyctl knows {MAJOR_REVISION}.",
                "Start the board again with this pyctl.",
            )
        self._hz = self._call(GET, "read counter_hz", READINGS["counter_hz"], 0)[1]

    def is_ours(self) -> bool:
        """Whether ``identify`` finds nothing to raise."""
        try:
            self.identify()
        except NotReady:
            return False
        return True

    def get(self, name: str) -> int:
        """The value of a setting, or one of READINGS, as a number."""
        if name not in _KEYS:
            raise UsageError(
                f"The firmware has no value {name!r} to read.", f"It has {', '.join(_KEYS)}."
            )
        return self._identified_call(GET, f"read {name}", _KEYS[name], 0)[1]

    def set(self, setting: Setting) -> None:
        """Change a setting from now on; for ``status``, append to the queue."""
        for entry in setting.entries:
            if entry.key == KEY_QUEUED_STATUS:
                self.queue(signed32(entry.value), entry.index + 1)
            else:
                self._identified_call(SET, f"set {setting}", entry.key, entry.index, entry.value)

    def get_key(self, key: int, index: int) -> int:
        """A value by its number, for what is a table."""
        return self._identified_call(GET, f"read key {key:#x}", key, index)[1]

    def set_key(self, key: int, index: int, value: int) -> None:
        """Change a value by its number."""
        self._identified_call(SET, f"set key {key:#x}", key, index, value)

    def reset(self, records_only: bool = False) -> None:
        """Zero counters and log; unless ``records_only``, also empty the queue and go back
        to the settings of the boot configuration."""
        self._identified_call(RESET, "reset", int(records_only))

    def queue(self, status: int, repeat: int = 1) -> int:
        """Let ``repeat`` calls, after those queued already, return ``status``.

        Gives the number of runs that the queue has place for.
        """
        what = f"queue status {status}"
        return self._identified_call(QUEUE, what, status & U32_LIMIT, repeat)[1]

    def log(self, first: int = 0) -> list[LogEntry]:
        """The calls since the last reset, from number ``first``, as far as remembered."""
        total = self.get("log_total")
        entries = []
        for seq in range(max(first, total - LOG_RECORDS), total):
            registers = self._raw(LOG, (seq,))
            # Newer calls may overwrite the oldest records while we read.
            if signed32(registers[0]) == 0:
                entries.append(self._entry(registers))
        return entries

    def start_model(self, base: int, size: int, line_size: int) -> None:
        """Model a cache of ``line_size`` (16 to 4096, a power of two) over a window of the
        target range, of at most MODEL_WINDOW_LIMIT; all of it is clean then.

        A model that was running ends.
        """
        what = f"model a cache at 0x{base:x} + 0x{size:x} with lines of {line_size}"
        self._identified_call(MODEL, what, base, size, line_size)

    def copy_media(self, addr: int, size: int, buffer: int, to_media: bool) -> None:
        """Let a device move up to MEDIA_BYTES_PER_COPY between the memory behind the window and
        a buffer elsewhere in the target range."""
        what = f"copy 0x{size:x} bytes of media at 0x{addr:x}"
        self._identified_call(MEDIA_COPY, what, addr, size, buffer, int(to_media))

    def target(self) -> range:
        """The memory that tests may aim at."""
        base = self.get_key(KEY_TARGET_BASE, 0)
        return range(base, base + self.get_key(KEY_TARGET_SIZE, 0))

    def stop_model(self) -> None:
        """Let the window be plain memory again, as the CPU saw it last."""
        self._identified_call(MODEL, "stop the model", 0, 0, 0)

    def state(self) -> dict[str, object]:
        """Everything that can be read, for JSON: ``settings`` and ``readings`` by name."""
        return {
            "settings": {
                kind.name: kind.show(self.get(kind.name)) for kind in SETTINGS if kind.readable
            },
            "readings": {name: self.get(name) for name in READINGS},
        }

    def _entry(self, registers: Sequence[int]) -> LogEntry:
        _, seq, fid, base, length, flags, mpidr, entered, left, x0, conduit = registers[:11]
        return LogEntry(
            seq=seq,
            fid=fid,
            base=base,
            length=length,
            flags=flags,
            mpidr=mpidr,
            entered_ns=self._ns(entered),
            left_ns=self._ns(left) if left else None,
            x0=x0,
            conduit=CONDUITS[conduit],
        )

    def _ns(self, ticks: int) -> int:
        return ticks * 1_000_000_000 // self._hz

    def _identified_call(self, fid: int, what: str, *arguments: int) -> Sequence[int]:
        if not self._hz:
            self.identify()
        return self._call(fid, what, *arguments)

    def _call(self, fid: int, what: str, *arguments: int) -> Sequence[int]:
        registers = self._raw(fid, arguments)
        status = signed32(registers[0])
        if status:
            raise OperationFailed(
                f"The firmware refused to {what}: {STATUS_NAMES.get(status, status)}.",
                "Board and pyctl may be of different versions: start the board again.",
            )
        return registers
