# SPDX-License-Identifier: GPL-2.0-only
"""Tests that share a board: what one does to another is told, and never passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pyctl.errors import OperationFailed, TargetLost
from pyctl.vm.spec import Spec
from tests.harness import virtual
from tests.harness.virtual import NOT_ISOLATED, VmTarget

PASSED, FAILED, SKIPPED, LOST = "passed", "failed", "skipped", "lost"
Plan = dict[str, tuple[str, str]]


class Guest:
    """A board, on which each test ends as planned for a used or for a fresh one."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.ran: list[str] = []
        self.open = True

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        self.open = False

    def outcome(self, name: str) -> str:
        shared, pristine = self.plan.get(name, (PASSED, PASSED))
        outcome = shared if self.ran else pristine
        self.ran.append(name)
        return outcome


class Boards:
    """Makes boards and remembers them."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.made: list[Guest] = []

    def boot(self, _spec: object, _cold: bool) -> Guest:
        self.made.append(Guest(self.plan))
        return self.made[-1]


def run_on(guest: Guest, name: str, _timeout_s: float, _env: object = None) -> tuple[Any, str]:
    assert guest.open
    outcome = guest.outcome(name)
    if outcome == LOST:
        raise TargetLost("The board was lost.")
    return [{"outcome": outcome, "longrepr": f"why it {outcome}"}], f"printed by {name}"


Run = Callable[..., tuple[Any, str]]


@pytest.fixture
def boards() -> Boards:
    return Boards({})


@pytest.fixture
def run(boards: Boards, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Run a test by its name, on a board of a kind."""
    monkeypatch.delenv("PYCTL_FIRMWARE", raising=False)
    target = VmTarget.__new__(VmTarget)
    target.factory = boards  # type: ignore[assignment]
    target.shared = target.modules = None
    monkeypatch.setattr(target, "spec", lambda item, _board: item.kind)
    monkeypatch.setattr(target, "run_on", run_on)

    def one(name: str, kind: str = "a kind", pristine: bool = False) -> tuple[Any, str]:
        item = SimpleNamespace(
            kind=kind,
            config=SimpleNamespace(getoption=lambda _name: False),
            get_closest_marker=lambda _name: pristine or None,
        )
        return target.run(item, name, None, 60)

    yield one
    target.close()
    assert not any(guest.open for guest in boards.made)


def outcome(answer: tuple[Any, str]) -> str:
    return answer[0][0]["outcome"]


def test_tests_share_a_board_but_not_of_another_kind(run: Run, boards: Boards) -> None:
    for name, kind in (("a", "one"), ("b", "one"), ("c", "other")):
        assert outcome(run(name, kind)) == PASSED
    assert [guest.ran for guest in boards.made] == [["a", "b"], ["c"]]


def test_a_test_that_asks_for_a_board_of_its_own_has_one(run: Run, boards: Boards) -> None:
    run("a")
    run("b", pristine=True)
    run("c")
    assert [guest.ran for guest in boards.made] == [["a", "c"], ["b"]]


@pytest.mark.parametrize("bad", [FAILED, SKIPPED])
def test_what_does_not_pass_anywhere_is_told_once_with_both_results(
    run: Run, boards: Boards, bad: str
) -> None:
    boards.plan["b"] = (bad, bad)
    run("a")
    reports, printed = run("b")
    assert reports[0]["outcome"] == bad
    assert f"Where other tests had been, it {bad}, too" in printed
    assert [guest.ran for guest in boards.made] == [["a", "b"], ["b"]]


@pytest.mark.parametrize("bad", [FAILED, SKIPPED, LOST])
def test_what_does_not_pass_after_others_is_a_failure_that_names_them(
    run: Run, boards: Boards, bad: str
) -> None:
    boards.plan["c"] = (bad, PASSED)
    run("a")
    run("b")
    with pytest.raises(OperationFailed, match=NOT_ISOLATED) as raised:
        run("c")
    assert raised.value.message.endswith("\n  a\n  b")
    assert "the test passed" in raised.value.message


def test_a_skip_that_hides_a_failure_is_told(run: Run, boards: Boards) -> None:
    boards.plan["b"] = (SKIPPED, FAILED)
    run("a")
    with pytest.raises(OperationFailed, match="there the test failed"):
        run("b")


