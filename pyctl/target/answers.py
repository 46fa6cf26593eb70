# SPDX-License-Identifier: GPL-2.0-only
"""What pyctl and the modules say to each other, as values.

The ``key=value`` texts of debugfs become values here, and those that stand in an
answer of pyctl become JSON again. Nothing here touches the machine, so all of it
can be tested with made-up text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from pyctl.errors import NotReady


class Fields:
    """One block of ``key=value`` lines (or words) from a file of a module.

    A key that is missing or not a number means that the module is not the one
    that this pyctl belongs to, and is reported as such.
    """

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self._values: dict[str, str] = {}
        for word in text.split():
            key, equals, value = word.partition("=")
            if not equals:
                raise self._foreign(f"{word!r} is no key=value pair")
            self._values[key] = value

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def text(self, key: str) -> str:
        """The value as it stands."""
        try:
            return self._values[key]
        except KeyError:
            raise self._foreign(f"{key!r} is missing") from None

    def number(self, key: str) -> int:
        """The value as a number, decimal or 0x-hex, possibly negative."""
        value = self.text(key)
        try:
            return int(value, 16) if value.startswith("0x") else int(value)
        except ValueError:
            raise self._foreign(f"{key}={value} is no number") from None

    def flag(self, key: str) -> bool:
        """The value as yes (1) or no (0)."""
        return self.number(key) != 0

    def optional(self, key: str) -> int | None:
        """The number, or None where the module did not ask firmware for it."""
        return self.number(key) if key in self else None

    def _foreign(self, what: str) -> NotReady:
        return NotReady(
            f"{self.source} does not say what this pyctl expects: {what}.",
            "Module and pyctl are of different versions: run `pyctl unload`, `pyctl build`, "
            "`pyctl load`.",
        )


_READERS: dict[str, Callable[[Fields, str], object]] = {
    "str": Fields.text,
    "int": Fields.number,
    "bool": Fields.flag,
    "int | None": Fields.optional,
}
"""How a field of a type is read."""


class Answer:
    """What a file of a module says, as a dataclass: a field for each key, read as its type says."""

    SOURCES: ClassVar[Mapping[str, str | Callable[[Fields], object]]] = {}
    """For fields that are no keys: the key that the module uses, or what makes them of several."""
    JSON_KEYS: ClassVar[Mapping[str, str]] = {}
    """Fields that have another name in JSON."""

    @classmethod
    def parse(cls, fields: Fields) -> Self:
        """From a block of the file; NotReady where it does not say what it should."""
        values: dict[str, object] = {}
        for one in dataclasses.fields(cls):  # type: ignore[arg-type]
            source = cls.SOURCES.get(one.name, one.name)
            if isinstance(source, str):
                values[one.name] = _READERS[str(one.type)](fields, source)
            else:
                values[one.name] = source(fields)
        return cls(**values)

    @classmethod
    def no_json(cls) -> dict[str, None]:
        """The keys of ``as_json`` where there is nothing to say."""
        names = (one.name for one in dataclasses.fields(cls))  # type: ignore[arg-type]
        return {cls.JSON_KEYS.get(name, name): None for name in names}

    def as_json(self) -> dict[str, object]:
        """The fields under their names in JSON."""
        names = (one.name for one in dataclasses.fields(self))  # type: ignore[arg-type]
        return {self.JSON_KEYS.get(name, name): getattr(self, name) for name in names}


@dataclass(frozen=True)
class Info(Answer):
    """What memregion_test says about itself and the kernel under it."""

    version: str
    framework: bool
    """The kernel has cpu_cache_invalidate_memregion()."""
    provider: bool
    """Some provider is registered, so that the call is more than a silent success."""
    smccc_version: int
    conduit: str
    pa_bits: int
    page_size: int
    dcache_line_size: int
    raw_calls: bool
    max_count: int
    max_threads: int
    max_request_bytes: int
    scratch_max_bytes: int
    """The most scratch memory of all open files together."""


@dataclass(frozen=True)
class ScratchState(Answer):
    """What memregion_test says of the scratch memory of an open file."""

    addr: int
    size: int
    node: int
    guards: str
    """``intact`` or ``damaged``."""
    first_damage: int | None
    """Physical address of the first byte beside the memory that was seen changed."""


@dataclass(frozen=True)
class NamedRange(Answer):
    """What ``reserve_mem=`` on the kernel's command line has set aside for tests."""

    name: str
    addr: int
    size: int


@dataclass(frozen=True)
class Request:
    """One request for memregion_test's file ``invalidate``; ``count`` is per thread."""

    addr: int
    size: int
    via: str = "memregion"
    count: int = 1
    threads: int = 1
    dry_run: bool = False

    def text(self) -> str:
        """The line that the module reads."""
        line = (
            f"addr=0x{self.addr:x} size=0x{self.size:x} via={self.via}"
            f" count={self.count} threads={self.threads}"
        )
        return line + (" dry_run=1\n" if self.dry_run else "\n")

    @property
    def calls(self) -> int:
        """Calls that the whole request makes if nothing goes wrong."""
        return self.count * self.threads


