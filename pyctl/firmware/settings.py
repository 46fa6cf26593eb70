# SPDX-License-Identifier: GPL-2.0-only
"""Everything that the stub's behaviour can be told to be, in one table.

From it come the boot configuration and what a running guest reads and changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pyctl.errors import UsageError
from pyctl.firmware.faults import parse_faults, script_words
from pyctl.firmware.numbers import (
    DURATION_LIMIT_US,
    KEY_COMMIT,
    KEY_QUEUED_STATUS,
    QUEUE_RUNS,
    U32_LIMIT,
    U64_LIMIT,
    ConfigEntry,
)
from pyctl.numbers import parse_number
from pyctl.smccc import STATUS_NAMES, VERSIONS, parse_status, signed32, version_text

_VERSIONS = {"none": 0} | VERSIONS
_WHOLE = ("refuse", "accept", "clamp")


class _Unparsable(Exception):
    """A value is not what its key takes; says what that is."""


@dataclass(frozen=True)
class Setting:
    """One ``KEY=VALUE``, checked: what was written and what the firmware gets."""

    name: str
    text: str
    entries: tuple[ConfigEntry, ...]

    def __str__(self) -> str:
        return f"{self.name}={self.text}"


@dataclass(frozen=True)
class SettingKind:
    """A setting that exists: ``parse`` gives its entries, ``show`` a value for JSON."""

    name: str
    key: int
    values: str
    help: str
    parse: Callable[[int, str], tuple[ConfigEntry, ...]]
    show: Callable[[int], int | str] = int
    readable: bool = True

    @property
    def usage(self) -> str:
        """``KEY=VALUE`` for a help text."""
        return f"{self.name}={self.values}"


def _number_up_to(limit: int) -> Callable[[int, str], tuple[ConfigEntry, ...]]:
    def parse(key: int, text: str) -> tuple[ConfigEntry, ...]:
        try:
            value = parse_number(text)
        except UsageError as error:
            raise _Unparsable(error.message) from None
        if value > limit:
            raise _Unparsable(f"It is more than {limit}.")
        return (ConfigEntry(key, 0, value),)

    return parse


def _flag(key: int, text: str) -> tuple[ConfigEntry, ...]:
    if text not in ("0", "1"):
        raise _Unparsable("It is neither 0 nor 1.")
    return (ConfigEntry(key, 0, int(text)),)


def _version(key: int, text: str) -> tuple[ConfigEntry, ...]:
    if text not in _VERSIONS:
        raise _Unparsable(f"It is none of {', '.join(_VERSIONS)}.")
    return (ConfigEntry(key, 0, _VERSIONS[text]),)


def _whole(key: int, text: str) -> tuple[ConfigEntry, ...]:
    if text not in _WHOLE:
        raise _Unparsable(f"It is none of {', '.join(_WHOLE)}.")
    return (ConfigEntry(key, 0, _WHOLE.index(text)),)


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


def _status(key: int, text: str) -> tuple[ConfigEntry, ...]:
    try:
        return (ConfigEntry(key, 0, parse_status(text) & U64_LIMIT),)
    except UsageError as error:
        raise _Unparsable(f"{error.message} {error.hint}") from None


def _queue(key: int, text: str) -> tuple[ConfigEntry, ...]:
    try:
        # The index of an entry counts its further repeats.
        return tuple(ConfigEntry(key, n - 1, status & U32_LIMIT) for status, n in parse_queue(text))
    except UsageError as error:
        raise _Unparsable(f"{error.message} {error.hint}".strip()) from None


def _faults(_key: int, text: str) -> tuple[ConfigEntry, ...]:
    try:
        return tuple(ConfigEntry(*word) for word in script_words(parse_faults(text)))
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
        "whole",
        0x10,
        "|".join(_WHOLE),
        "What is made of a call for all memory, (0, 2^64 - 1).",
        _whole,
        _WHOLE.__getitem__,
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


KEYS = {kind.name: kind.key for kind in SETTINGS if kind.readable} | READINGS


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
