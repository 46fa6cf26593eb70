# SPDX-License-Identifier: GPL-2.0-only
"""The running stub, asked and told by raw SMCCC calls.

A guest reads and changes what the boot configuration has set, reads the log of
calls, arms faults, and works the modelled cache. The first call of any kind is
the identification, so no other vendor's firmware is ever called.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from pyctl.errors import NotReady, OperationFailed, UsageError
from pyctl.firmware.fault_kinds import CALLS, KINDS_BY_NUMBER
from pyctl.firmware.faults import (
    Fault,
    Word,
    check,
    commit_word,
    cpu_of,
    script_words,
    slot_mask,
)
from pyctl.firmware.numbers import (
    ANY_CPU,
    CALL_REVISION,
    CALL_UID,
    CONDUITS,
    GET,
    KEY_COMMIT,
    KEY_FIRED,
    KEY_KIND,
    KEY_PARAMETER,
    KEY_QUEUED_STATUS,
    KEY_SEEN,
    KEY_TARGET_BASE,
    KEY_TARGET_SIZE,
    LOG,
    LOG_RECORDS,
    MAJOR_REVISION,
    MEDIA_COPY,
    MODEL,
    QUEUE,
    RESET,
    SET,
    SLOTS,
    U32_LIMIT,
    UUID_WORDS,
    RawCall,
)
from pyctl.firmware.settings import KEYS, READINGS, SETTINGS, Setting
from pyctl.smccc import STATUS_NAMES, signed32


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
        if name not in KEYS:
            raise UsageError(
                f"The firmware has no value {name!r} to read.", f"It has {', '.join(KEYS)}."
            )
        return self._identified_call(GET, f"read {name}", KEYS[name], 0)[1]

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
        """Zero counters and log.

        Unless ``records_only``, also empty the queue and go back to the settings of the
        boot configuration.
        """
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
        """Model a cache over a window of the target range; all of it is clean then.

        ``line_size`` is 16 to 4096, a power of two; ``size`` at most MODEL_WINDOW_LIMIT.
        A model that was running ends.
        """
        what = f"model a cache at 0x{base:x} + 0x{size:x} with lines of {line_size}"
        self._identified_call(MODEL, what, base, size, line_size)

    def copy_media(self, addr: int, size: int, buffer: int, to_media: bool) -> None:
        """Let a device move bytes between the memory behind the window and a buffer.

        The buffer lies elsewhere in the target range; ``size`` is at most MEDIA_BYTES_PER_COPY.
        """
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


@dataclass(frozen=True)
class ArmedFault:
    """A fault in force, with the calls that it was about and those that suffered it."""

    slot: int
    fault: Fault
    seen: int
    fired: int


class Faults:
    """The faults of a running stub."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    def armed(self) -> list[ArmedFault]:
        """What is in force now."""
        return [fault for slot in range(SLOTS) if (fault := self._read(slot))]

    def _read(self, slot: int) -> ArmedFault | None:
        number = self._stub.get_key(KEY_KIND, slot)
        if not number:
            return None
        kind = KINDS_BY_NUMBER[number]
        parameter, count, every, mpidr, calls, seen, fired = (
            self._stub.get_key(key, slot)
            for key in (*range(KEY_PARAMETER, KEY_COMMIT), KEY_SEEN, KEY_FIRED)
        )
        fault = Fault(
            kind,
            parameter,
            count,
            every,
            None if mpidr == ANY_CPU else cpu_of(mpidr),
            tuple(name for name in kind.calls if CALLS[name] & calls),
        )
        return ArmedFault(slot, fault, seen, fired)

    def replace(self, faults: Sequence[Fault]) -> None:
        """Make ``faults`` all that is armed; calls held by former ones go on."""
        check(faults)
        self._write(script_words(faults))

    def add(self, faults: Sequence[Fault]) -> list[int]:
        """Arm ``faults`` beside what is armed already; gives their slots.

        Raises UsageError if they contradict that, or there is no place.
        """
        armed = self.armed()
        check([*(one.fault for one in armed), *faults])
        taken = {one.slot for one in armed}
        slots = [slot for slot in range(SLOTS) if slot not in taken][: len(faults)]
        pairs = zip(slots, faults, strict=True)
        words = [word for slot, fault in pairs for word in fault.words(slot)]
        self._write([*words, commit_word(slot_mask(slots), 0)])
        return slots

    def clear(self, slots: Collection[int] = range(SLOTS)) -> None:
        """Disarm; calls that are held by these go on."""
        self._write([commit_word(0, slot_mask(slots))])

    def _write(self, words: Iterable[Word]) -> None:
        for key, slot, value in words:
            self._stub.set_key(key, slot, value)
