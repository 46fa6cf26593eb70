# SPDX-License-Identifier: GPL-2.0-only
"""What the score takes for a finding of the commands, and what not."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from pyctl.errors import TargetLost
from tests.mutants import commands


def test_a_board_that_is_lost_names_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Boards:
        def boot(self, _spec: object) -> None:
            raise TargetLost("It hangs.")

    monkeypatch.setattr(commands, "BoardFactory", lambda _cache: Boards())
    monkeypatch.setattr(sys, "argv", ["commands", json.dumps(commands.asked("dt", ""))])
    with pytest.raises(SystemExit, match="the board was lost: It hangs"):
        commands.main()


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
