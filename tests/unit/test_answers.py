# SPDX-License-Identifier: GPL-2.0-only
"""The texts of debugfs, as values and as JSON."""

from __future__ import annotations

import pytest

from pyctl.errors import NotReady
from pyctl.target.answers import (
    Counters,
    Discovery,
    Fields,
    FirmwareCalls,
    Info,
    ProviderAttributes,
    Record,
    Request,
)
from tests.unit.fake_machine import COUNTERS, PROVIDER_ATTRIBUTES, lines


def test_a_text_of_another_version_is_named_as_such() -> None:
    for text in ("version", "version=0.1.0 conduit", "version=0.1.0\npa_bits=many"):
        with pytest.raises(NotReady, match="does not say what this pyctl expects") as caught:
            Info.parse(Fields("the file", text))
        assert "pyctl build" in caught.value.hint


def test_attributes_take_only_the_bits_that_the_specification_gives_them() -> None:
    fields = Fields(
        "x",
        "smccc_version=0x10001 conduit=smc features_clean_inv=0 features_attributes=0 status=0 "
        "x0=0x0 x1=0xfffffffffffffffe x2=0xdeadbeef000000fa x3=0x100000000 x4=0x40",
    )
    found = Discovery.parse(fields)
    assert found.is_global is False
    assert found.latency_us == 250
    assert found.rate_per_s == 1 << 32
    assert found.break_even_bytes == 64


def test_attributes_of_a_failed_call_mean_nothing() -> None:
    fields = Fields(
        "x",
        "smccc_version=0x10001 conduit=smc features_clean_inv=0 features_attributes=0 status=-3 "
        "x0=0xfffffffd x1=0x1 x2=0xfa x3=0x64 x4=0x40",
    )
    found = Discovery.parse(fields)
    assert (found.is_global, found.latency_us, found.rate_per_s) == (None, None, None)
    assert found.break_even_bytes is None
    assert found.raw == (0xFFFF_FFFD, 1, 0xFA, 0x64, 0x40)


def test_a_request_says_dry_run_only_where_it_is_one() -> None:
    plain = Request(0x1000, 64)
    assert plain.text() == "addr=0x1000 size=0x40 via=memregion count=1 threads=1\n"
    dry = Request(0x1000, 64, "smccc", 3, 2, dry_run=True)
    assert dry.text() == "addr=0x1000 size=0x40 via=smccc count=3 threads=2 dry_run=1\n"
    assert dry.calls == 6


def test_each_key_of_a_file_is_read_and_told_under_its_name() -> None:
    counters = Counters.parse(Fields("x", lines(COUNTERS)))
    assert counters.as_json() == COUNTERS
    taken = ProviderAttributes.parse(Fields("x", lines(PROVIDER_ATTRIBUTES)))
    assert taken.is_global is True
    keys = ("global", "latency_us", "rate_per_s", "break_even_bytes", "delay_us")
    assert taken.as_json() == {**{key: PROVIDER_ATTRIBUTES[key] for key in keys}, "global": True}
    assert ProviderAttributes.no_json() == dict.fromkeys(keys)


def test_a_record_tells_of_firmware_only_where_the_module_called_it() -> None:
    text = (
        "errno=16 completed=3 vacuous=0 interrupted=0 provider=1 "
        "min_ns=1 p50_ns=2 p99_ns=3 max_ns=4 total_ns=8"
    )
    record = Record.parse(Fields("x", text))
    assert record.firmware is None
    assert record.elapsed.as_json() == {"min": 1, "p50": 2, "p99": 3, "max": 4, "total": 8}
    for calls, status in ((4, -5), (0, None)):
        more = f" fw_calls={calls} fw_busy=1 fw_rate_limited=0 fw_last_status=-5"
        record = Record.parse(Fields("x", text + more))
        assert record.firmware == FirmwareCalls(calls, 1, 0, status)
        assert (record.errno, record.completed, record.provider) == (16, 3, True)


def test_what_firmware_was_not_asked_for_is_none() -> None:
    found = Discovery.parse(Fields("x", "smccc_version=0x10000 conduit=none"))
    assert (found.smccc_version, found.conduit) == (0x1_0000, "none")
    assert (found.clean_inv, found.attributes, found.status, found.raw) == (None,) * 4
