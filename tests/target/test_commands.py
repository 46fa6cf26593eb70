# SPDX-License-Identifier: GPL-2.0-only
"""The other commands on a real kernel: what they say agrees with kernel and firmware."""

import itertools
import platform
from pathlib import Path

import pytest

from pyctl.cli.main import COMMANDS
from pyctl.firmware.settings import parse_setting
from pyctl.target.kmod import insert
from pyctl.target.modinfo import find_file
from tests.harness.reports import OTHER_KIND

MODULES = ("memregion_test", "smccc_cache")
CHECKS = [
    *("arm64", "root", "debugfs", "lockdown", "signatures", "framework", "headers"),
    *("memregion_test", "smccc_cache", "smccc", "function", "provider", "tracing"),
]


def loaded():
    return [name for name in MODULES if Path(f"/sys/module/{name}").exists()]


def checks(ended):
    return {check["name"]: check for check in ended.json["checks"]}


# -- doctor ----


@pytest.mark.every_conduit
def test_doctor_finds_nothing_missing_on_a_good_board(pyctl, provider):
    ended = pyctl("doctor", "--json")
    assert (ended.status, ended.json["ok"], ended.err) == (0, True, "")
    found = checks(ended)
    assert list(found) == CHECKS
    for name, check in found.items():
        if check["needed"]:
            assert (check["state"], check["fix"]) == ("ok", None), name
    info = provider.debugfs.info()
    assert f"1.2, conduit {info.conduit}" in found["smccc"]["why"]
    assert "smccc_cache" in found["provider"]["why"]
    # A board has no headers, and needs none: the modules are built.
    assert (found["headers"]["state"], found["headers"]["needed"]) == ("missing", False)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("clean_inv=0", "SMCCC_ARCH_CLEAN_INV_MEMREGION (ARCH_FEATURES answered NOT_SUPPORTED)"),
        ("attributes=0", "SMCCC_ARCH_CLEAN_INV_MEMREGION_ATTRIBUTES (ARCH_FEATURES answered"),
        ("attributes_status=BUSY", "reading the attributes gave BUSY"),
        ("smccc=1.0", "SMCCC 1.0 cannot announce functions"),
    ],
)
def test_doctor_names_the_row_that_firmware_lacks(pyctl, provider, setting, words):
    provider.unload()
    provider.configure(setting)
    ended = pyctl("doctor", "--json")
    found = checks(ended)
    assert (ended.status, ended.json["ok"]) == (3, False)
    assert words in found["function"]["why"]
    assert {name for name, check in found.items() if check["needed"] and check["fix"]} == {
        *("function", "provider")
    }
    assert "function" in ended.message
    refused = pyctl("load")
    assert refused.status == 3
    assert "did not register" in refused.message
    attributes = pyctl("attributes", "--json")
    assert (attributes.status, attributes.json["ok"]) == (3, False)
    assert loaded() == ["memregion_test"], "what was loaded before a failed load stays"


def test_doctor_without_modules_says_load(pyctl, unloaded):
    ended = pyctl("doctor", "--json")
    found = checks(ended)
    assert ended.status == 3
    states = {name: found[name]["state"] for name in CHECKS}
    assert states["memregion_test"] == states["smccc_cache"] == "missing"
    assert states["smccc"] == states["function"] == states["provider"] == "unknown"
    # The kernel's configuration tells of the framework even so.
    assert (states["arm64"], states["root"], states["debugfs"]) == ("ok", "ok", "ok")
    assert states["framework"] == "ok"
    assert "pyctl load" in found["memregion_test"]["fix"]


def test_doctor_does_not_need_root(pyctl, provider):
    ended = pyctl("doctor", "--json", uid=65534)
    found = checks(ended)
    assert (ended.status, found["root"]["state"]) == (3, "missing")
    assert found["provider"]["state"] == "unknown"


# -- load, unload, status ----