def test_a_board_on_which_a_test_failed_serves_no_other(run: Run, boards: Boards) -> None:
    boards.plan["a"] = (FAILED, FAILED)
    assert outcome(run("a")) == FAILED
    run("b")
    assert [guest.ran for guest in boards.made] == [["a"], ["b"]]


def test_a_board_that_is_lost_is_the_error_of_its_first_test(run: Run, boards: Boards) -> None:
    boards.plan["a"] = (LOST, LOST)
    with pytest.raises(TargetLost):
        run("a")
    run("b")
    assert [guest.ran for guest in boards.made] == [["a"], ["b"]]


def test_a_board_that_is_lost_everywhere_is_the_error_of_that_test(
    run: Run, boards: Boards
) -> None:
    boards.plan["b"] = (LOST, LOST)
    run("a")
    with pytest.raises(TargetLost):
        run("b")


def test_with_planted_faults_a_skip_is_not_asked_again(
    run: Run, boards: Boards, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards.plan["b"] = (SKIPPED, SKIPPED)
    monkeypatch.setenv("PYCTL_FIRMWARE", "fault=noop")
    run("a")
    assert outcome(run("b")) == SKIPPED
    assert len(boards.made) == 1


# -- which boards of the matrix --------------------------------------------------


def boards_for(full: bool = False, boards: str | None = None, **more: Any) -> list[str]:
    from tests.conftest import boards_for

    options = {"full": full, "boards": boards}
    config = SimpleNamespace(getoption=options.__getitem__)
    return boards_for(config, more["nodeid"], more["marks"])


def test_by_default_tests_take_turns_and_both_conduits_their_part() -> None:
    every = list(virtual.EVERY_BOARD)
    assert len(every) == 4
    seen = set()
    for number in range(50):
        [name] = boards_for(nodeid=f"test_{number}", marks={"every_board"})
        assert [name] == boards_for(nodeid=f"test_{number}", marks={"every_board"})
        seen.add(name)
        both = boards_for(nodeid=f"test_{number}", marks={"every_conduit"})
        assert {virtual.EVERY_BOARD[one]["conduit"] for one in both} == {"hvc", "smc"}
        assert {virtual.EVERY_BOARD[one]["cpus"] for one in both} == {1, 4}
    assert seen == set(every)


@pytest.mark.parametrize("mark", ["every_board", "every_conduit"])
def test_all_boards_or_those_that_are_named_if_asked_for(mark: str) -> None:
    assert boards_for(full=True, nodeid="a", marks={mark}) == list(virtual.EVERY_BOARD)
    named = boards_for(boards="@smc-1cpu,@uefi-4cpu", nodeid="a", marks={mark})
    assert named == ["@smc-1cpu", "@uefi-4cpu"]
    with pytest.raises(pytest.UsageError, match="--boards @hvc-2cpu: none of @hvc-1cpu, "):
        boards_for(boards="@hvc-1cpu,@hvc-2cpu", nodeid="a", marks={mark})


def test_every_board_has_the_kernel_that_is_asked_for() -> None:
    from tests.conftest import usual_board

    options = {"kernel": "image", "kdir": "tree", "stub": None, "boards": "@smc-4cpu"}
    target = VmTarget.__new__(VmTarget)
    target.usual = usual_board(SimpleNamespace(getoption=options.__getitem__))
    item = SimpleNamespace(iter_markers=lambda _name: [pytest.mark.board(cpus=1).mark])
    for board, cpus in ((None, 1), ({"cpus": 2}, 2)):
        spec = target.spec(item, board)
        assert (spec.kernel, spec.kdir, spec.conduit, spec.cpus) == ("image", "tree", "smc", cpus)


def test_boards_with_uefi_are_there_for_who_names_them() -> None:
    assert not [name for name in virtual.EVERY_BOARD if "uefi" in name]
    for cpus in (1, 4):
        options: dict[str, Any] = virtual.BOARDS[f"@uefi-{cpus}cpu"]
        spec = Spec(**options)
        assert (spec.boot, spec.calls_by, spec.cpus) == ("uefi", "smc", cpus)
