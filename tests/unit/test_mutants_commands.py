# SPDX-License-Identifier: GPL-2.0-only
"""What the score takes for a finding of the commands, and what not."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from pyctl.errors import TargetLost
from pyctl.kbuild import module_source
from tests.mutants import commands, provider
from tests.mutants.source import edited


@pytest.mark.parametrize(
    ("losses", "is_good", "asked", "found"),
    [
        (1, False, 2, True),
        (3, False, 3, False),
        # Good firmware has no part in it, and one board that is lost is one too many.
        (1, True, 1, False),
    ],
)
def test_a_board_that_is_lost_names_nothing_and_another_one_is_asked(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    losses: int,
    is_good: bool,
    asked: int,
    found: bool,
) -> None:
    boots: list[object] = []

    class Boards:
        @contextlib.contextmanager
        def boot(self, spec: object) -> Iterator[None]:
            boots.append(spec)
            if len(boots) <= losses:
                raise TargetLost("It hangs.")
            yield None

    monkeypatch.setattr(commands, "BoardFactory", lambda _cache: Boards())
    answer = (1, {"cases": [CASE | {"error": "It was busy."}], "error": "It was busy."})
    monkeypatch.setattr(commands, "said", lambda _board, *_words: answer)
    wanted = commands.asked("dt", "") | {"is_good": is_good}
    monkeypatch.setattr(sys, "argv", ["commands", json.dumps(wanted)])
    if found:
        commands.main()
        assert json.loads(capsys.readouterr().out)["found"]
    else:
        with pytest.raises(SystemExit, match="the board was lost: It hangs"):
            commands.main()
    assert len(boots) == asked


RULE = {"id": "FID-1", "result": "pass", "evidence": {"summary": "Because."}}
CASE = {"name": "a page", "bad": [], "error": None}
BAD = {"sentence": "line 0x5f001040: stale: at 0x5f001041 the cpu sees 0"}


@pytest.mark.parametrize(
    ("command", "status", "answer", "found"),
    [
        ("conformance", 0, {"rules": [RULE], "ask_vendor": []}, []),
        (
            "conformance",
            0,
            {"rules": [RULE | {"result": "fail"}], "ask_vendor": []},
            ["conformance FID-1: Because."],
        ),
        (
            "conformance",
            0,
            {"rules": [RULE], "ask_vendor": ["FID-1"]},
            ["conformance FID-1: ask: Because."],
        ),
        # What is not there cannot be named.
        ("coherency", 3, {"error": "No provider."}, []),
        ("conformance", 4, {"rules": [], "error": "It never came back."}, ["conformance: It"]),
        ("coherency", 0, {"cases": [CASE]}, []),
        (
            "coherency",
            1,
            {"cases": [CASE, CASE | {"name": "a line", "bad": [BAD]}], "error": "1 of 9 lines."},
            ["coherency 'a line': line 0x5f001040: stale: at 0x5f001041 the cpu"],
        ),
        # The answer's sentence is about the first case with bad lines, not the first bad one.
        (
            "coherency",
            1,
            {
                "cases": [CASE | {"error": "It was busy."}, CASE | {"bad": [BAD]}],
                "error": "1 of 9 lines.",
            },
            ["coherency 'a page': It was busy."],
        ),
    ],
)
def test_a_complaint_is_a_rule_or_case_and_its_sentence(
    command: str, status: int, answer: dict[str, Any], found: list[str]
) -> None:
    complaints = commands.complaints
    told = complaints(command, status, answer)
    assert [one.startswith(start) for one, start in zip(told, found, strict=True)] == [True] * len(
        found
    )
    if answer.get("ask_vendor"):
        assert complaints(command, status, answer, may_ask=True) == []


def test_every_defect_of_the_provider_is_to_be_named_or_nobody_can_see_it() -> None:
    asked = commands.provider_defects()
    assert asked.keys() | provider.INVISIBLE.keys() == provider.DEFECTS.keys()
    assert not asked.keys() & provider.INVISIBLE.keys()
    assert provider.STATED.keys() <= asked.keys()
    # Good ones are asked the same, and each fits its source and is known by another name.
    good = commands.good_providers()
    assert {one["board"]["firmware"][0] for one in good.values() if one["board"]["firmware"]} >= {
        *provider.STATED.values()
    }
    for one in (*asked.values(), *good.values()):
        files = {
            name: data.decode()
            for name, _mode, data in functools.reduce(
                edited, one["provider"], module_source()
            ).files
        }
        assert f"obj-m := {provider.STRANGER}.o" in files["module/smccc_cache/Kbuild"]


@pytest.mark.parametrize("is_good", [False, True])
def test_a_provider_is_judged_by_what_there_is_for_it(
    monkeypatch: pytest.MonkeyPatch, is_good: bool
) -> None:
    said: list[tuple[str, ...]] = []

    def answer(_board: object, *words: str) -> tuple[int, dict[str, Any]]:
        said.append(words)
        return 3, {"rules": [RULE], "ask_vendor": [], "error": "One could not be run."}

    monkeypatch.setattr(commands, "said", answer)
    monkeypatch.setattr(commands, "_board", lambda *_: contextlib.nullcontext())
    found, statuses = commands.judged(commands.asked_of_provider("", (provider.RENAMED,), is_good))
    assert said == [("conformance", "--provider")]
    assert statuses == {"conformance --provider": 3}
    # What could not be run accuses nobody, and of a good one it is no pass.
    assert bool(found) == is_good
