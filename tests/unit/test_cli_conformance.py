# SPDX-License-Identifier: GPL-2.0-only
"""The command `conformance`: exit statuses, the ledger at any moment, and differences."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyctl.cli.report import BAD, coloured, progress
from pyctl.conformance import access
from pyctl.conformance.access import online_cpus
from pyctl.conformance.ledger import write
from pyctl.conformance.outcome import NotRun
from pyctl.conformance.run import RULES
from pyctl.errors import TargetLost
from pyctl.ranges import Range
from pyctl.target import debugfs
from pyctl.target.answers import RawRequest
from tests.unit.fake_firmware import ATTRIBUTES, OPERATION, FakeFirmware
from tests.unit.fake_machine import Machine

KEYS = {
    "complete",
    "risky",
    "firmware",
    "kernel",
    "version",
    "date",
    "rules",
    "target",
    "ask_vendor",
}


@pytest.fixture
def firmware(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeFirmware]:
    """Put firmware made of Python below the command."""

    def make(**changes: Any) -> FakeFirmware:
        machine.set_info(raw_calls=1)
        fake = FakeFirmware(**changes)
        monkeypatch.setattr(access, "ModuleAccess", lambda _debugfs, _info, _target: fake)
        return fake

    return make


def test_good_firmware_is_0_and_the_answer_has_every_rule(pyctl, firmware) -> None:
    firmware(rate=1000, latency_us=100)
    ended = pyctl("conformance", "--json")
    assert ended.status == 0
    answer = ended.json
    assert set(answer) == {"ok", "error", *KEYS}
    assert (answer["ok"], answer["complete"], answer["risky"]) == (True, True, False)
    assert [rule["id"] for rule in answer["rules"]] == [rule.id for rule in RULES]
    keys = {"id", "severity", "section", "statement", "result", "applies", "evidence"}
    for rule in answer["rules"]:
        assert set(rule) == keys
        assert rule["evidence"]["summary"]
        # Nothing that it needs is missing here.
        assert rule["applies"] == (rule["result"] != "not run")
    assert answer["firmware"]["attributes"]["x3"] == "0x3e8"


def test_people_see_a_line_and_a_reason_for_each_rule(pyctl, firmware) -> None:
    firmware()
    text = pyctl("conformance").out
    for rule in RULES:
        assert f"{rule.id:8}  {rule.severity}" in text
        assert rule.statement in text
    assert text.count("-> ") == len(RULES)


def test_what_broke_comes_first_and_the_rest_last(pyctl, firmware) -> None:
    def odd(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        """FID-4 is broken, REG-2 as well, and nonsense accepted."""
        if request.fid == 0xC000_0F0F:
            x[0] = 0
        if request.fid == OPERATION:
            x[:3] = [0, *x[1:2], 5]

    firmware(tamper=odd)
    ended = pyctl("conformance")
    assert ended.status == 1
    order = (
        *("FAIL: firmware breaks 1 required rule.", "FID-4 ", "(0x5f000000, 0x1000, 0x1) gave"),
        *("Broken, but only recommended:", "REG-2 "),
        *("Worth asking your firmware vendor:", "OPEN-3 "),
        *("Not applicable, or not asked for:", "TIME-1 ", "All else:", "DISC-1 "),
    )
    places = [ended.out.index(text) for text in order if "gave" not in text]
    assert places == sorted(places)
    assert "x0=0x0" in ended.out
    assert "\x1b" not in ended.out
    assert ended.err.startswith("pyctl: ")


def test_a_run_that_ends_early_tells_what_it_knows(pyctl, firmware) -> None:
    def get_lost(_firmware: FakeFirmware, request: RawRequest, _x: list[int]) -> None:
        if request.fid == OPERATION:
            raise TargetLost("The call never came back.")

    firmware(tamper=get_lost)
    ended = pyctl("conformance")
    assert ended.status == 4
    assert "INCOMPLETE" in ended.out
    assert "PASS" not in ended.out
    assert "DISC-1 " in ended.out


def test_good_firmware_is_told_so_first(pyctl, firmware) -> None:
    firmware()
    assert pyctl("conformance").out.startswith("PASS: firmware breaks no required rule.\n")


@pytest.mark.parametrize(("setting", "plain"), [("", False), ("1", True)])
def test_colours_are_for_terminals_whose_user_has_not_said_no(
    monkeypatch: pytest.MonkeyPatch, setting: str, plain: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", setting)
    assert (coloured("text", BAD) == "text") == plain
    assert "text" in coloured("text", BAD)


@pytest.mark.parametrize("is_terminal", [False, True])
def test_progress_is_for_terminals(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_terminal: bool
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    progress("at work")
    progress("")
    shown = capsys.readouterr()
    assert shown.out == ""
    assert ("at work" in shown.err) == is_terminal
    assert shown.err.endswith("\r\033[K" if is_terminal else "")


def test_a_broken_required_rule_is_1_and_named(pyctl, firmware) -> None:
    firmware(attributes=False)
    ended = pyctl("conformance", "--json")
    assert ended.status == 1
    assert "DISC-3" in ended.json["error"]
    assert ended.json["complete"] is True


def test_a_broken_recommended_rule_is_a_warning(pyctl, firmware) -> None:
    def clobber(_firmware: FakeFirmware, request: RawRequest, x: list[int]) -> None:
        if request.fid == OPERATION:
            x[2] = 5

    firmware(tamper=clobber)
    ended = pyctl("conformance", "--json")
    assert ended.status == 0
    assert "warning: REG-2" in ended.err


def test_a_required_rule_that_could_not_be_run_is_3(pyctl, firmware) -> None:
    firmware(target=None)
    ended = pyctl("conformance", "--json")
    assert ended.status == 3
    assert "CALL-1" in ended.json["error"]
    assert "pyctl regions" in ended.json["hint"]


def test_without_raw_calls_it_is_3_and_says_how_to_get_them(pyctl, machine: Machine) -> None:
    ended = pyctl("conformance", "--json")
    assert ended.status == 3
    assert "pyctl load --raw" in ended.json["hint"]
    assert ended.json["rules"] == []


@pytest.mark.parametrize("risky", [False, True])
def test_risky_says_first_what_it_will_do(pyctl, firmware, risky: bool) -> None:
    firmware()
    ended = pyctl("conformance", "--json", *(["--risky"] if risky else []))
    assert ended.json["risky"] is risky
    assert ("physical address width" in ended.err) == risky
    results = {rule["id"]: rule["result"] for rule in ended.json["rules"]}
    assert results["OPEN-5"] == ("observed" if risky else "not run")


def test_the_ledger_says_which_firmware_it_is_about(pyctl, firmware, machine: Machine) -> None:
    machine.write("/sys/class/dmi/id/bios_version", "1.4\n")
    machine.write("/sys/bus/soc/devices/soc0/soc_id", "jep106:036b:0241\n")
    machine.write("/proc/device-tree/model", "Board\0")
    firmware()
    ledger = machine.root / "ledger.json"
    assert pyctl("conformance", "--ledger", ledger).status == 0
    kept = json.loads(ledger.read_text())
    assert set(kept) == KEYS
    assert kept["firmware"]["bios"]["bios_version"] == "1.4"
    assert kept["firmware"]["soc"]["soc_id"] == "jep106:036b:0241"
    assert kept["firmware"]["model"] == "Board"
    assert kept["firmware"]["conduit"] == "hvc"
    assert kept["kernel"] == "7.3.4+deb13-cloud-arm64"
    assert kept["version"] == "0.1.0"
    assert kept["date"].startswith("20")


def test_what_a_machine_does_not_show_is_null(pyctl, firmware) -> None:
    firmware()
    shown = pyctl("conformance", "--json").json["firmware"]
    assert (shown["soc"], shown["bios"], shown["model"]) == (None, None, None)


def after(calls: int, error: BaseException) -> Callable[..., None]:
    """Raise ``error`` at a call of ATTRIBUTES."""
    seen = 0

    def tamper(_firmware: FakeFirmware, request: RawRequest, _x: list[int]) -> None:
        nonlocal seen
        seen += request.fid == ATTRIBUTES
        if seen > calls:
            raise error

    return tamper


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (TargetLost("The call never came back."), 4)]
)
def test_a_run_that_ends_early_keeps_what_it_knows_as_incomplete(
    pyctl, firmware, machine: Machine, error: BaseException, status: int
) -> None:
    ledger = machine.root / "ledger.json"
    firmware(tamper=after(10, error))
    ended = pyctl("conformance", "--json", "--ledger", ledger)
    assert ended.status == status
    for known in (ended.json, json.loads(ledger.read_text())):
        assert known["complete"] is False
        assert [rule["id"] for rule in known["rules"]][:4] == [
            "DISC-1",
            "DISC-2",
            "DISC-3",
            "DISC-4",
        ]
        assert len(known["rules"]) < len(RULES)
    assert ended.json["ok"] is False


def test_an_incomplete_ledger_is_no_pass_against_the_complete_one(
    pyctl, firmware, machine: Machine
) -> None:
    whole, part = machine.root / "whole.json", machine.root / "part.json"
    firmware()
    pyctl("conformance", "--ledger", whole)
    firmware(tamper=after(10, KeyboardInterrupt()))
    pyctl("conformance", "--ledger", part)
    ended = pyctl("conformance", "diff", whole, part, "--json")
    assert ended.status == 1
    changes = {change["id"]: change for change in ended.json["changes"]}
    assert changes["STAT-1"]["new"] == "missing"
    assert changes["STAT-1"]["regression"] is True
    assert "DISC-1" not in changes
    # Nothing that passed before is lost, and yet an incomplete run is no pass.
    ended = pyctl("conformance", "diff", part, part)
    assert ended.status == 1
    assert "incomplete" in ended.err


def test_a_ledger_that_cannot_be_written_stops_the_run_before_firmware_is_called(
    pyctl, firmware, machine: Machine
) -> None:
    fake = firmware()
    ended = pyctl("conformance", "--ledger", machine.root / "missing" / "ledger.json")
    assert ended.status == 1
    assert "missing" in ended.err
    assert fake.made == []


def test_a_ledger_without_a_name_is_2(pyctl, firmware) -> None:
    fake = firmware()
    ended = pyctl("conformance", "--ledger", "", "--json")
    assert (ended.status, ended.json["rules"], fake.made) == (2, [], [])


def test_a_ledger_is_replaced_and_never_half_written(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.json"
    write(ledger, {"rules": [1]})
    with ledger.open() as reader:
        write(ledger, {"rules": [2]})
        assert json.load(reader) == {"rules": [1]}
    assert json.loads(ledger.read_text()) == {"rules": [2]}
    with pytest.raises(TypeError):
        write(ledger, {"rules": object()})
    assert json.loads(ledger.read_text()) == {"rules": [2]}
    assert list(tmp_path.iterdir()) == [ledger]


# -- differences ----------------------------------------------------------------------


def rule(id: str, result: str, calls: list[Any] | None = None) -> dict[str, Any]:
    evidence: dict[str, Any] = {"summary": "So it was."}
    if calls:
        evidence["calls"] = calls
    return {"id": id, "severity": "required", "result": result, "evidence": evidence}


def diff(pyctl, tmp_path: Path, old: list[Any], new: list[Any], complete: bool = True):
    for name, rules in (("old", old), ("new", new)):
        known = {"complete": complete, "firmware": {"conduit": "hvc"}, "rules": rules}
        (tmp_path / name).write_text(json.dumps(known))
    return pyctl("conformance", "diff", tmp_path / "old", tmp_path / "new", "--json")


@pytest.mark.parametrize("result", ["fail", "not run", "observed"])
def test_a_rule_that_no_longer_passes_is_1(pyctl, tmp_path: Path, result: str) -> None:
    ended = diff(pyctl, tmp_path, [rule("A", "pass")], [rule("A", result)])
    assert ended.status == 1
    [change] = ended.json["changes"]
    assert (change["old"], change["new"], change["regression"]) == ("pass", result, True)
    assert "A" in ended.json["error"]


def test_a_rule_that_is_gone_is_1(pyctl, tmp_path: Path) -> None:
    ended = diff(pyctl, tmp_path, [rule("A", "pass"), rule("B", "pass")], [rule("B", "pass")])
    assert ended.status == 1
    assert [change["new"] for change in ended.json["changes"]] == ["missing"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ([rule("A", "fail")], [rule("A", "pass")]),
        ([rule("A", "fail")], [rule("A", "not run")]),
        ([], [rule("A", "fail")]),
        ([rule("A", "observed", [{"x0": "0x0"}])], [rule("A", "observed", [{"x0": "0x1"}])]),
    ],
)
def test_other_changes_are_shown_and_0(pyctl, tmp_path: Path, old: Any, new: Any) -> None:
    ended = diff(pyctl, tmp_path, old, new)
    assert ended.status == 0
    [change] = ended.json["changes"]
    assert (change["id"], change["regression"]) == ("A", False)


def test_equal_ledgers_are_0_and_say_so(pyctl, tmp_path: Path) -> None:
    ended = diff(pyctl, tmp_path, [rule("A", "pass")], [rule("A", "pass")])
    assert (ended.status, ended.json["changes"]) == (0, [])
    again = pyctl("conformance", "diff", tmp_path / "old", tmp_path / "new")
    assert "No rule changed" in again.out


def test_people_see_what_changed_about_firmware(pyctl, firmware, machine: Machine) -> None:
    old, new = machine.root / "old.json", machine.root / "new.json"
    firmware()
    pyctl("conformance", "--ledger", old)
    firmware(x1=1, attributes=False)
    pyctl("conformance", "--ledger", new)
    ended = pyctl("conformance", "diff", old, new)
    assert ended.status == 1
    assert "attributes: " in ended.out
    assert "DISC-3    pass -> fail  REGRESSION" in ended.out


def test_a_run_that_could_not_begin_is_no_pass_against_itself_or_another(
    pyctl, firmware, machine: Machine
) -> None:
    begun, ended = machine.root / "begun.json", machine.root / "ended.json"
    machine.set_info(raw_calls=0)
    begun.write_text(pyctl("conformance", "--json").out)
    assert json.loads(begun.read_text())["firmware"] is None
    firmware()
    pyctl("conformance", "--ledger", ended)
    for old in (begun, ended):
        compared = pyctl("conformance", "diff", old, begun, "--json")
        assert (compared.status, compared.json["firmware"]["new"]) == (1, None)
    assert pyctl("conformance", "diff", begun, begun).err.count("incomplete") == 2
    assert pyctl("conformance", "diff", begun, ended).status == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
RULE = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["A", "B"]) | JSON,
        "result": st.sampled_from(["pass", "fail"]) | JSON,
        "severity": st.just("required") | JSON,
        "evidence": st.fixed_dictionaries({"summary": st.text() | JSON, "calls": JSON}) | JSON,
    }
)
LEDGER = st.fixed_dictionaries(
    {
        "complete": st.booleans() | JSON,
        "firmware": st.fixed_dictionaries({"conduit": JSON}) | JSON,
        "rules": st.lists(RULE) | JSON,
    }
)


@given(LEDGER | JSON, LEDGER | JSON)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_two_files_hold_the_comparison_says_something(
    pyctl, tmp_path: Path, old: Any, new: Any
) -> None:
    for name, known in (("old", old), ("new", new)):
        (tmp_path / name).write_text(json.dumps(known))
    assert pyctl("conformance", "diff", tmp_path / "old", tmp_path / "new").status in (0, 1, 2)


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}", '{"rules": [{"id": "A"}], "complete": true}', "\x00\xff"),
        *('{"rules": 1}', "[" * 100_000, '{"rules": [], "complete": true, "firmware": "\\ud800"}'),
        '{"rules": [], "complete": true, "firmware": {"conduit": "\\ud800"}}',
    ],
    ids=lambda text: text[:70] or "nothing",
)
def test_a_file_that_is_no_ledger_is_2(pyctl, tmp_path: Path, text: str) -> None:
    (tmp_path / "good").write_text('{"rules": [], "complete": true, "firmware": {}}')
    (tmp_path / "bad").write_text(text, encoding="latin-1")
    for pair in (("good", "bad"), ("bad", "good")):
        ended = pyctl("conformance", "diff", *(tmp_path / name for name in pair), "--json")
        assert ended.status == 2
        assert "bad is not a ledger" in ended.json["error"]


def test_a_file_that_is_missing_is_2(pyctl, tmp_path: Path) -> None:
    ended = pyctl("conformance", "diff", tmp_path / "a", tmp_path / "b", "--json")
    assert ended.status == 2
    assert "No such file" in ended.json["error"]


# -- the machine under it --------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", [0]), ("0-3", [0, 1, 2, 3]), ("0,2-3,7", [0, 2, 3, 7]), (None, [0])]
)
def test_cpus_online(machine: Machine, text: str | None, cpus: list[int]) -> None:
    if text:
        machine.write("/sys/devices/system/cpu/online", text + "\n")
    assert online_cpus(machine.system) == cpus


def test_nothing_beside_the_safe_memory_is_stored_to(machine: Machine) -> None:
    machine.set_info(raw_calls=1)
    door = debugfs.Debugfs(machine.system)
    made = access.ModuleAccess(door, door.info(), None)
    made.target = Range(0x5F00_0000, 0x5F00_0040)
    with pytest.raises(NotRun, match="too small"), made.lines():
        pass


def test_a_whole_run_through_the_files_of_the_module(pyctl, machine, monkeypatch) -> None:
    """Text in, text out: what the module's files would say of good firmware on one CPU."""
    machine.set_info(raw_calls=1)
    fake = FakeFirmware(cpus=[0])

    def exchange(path: Path, request: bytes) -> bytes:
        assert len(request) <= machine.info["max_request_bytes"]
        return serve(fake, path.name, request.decode()).encode()

    monkeypatch.setattr(debugfs, "exchange", exchange)
    # Machine code of the target; tests/target has it run.
    monkeypatch.setattr(debugfs.Debugfs, "vectors_changed_by", lambda *_: [])
    ended = pyctl("conformance", "--json")
    assert ended.status == 0, ended.err
    assert ended.json["complete"] is True


def serve(fake: FakeFirmware, file: str, text: str) -> str:
    blocks = []
    for line in text.splitlines():
        words = dict(word.split("=") for word in line.split())
        if file == "smccc":
            x = tuple(int(words.get(f"x{n}", "0"), 16) for n in range(1, 18))
            cpu = int(words.get("cpu", "0"), 16)
            answer = fake.answer(RawRequest(int(words["fid"], 16), x, cpu))
            pairs = [f"x{n}=0x{value:x}" for n, value in enumerate(answer)]
        else:
            count = int(words["count"]) * int(words["threads"])
            pairs = [f"errno=0 completed={count} vacuous=0 interrupted=0 provider=1"]
            pairs += [f"{key}_ns=900" for key in ("min", "p50", "p99", "max", "total")]
            pairs += [f"fw_calls={count} fw_busy=0 fw_rate_limited=0 fw_last_status=0"]
        blocks.append("\n".join(pairs) + "\n")
    return "\n".join(blocks)
