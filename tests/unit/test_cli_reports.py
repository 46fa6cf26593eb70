# SPDX-License-Identifier: GPL-2.0-only
"""The commands that report: doctor, status, attributes, regions, and the JSON of each."""

from __future__ import annotations

import pytest

from tests.unit.fake_machine import ATTRIBUTES, COUNTERS, TARGET, TARGET_SIZE, Machine, lines

NOT_ROOT = "root"
NOT_MOUNTED = "not mounted"
NOT_LOADED = "not loaded"
OTHER_VERSION = "version 0.0.1"


def take_away(machine: Machine, what: str) -> None:
    if what == NOT_ROOT:
        machine.become(euid=1000)
        machine.hide_debugfs()
    elif what == NOT_MOUNTED:
        machine.write("/proc/mounts", "")
        machine.hide_debugfs()
    elif what == NOT_LOADED:
        machine.unload_test_module()
    else:
        machine.set_info(version="0.0.1")


@pytest.mark.parametrize("what", [NOT_ROOT, NOT_MOUNTED, NOT_LOADED, OTHER_VERSION])
@pytest.mark.parametrize(
    "arguments",
    [["attributes"], ["status"], ["invalidate", "--addr", hex(TARGET), "--size", "4K"]],
)
def test_what_is_missing_is_3_with_cause_and_cure(
    pyctl, machine: Machine, what: str, arguments: list[str]
) -> None:
    take_away(machine, what)
    ended = pyctl(*arguments, "--json")
    assert ended.status == 3
    assert ended.json["ok"] is False
    assert what in ended.json["error"]
    assert ended.json["hint"]


def test_attributes_in_full(pyctl) -> None:
    answer = pyctl("attributes", "--json").json
    assert answer == {
        "ok": True,
        "error": None,
        "smccc_version": "1.2",
        "conduit": "hvc",
        "clean_inv": 0,
        "attributes": 0,
        "status": 0,
        "global": True,
        "latency_us": 250,
        "rate_per_s": 100,
        "break_even_bytes": 2097152,
        "raw": {"x0": "0x0", "x1": "0x1", "x2": "0xfa", "x3": "0x64", "x4": "0x200000"},
        "provider": {
            "registered": True,
            "name": "smccc_cache",
            "global": True,
            "latency_us": 250,
            "rate_per_s": 100,
            "break_even_bytes": 2097152,
            "delay_us": 10000,
        },
    }


def test_attributes_for_people_have_units(pyctl) -> None:
    text = pyctl("attributes").out
    for words in ("250 us", "100 calls/s", "2MB", "whole cache", "10000 us between"):
        assert words in text


def test_zero_is_not_stated_and_not_unlimited(pyctl, machine: Machine) -> None:
    machine.set_attributes(**{**ATTRIBUTES, "x1": "0x0", "x2": "0x0", "x3": "0x0", "x4": "0x0"})
    ended = pyctl("attributes")
    assert ended.status == 0
    assert ended.out.count("not stated") == 3
    assert pyctl("attributes", "--json").json["rate_per_s"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features_clean_inv": -1, "features_attributes": -1}, "does not announce"),
        ({"status": -3}, "INVALID_PARAMETER"),
        ({"conduit": "none"}, "conduit"),
        ({"smccc_version": "0x10000"}, "1.1"),
    ],
)
def test_attributes_without_support_are_3_and_keep_what_is_known(
    pyctl, machine: Machine, changes: dict[str, object], words: str
) -> None:
    pairs = {**ATTRIBUTES, **changes}
    if pairs["features_attributes"] == -1:
        pairs = {key: value for key, value in pairs.items() if key[0] != "x" and key != "status"}
    machine.set_attributes(**pairs)
    ended = pyctl("attributes", "--json")
    assert ended.status == 3
    assert words in ended.json["error"]
    assert ended.json["clean_inv"] == pairs["features_clean_inv"]
    assert ended.json["conduit"] == pairs["conduit"]
    assert "latency" in pyctl("attributes").out or pairs.get("status") != 0


def test_regions_in_json_and_for_people(pyctl) -> None:
    ended = pyctl("regions", "--json")
    assert ended.status == 0
    found = ended.json["regions"]
    assert all(set(r) == {"addr", "size", "kind", "name", "safe", "why"} for r in found)
    safe = [r for r in found if r["safe"]]
    assert [(r["addr"], r["size"], r["kind"]) for r in safe] == [(hex(TARGET), TARGET_SIZE, "test")]
    assert "device" not in {r["kind"] for r in found}
    text = pyctl("regions").out
    assert "0x5f000000" in text
    assert "16M" in text


def test_status_in_full(pyctl, machine: Machine) -> None:
    answer = pyctl("status", "--json").json
    assert answer["ok"] is True
    assert [m["name"] for m in answer["modules"]] == ["memregion_test", "smccc_cache"]
    assert all(m["loaded"] and m["build_matches"] for m in answer["modules"])
    assert answer["provider"] == {"registered": True, "name": "smccc_cache"}
    assert answer["counters"] == COUNTERS
    text = pyctl("status").out
    assert "firmware calls 9" in text
    assert "20.0 ms" in text


def test_status_before_the_first_call_has_no_last_status(pyctl, machine: Machine) -> None:
    machine.write("/sys/kernel/debug/smccc_cache/counters", lines({**COUNTERS, "calls": 0}))
    assert "last status none" in pyctl("status").out


def test_status_notices_another_build(pyctl, machine: Machine) -> None:
    machine.write("/sys/module/smccc_cache/srcversion", "OTHER\n")
    ended = pyctl("status", "--json")
    assert ended.status == 3
    assert ended.json["modules"][1]["build_matches"] is False
    assert "another build" in ended.json["error"]


def test_status_without_a_build_to_compare_with_is_no_failure(pyctl, machine: Machine) -> None:
    machine.remove("/built")
    ended = pyctl("status", "--json")
    assert ended.status == 0
    assert ended.json["modules"][0]["build_matches"] is None


def test_status_without_our_provider_has_no_counters(pyctl, machine: Machine) -> None:
    machine.unload_provider(registered=1)
    answer = pyctl("status", "--json").json
    assert (answer["ok"], answer["counters"]) == (True, None)


@pytest.mark.parametrize("name", ["arm_smccc_cache", "hisi_soc_hha"])
def test_a_foreign_provider_is_named_where_its_module_shows(pyctl, machine, name: str) -> None:
    machine.unload_provider(registered=1)
    machine.write(f"/sys/module/{name}/refcnt", "0\n")
    assert pyctl("status", "--json").json["provider"]["name"] == name


def test_doctor_in_json_and_for_people(pyctl, machine: Machine) -> None:
    ended = pyctl("doctor", "--json")
    assert ended.status == 0
    assert ended.json["ok"] is True
    for check in ended.json["checks"]:
        assert {"name", "state", "why", "fix"} <= set(check)
    machine.unload_provider()
    ended = pyctl("doctor", "--json")
    assert ended.status == 3
    assert ended.json["ok"] is False
    states = {check["name"]: check["state"] for check in ended.json["checks"]}
    assert states["provider"] == "missing"
    text = pyctl("doctor").out
    assert "provider        missing" in text
    assert "-> Run `pyctl load`" in text
