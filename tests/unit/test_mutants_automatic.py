# SPDX-License-Identifier: GPL-2.0-only
"""Mutants that nobody chose: which changes are made, and that each is one."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyctl.cache import Tree
from pyctl.errors import NotReady
from pyctl.kbuild import module_source
from pyctl.vm.build import stub_source
from tests.mutants import automatic, survivors
from tests.mutants.source import edited
from tests.unit.test_mutants import mutants

__all__ = ["mutants"]
pytest.importorskip("tree_sitter_c", reason="missing: tree-sitter-c, of the extra dev")
SOURCE = b"""\
#define TRIES 5
static_assert(TRIES);
static int call(struct one *one, u64 base, u32 size)
{
	char name[16];

	if (base + size <= limit && fault_hits(one))
		return 0;
	if (fault_hits(one)) {
		use(one, 1);
	} else if (one->size == size)
		return -1;
	lock(one);
	use(size, base);
	return one ? 2 : 3;
}
"""


def test_each_kind_of_change_is_made() -> None:
    made = {
        (SOURCE[start:end].decode(), new.decode())
        for start, end, new in automatic.changes_of(SOURCE)
    }
    assert made == {
        ("5", "5 + 1"),
        ("u64", "u32"),
        ("0", "(0 + 1)"),
        ("(one->size == size)", "(!(one->size == size))"),
        ("==", "!="),
        ("-1", "(-1 + 1)"),
        ("lock(one);", ";"),
        ("use(size, base);", ";"),
        ("size, base", "base, size"),
        ("2", "(2 + 1)"),
        ("3", "(3 + 1)"),
    }


def test_a_mutant_is_the_source_with_one_change() -> None:
    source = Tree((("a.c", 0o644, SOURCE), ("b.c", 0o644, SOURCE)))
    found = automatic.mutants_of(source, ("b.c",))
    assert len({new for _path, _old, new in found.values()}) == len(found)
    path, old, new = found["b.c 'lock(one);': lock(one); -> ;"]
    assert (path, old, new) == ("b.c", SOURCE.decode(), old.replace("lock(one)", ""))
    assert edited(source, (path, old, new)).files[0] == source.files[0]


@pytest.mark.parametrize(
    ("source", "paths"),
    [(module_source(), automatic.PROVIDER), (stub_source(), automatic.STUB)],
)
def test_there_are_many_in_each_file(source: Tree, paths: tuple[str, ...]) -> None:
    found = automatic.mutants_of(source, paths)
    for path in paths:
        assert sum(name.startswith(path) for name in found) >= 3


def test_a_survivor_is_a_mutant_and_has_its_proof(mutants: Any) -> None:
    found = {
        **automatic.mutants_of(module_source(), automatic.PROVIDER),
        **automatic.mutants_of(stub_source(), automatic.STUB),
    }
    for name, why in survivors.SURVIVORS.items():
        assert name in found
        assert why
    options = argparse.Namespace(by="automatic", sample=None, full=True, words=[])
    assert mutants.jobs(options).keys() == found.keys() - survivors.SURVIVORS.keys()
    options.full = False
    assert 12 <= len(mutants.jobs(options)) <= 24


@pytest.mark.parametrize(
    ("broken", "killed_by"),
    [
        ("the mutant does not build: why", "the compiler"),
        ("no answer: what was edited does not build: why", "the compiler"),
        ("no answer: no board comes up with it: why", "the boot"),
        ("no answer: the board was lost: why", "the loss of the board"),
        ("no test passed: 17 skipped", "all tests: none has found what it asks for"),
        ("the run did not end", None),
    ],
)
def test_what_nobody_gets_far_with_is_killed(
    mutants: Any, broken: str, killed_by: str | None
) -> None:
    def job(name: str, _what: object) -> Any:
        return mutants.Run(name, None, 1.0, broken)

    run = mutants.score_automatic("a", (job, None))
    assert (run.failed, run.broken) == (killed_by, "" if killed_by else broken)


def test_what_the_commands_leave_of_the_stub_its_tests_may_kill(
    mutants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    by_tests: list[Any] = []

    def tests(name: str, *options: str, tests: object) -> Any:
        assert tests == mutants.OF_STUB
        asked.append("-k" in options)
        failed, broken = by_tests.pop(0)
        return mutants.Run(name, failed, 2.0, broken)

    monkeypatch.setattr(mutants, "suite", tests)
    edit = next(iter(automatic.mutants_of(stub_source(), automatic.STUB).values()))
    for said, then, by, broken in (
        (("conformance CALL-1", ""), [], "conformance CALL-1", ""),
        ((None, "no answer"), [], None, "no answer"),
        ((None, ""), [("a likely test", "")], "a likely test", ""),
        ((None, ""), [(None, ""), ("a test", "")], "a test", ""),
        ((None, ""), [(None, ""), (None, "")], None, ""),
        # A few tests that skip themselves are not all.
        ((None, ""), [(None, mutants.NO_TEST), (None, "")], None, ""),
    ):
        asked.clear()
        by_tests[:] = then
        of_commands = mutants.Run("a", said[0], 1.0, said[1])
        monkeypatch.setattr(mutants, "score_commands", lambda *_what, run=of_commands: run)
        run = mutants.score_path("a", edit)
        assert (run.failed, run.broken) == (by, broken)
        assert (asked, run.seconds) == ([True, False][: len(then)], 1.0 + 2 * len(then))


def test_a_defect_of_the_stub_that_does_not_build_is_not_caught_by_every_test(
    mutants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Builder:
        def stub(self, _source: Path) -> None:
            raise NotReady("Could not compile the firmware stub.")

    monkeypatch.setattr(mutants, "BoardFactory", lambda _cache: SimpleNamespace(builder=Builder()))
    monkeypatch.setattr(mutants, "catch", lambda *_args, **_more: pytest.fail("it was run"))
    run = mutants.score_stub("stub: a", next(iter(mutants.stub.DEFECTS.values())))
    assert (run.failed, run.broken.startswith(mutants.NOT_BUILT)) == (None, True)
