# SPDX-License-Identifier: GPL-2.0-only
"""What is made of mutmut's mutants: which one says something, and how it is told."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from tests.mutants import judgement
from tests.mutants.survivors import JUDGEMENT

MADE = '''\
class Stage:
    def xǁStageǁverify__mutmut_orig(self):
        """Look."""
        if self.size > 2:
            raise Bad("It is too long.", "line")
        return self.size

    def xǁStageǁverify__mutmut_1(self):
        """Look."""
        if self.size >= 2:
            raise Bad("It is too long.", "line")
        return self.size

    def xǁStageǁverify__mutmut_2(self):
        """Look."""
        if self.size > 2:
            raise Bad("IT IS TOO LONG.", "line")
        return self.size

    def xǁStageǁverify__mutmut_3(self):
        """Look."""
        if self.size > 2:
            raise Bad("It is too long.", "LINE")
        return self.size


def x_of__mutmut_orig(one, two=0):
    return one


def x_of__mutmut_1(one, two=1):
    return one
'''
NOTED = {
    "pyctl.a.xǁStageǁverify__mutmut_1": 0,
    "pyctl.a.xǁStageǁverify__mutmut_2": 0,
    "pyctl.a.xǁStageǁverify__mutmut_3": 1,
    "pyctl.a.x_of__mutmut_1": 33,
}
CHANGE = "if self.size > 2: -> if self.size >= 2:"


@pytest.fixture
def made(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text(MADE)
    (tmp_path / "a.py.meta").write_text(json.dumps({"exit_code_by_key": NOTED}))
    return tmp_path


def test_a_mutant_that_no_test_killed_has_survived(made: Path) -> None:
    killed, survived = judgement.outcomes(made, ["a.py"])
    assert killed == 1
    assert [str(one) for one in survived] == [
        f"a.py Stage.verify: {CHANGE}",
        'a.py Stage.verify: raise Bad("It is too long.", "line") -> '
        'raise Bad("IT IS TOO LONG.", "line")',
        "a.py of: def x_of__mutmut_orig(one, two=0): -> def x_of__mutmut_1(one, two=1):",
    ]
    # The words of a sentence are no decision; a word by itself may be one.
    assert [one.is_words for one in survived] == [False, True, False]


@pytest.mark.parametrize(
    ("code", "killed"), [(1, 1), (36, 1), (None, 0), (2, 0), (5, 0), (33, 0), (34, 0), (-9, 0)]
)
def test_only_what_a_test_failed_on_or_never_ended_is_a_kill(
    made: Path, code: int | None, killed: int
) -> None:
    noted = {"exit_code_by_key": {"pyctl.a.x_of__mutmut_1": code}}
    (made / "a.py.meta").write_text(json.dumps(noted))
    found = judgement.outcomes(made, ["a.py"])
    assert (found[0], len(found[1])) == (killed, 1 - killed)


@pytest.mark.parametrize(
    ("function", "pattern", "why"),
    [
        ("Stage.verify", r"size > 2: ->", "A proof."),
        ("Stage.other", r"size > 2: ->", ""),
        ("Stage.verify", r"size > 3: ->", ""),
    ],
)
def test_a_proof_is_of_a_function_and_a_change(
    made: Path, monkeypatch: pytest.MonkeyPatch, function: str, pattern: str, why: str
) -> None:
    monkeypatch.setattr(judgement, "JUDGEMENT", {(function, pattern): "A proof."})
    assert judgement.outcomes(made, ["a.py"])[1][0].why == why


RULE = '''\
import x


@rule("A-1", "7.10", risky=True)
def _first(prober):
    """It holds."""
    return passed()


@contextmanager
def other():
    yield


RULES = (_first,)
'''


def test_rules_are_made_behind_their_functions() -> None:
    text = judgement.undecorated(RULE)
    assert "_first = rule('A-1', '7.10', risky=True)(_first)\n" in text
    [first, other] = [n for n in ast.parse(text).body if isinstance(n, ast.FunctionDef)]
    assert (first.name, first.decorator_list) == ("_first", [])
    assert len(other.decorator_list) == 1
    assert judgement.undecorated(text) == text


def test_every_file_and_test_is_there() -> None:
    for path in (*judgement.FILES, *judgement.TESTS):
        assert (judgement.TOP / path).is_file(), path


def test_every_proof_is_of_a_function_that_there_is() -> None:
    text = "\n".join((judgement.TOP / path).read_text() for path in judgement.FILES)
    for (function, _change), why in JUDGEMENT.items():
        assert why
        for name in function.split("."):
            assert f"def {name}(" in text or f"class {name}" in text, function