@pytest.mark.parametrize(
    ("provider_option", "expected"),
    [("auto", [*MODULES]), ("ours", [*MODULES]), ("none", ["memregion_test"])],
)
def test_load_does_what_it_says_and_unload_undoes_it(pyctl, unloaded, provider_option, expected):
    for action in ("loaded", "kept"):
        ended = pyctl("load", "--provider", provider_option, "--json")
        assert (ended.status, ended.json["ok"], ended.err) == (0, True, "")
        done = [(module["name"], module["action"]) for module in ended.json["modules"]]
        assert done == [(name, action) for name in expected]
        assert loaded() == expected
        is_there = "smccc_cache" in expected
        name = "smccc_cache" if is_there else None
        assert ended.json["provider"] == {"registered": is_there, "name": name}

    status = pyctl("status", "--json")
    assert (status.status, status.json["ok"]) == (0, True)
    assert {module["name"]: module["loaded"] for module in status.json["modules"]} == {
        name: name in expected for name in MODULES
    }
    assert status.json["raw_calls"] is False
    assert (status.json["counters"] is not None) == is_there

    for action in ("unloaded", "absent"):
        ended = pyctl("unload", "--json")
        told = {module["name"]: module["action"] for module in ended.json["modules"]}
        assert ended.status == 0
        assert told == {name: action if name in expected else "absent" for name in MODULES}
        assert loaded() == []
    assert pyctl("status").status == 3


def test_load_is_all_or_nothing(pyctl, stub, unloaded, tmp_path, system):
    """The provider's file is missing or broken: the test module is taken out again."""
    (tmp_path / "memregion_test.ko").write_bytes(
        find_file(system, "memregion_test").path.read_bytes()
    )
    for content in (None, b"no module"):
        if content:
            (tmp_path / "smccc_cache.ko").write_bytes(content)
        ended = pyctl("load", "--modules", tmp_path, "--json")
        assert (ended.status, ended.json["ok"]) == (3, False)
        assert "smccc_cache" in ended.message
        assert loaded() == []


def test_load_takes_the_test_module_out_again_where_firmware_offers_nothing(
    pyctl, provider, stub, wait_until
):
    provider.configure("clean_inv=0")
    assert pyctl("unload").status == 0
    for option in ("auto", "ours"):
        ended = pyctl("load", "--provider", option)
        assert ended.status == 3
        assert "did not register" in ended.message
        assert loaded() == []
    file = find_file(provider.debugfs.system, "memregion_test")
    insert(file.path, "raw_calls=1")


def test_status_counts_what_firmware_counts(pyctl, provider, stub, target_range):
    stub.queue(-5, 2)
    provider.call(target_range.addr, 4096, count=3)
    counters = pyctl("status", "--json").json["counters"]
    assert (counters["requests"], counters["calls"], counters["busy"]) == (3, 5, 2)
    assert counters["calls"] == stub.get("clean_inv_calls")
    assert counters["waited_ns"] > 0
    assert "firmware calls 5, busy 2" in pyctl("status").out


def test_a_report_has_the_kernels_own_words(pyctl, provider):
    ended = pyctl("report", "--no-calls", "--json")
    assert ended.status == 0, ended.stderr
    names = [one["command"] for one in ended.json["commands"]]
    assert names == ["pyctl doctor", "pyctl status", "pyctl regions"]
    assert ended.json["commands"][1]["answer"]["provider"]["registered"] is True
    # Every kernel that knows PSCI says so at boot; a log that is too short may have lost it.
    assert ended.json["kernel_log"] is not None
    assert all(line.startswith("[") for line in ended.json["kernel_log"])


# -- attributes ----


@pytest.mark.every_board
def test_attributes_are_what_firmware_was_told(pyctl, provider):
    rate, latency_us, break_even = 0x1_0000_0200, 4321, 0x7_0000_0001
    provider.load(
        f"rate={rate}", f"latency_us={latency_us}", f"break_even={break_even}", "global=1"
    )
    ended = pyctl("attributes", "--json")
    assert ended.status == 0
    conduit = provider.debugfs.info().conduit
    assert ended.json == {
        "ok": True,
        "error": None,
        "smccc_version": "1.2",
        "conduit": conduit,
        "clean_inv": 0,
        "attributes": 0,
        "status": 0,
        "global": True,
        "latency_us": latency_us,
        "rate_per_s": rate,
        "break_even_bytes": break_even,
        "raw": {
            "x0": "0x0",
            "x1": "0x1",
            "x2": hex(latency_us),
            "x3": hex(rate),
            "x4": hex(break_even),
        },
        "provider": {
            "registered": True,
            "name": "smccc_cache",
            "global": True,
            "latency_us": latency_us,
            # A weakness that is kept: the provider looks at 32 bits of the rate.
            "rate_per_s": rate & 0xFFFF_FFFF,
            "break_even_bytes": break_even,
            "delay_us": latency_us,
        },
    }
    # Firmware is asked anew; what the provider took when it was loaded stays.
    provider.configure("global=0", "latency_us=1")
    answer = pyctl("attributes", "--json").json
    assert (answer["global"], answer["latency_us"]) == (False, 1)
    assert (answer["provider"]["global"], answer["provider"]["latency_us"]) == (True, latency_us)