@dataclass(frozen=True)
class RawRequest:
    """One SMCCC call for memregion_test's file ``smccc``: ``x`` holds x1 to x17 as far as given.

    Registers that are not given are 0. ``cpu`` None is any CPU.
    """

    fid: int
    x: tuple[int, ...] = ()
    cpu: int | None = None

    def text(self) -> str:
        """The line that the module reads."""
        pairs = [("fid", self.fid)]
        pairs += [(f"x{number}", value) for number, value in enumerate(self.x, 1)]
        if self.cpu is not None:
            pairs.append(("cpu", self.cpu))
        return words(pairs) + "\n"


@dataclass(frozen=True)
class RawAnswer:
    """What a raw SMCCC call returned: x0 to x17."""

    x: tuple[int, ...]
    lost: tuple[tuple[str, int], ...] = ()
    """Registers that no call may change and this one has, each with its new value."""
    sve_bytes: int = 0
    """Length of the Z registers that were looked at, 0 for none."""
    za_bytes: int = 0
    """Length of ZA's rows, 0 if it was not looked at."""


@dataclass(frozen=True)
class Elapsed(Answer):
    """Time of the calls alone, in nanoseconds; all 0 where no call was made."""

    SOURCES: ClassVar = {name: f"{name}_ns" for name in ("min", "p50", "p99", "max", "total")}

    min: int
    p50: int
    p99: int
    max: int
    total: int


@dataclass(frozen=True)
class FirmwareCalls(Answer):
    """Firmware calls that somebody counted, and the last status (signed 32-bit).

    None is what that somebody does not keep.
    """

    calls: int
    busy: int | None
    rate_limited: int | None
    last_status: int | None

    @classmethod
    def of_record(cls, fields: Fields) -> FirmwareCalls | None:
        """What a record says of them, if it does."""
        if "fw_calls" not in fields:
            return None
        calls = fields.number("fw_calls")
        return cls(
            calls=calls,
            busy=fields.number("fw_busy"),
            rate_limited=fields.number("fw_rate_limited"),
            last_status=fields.number("fw_last_status") if calls else None,
        )


@dataclass(frozen=True)
class Record(Answer):
    """What came of one request."""

    SOURCES: ClassVar = {"elapsed": Elapsed.parse, "firmware": FirmwareCalls.of_record}

    errno: int
    completed: int
    """Calls that were really made and returned 0."""
    vacuous: int
    """Calls that returned 0 while no provider was registered: nothing was invalidated."""
    interrupted: bool
    provider: bool
    """A provider was registered before and after every call."""
    elapsed: Elapsed
    firmware: FirmwareCalls | None
    """Only for ``via=smccc``, where the module itself calls firmware."""


def _raw(fields: Fields) -> tuple[int, ...] | None:
    return tuple(fields.number(f"x{n}") for n in range(5)) if "x0" in fields else None


@dataclass(frozen=True)
class Discovery(Answer):
    """What firmware answers when asked for the functions and their attributes.

    None means that it was not asked, because an earlier answer made no sense
    of asking.
    """

    SOURCES: ClassVar = {
        "clean_inv": "features_clean_inv",
        "attributes": "features_attributes",
        "raw": _raw,
    }

    smccc_version: int
    conduit: str
    clean_inv: int | None
    attributes: int | None
    status: int | None
    raw: tuple[int, ...] | None
    """x0 to x4 as CLEAN_INV_MEMREGION_ATTRIBUTES returned them."""

    @property
    def granted(self) -> tuple[int, ...] | None:
        """x0 to x4 where their contents mean something (status SUCCESS), else None."""
        return self.raw if self.status == 0 else None

    @property
    def is_global(self) -> bool | None:
        """Whether every call cleans and invalidates everything (x1 bit 0)."""
        return bool(self.granted[1] & 1) if self.granted else None

    @property
    def latency_us(self) -> int | None:
        """Worst-case latency of a call (x2[31:0])."""
        return self.granted[2] & 0xFFFF_FFFF if self.granted else None

    @property
    def rate_per_s(self) -> int | None:
        """Most calls per second (x3)."""
        return self.granted[3] if self.granted else None

    @property
    def break_even_bytes(self) -> int | None:
        """Size from which the call beats cleaning by VA (x4)."""
        return self.granted[4] if self.granted else None


@dataclass(frozen=True)
class ProviderAttributes(Answer):
    """What smccc_cache has taken from firmware."""

    SOURCES: ClassVar = {"is_global": "global"}
    JSON_KEYS: ClassVar = {"is_global": "global"}

    is_global: bool
    latency_us: int
    rate_per_s: int
    break_even_bytes: int
    delay_us: int
    """What it waits between two tries."""


@dataclass(frozen=True)
class Counters(Answer):
    """smccc_cache's counters since it was loaded."""

    requests: int
    calls: int
    busy: int
    rate_limited: int
    errors: int
    waited_ns: int
    last_status: int

    def since(self, before: Counters) -> FirmwareCalls:
        """The firmware calls between ``before`` and now."""
        calls = self.calls - before.calls
        return FirmwareCalls(
            calls=calls,
            busy=self.busy - before.busy,
            rate_limited=self.rate_limited - before.rate_limited,
            last_status=self.last_status if calls else None,
        )


def blocks(text: str) -> Iterator[str]:
    """The blocks of a file that separates its answers by empty lines."""
    return (block for block in text.split("\n\n") if block.strip())


def words(pairs: Iterable[tuple[str, int]]) -> str:
    """Pairs as the module reads them: ``key=0x1 key2=0x2``."""
    return " ".join(f"{key}=0x{value:x}" for key, value in pairs)