def test_attributes_of_a_firmware_that_refuses_mean_nothing(pyctl, provider, stub):
    provider.unload()
    stub.set(parse_setting("latency_us=5"))
    stub.set(parse_setting("attributes_status=BUSY"))
    ended = pyctl("attributes", "--json")
    answer = ended.json
    assert (ended.status, answer["ok"], answer["status"]) == (3, False, -5)
    for key in ("global", "latency_us", "rate_per_s", "break_even_bytes"):
        assert answer[key] is None
    assert int(answer["raw"]["x0"], 16) & 0xFFFF_FFFF == 0xFFFF_FFFB


# -- regions ----


def iomem():
    """Top-level ranges of /proc/iomem as (first, last, name)."""
    found = []
    for line in Path("/proc/iomem").read_text().splitlines():
        if not line.startswith(" "):
            span, _, name = line.partition(" : ")
            first, last = (int(word, 16) for word in span.split("-"))
            found.append((first, last, name))
    return found


def test_regions_agree_with_the_kernel(pyctl, target_range):
    ended = pyctl("regions", "--json")
    assert (ended.status, ended.json["ok"]) == (0, True)
    regions = ended.json["regions"]
    spans = [(int(region["addr"], 16), region["size"]) for region in regions]
    assert spans == sorted(spans)
    for region, (addr, size) in zip(regions, spans, strict=True):
        assert set(region) == {"addr", "size", "kind", "name", "safe", "why"}
        assert size > 0
        assert region["why"]
        inside = [name for first, last, name in iomem() if first <= addr <= addr + size - 1 <= last]
        assert len(inside) == 1, f"{region} lies in one resource of the kernel's"
        # RAM of the kernel's is never safe, whatever lies in it.
        assert not (region["safe"] and inside[0] == "System RAM")
    for (addr, size), (following, _) in itertools.pairwise(spans):
        assert addr + size <= following, "nothing overlaps"
    # All RAM that the kernel has is told of.
    told = sum(
        size
        for addr, size in spans
        if any(f <= addr <= t for f, t, n in iomem() if n == "System RAM")
    )
    assert told == sum(last - first + 1 for first, last, name in iomem() if name == "System RAM")


def test_the_target_range_is_the_one_that_is_safe(pyctl, reserved_range):
    nodes = list(Path("/proc/device-tree/reserved-memory").glob("memregion-test@*"))
    if not nodes:
        pytest.skip(f"{OTHER_KIND} one whose device tree has a range for tests")
    [node] = nodes
    base, size = (int.from_bytes((node / "reg").read_bytes()[n : n + 8]) for n in (0, 8))
    safe = [region for region in pyctl("regions", "--json").json["regions"] if region["safe"]]
    assert [(int(region["addr"], 16), region["size"]) for region in safe] == [(base, size)]
    assert safe[0]["kind"] == "test"


# -- all of them ----


def test_every_command_has_help_here(pyctl):
    overview = pyctl("--help").out
    for name in COMMANDS:
        assert name in overview
        ended = pyctl(name, "--help")
        assert (ended.status, ended.err) == (0, ""), name
        assert "Usage: pyctl" in ended.out
        assert len(ended.out.splitlines()) > 5


def test_a_command_that_reports_prints_one_json_object(pyctl, provider, aimed):
    for arguments in (
        ("doctor",),
        ("load",),
        ("status",),
        ("attributes",),
        ("regions",),
        ("invalidate", *aimed, "--size", "4K"),
    ):
        ended = pyctl(*arguments, "--json")
        assert (ended.status, ended.err) == (0, ""), arguments
        assert ended.json["ok"] is True
        assert ended.json["error"] is None


def test_build_without_headers_is_3(pyctl, on_target):
    if Path(f"/lib/modules/{platform.release()}/build/Makefile").exists():
        pytest.skip(f"{OTHER_KIND} one without kernel headers")
    ended = pyctl("build", "--json")
    assert (ended.status, ended.json["ok"]) == (3, False)
    assert "headers" in ended.message + ended.json["hint"]
