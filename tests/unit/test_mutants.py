# SPDX-License-Identifier: GPL-2.0-only
"""scripts/mutants: what it makes of the runs of the suite, for that is the project's score."""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pyctl.errors import NotReady
from pyctl.firmware.faults import parse_faults
from pyctl.kbuild import module_source
from tests.harness.virtual import NOT_ISOLATED
from tests.mutants.commands import NOT_BUILT

TOP = Path(__file__).resolve().parents[2]
BROKEN = "broken"


@pytest.fixture
def mutants() -> Iterator[Any]:
    """The script as a module."""
    name = "mutants_script"
    spec = spec_from_loader(name, SourceFileLoader(name, str(TOP / "scripts/mutants")))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    path = list(sys.path)
    # Its data classes look for their module.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path[:] = path


def prints(
    mutants: Any, top: Path, monkeypatch: pytest.MonkeyPatch, text: str, status: int
) -> None:
    """Let every program that a score runs print this, and end so."""
    python = top / "python"
    python.write_text(f"#!/bin/sh\ncat << END\n{text}\nEND\nexit {status}\n")
    python.chmod(0o755)
    monkeypatch.setattr(mutants, "PYTHON", python)


@pytest.mark.parametrize(
    ("printed", "status", "failed", "is_broken"),
    [
        ("12 passed in 3 s", 0, None, False),
        ("FAILED tests/a.py::b - assert 1\n1 failed, 3 passed", 1, "tests/a.py::b", False),
        ("ERROR tests/a.py::b - the board was lost\n1 error", 1, "tests/a.py::b", False),
        ("12 skipped in 3 s", 0, None, True),
        ("no tests ran", 5, None, True),
        ("1 failed", 1, None, True),
        ("INTERNALERROR", 3, None, True),
        ("FAILED tests/a.py::b\n!!! KeyboardInterrupt !!!", 2, "tests/a.py::b", True),
        (f"{NOT_ISOLATED}: why\nERROR tests/a.py::b", 1, "tests/a.py::b", True),
        ("The module memregion_test is not loaded.\nERROR tests/a.py::b", 1, "tests/a.py::b", True),
    ],
)
def test_only_a_run_in_which_tests_ran_says_something(
    mutants: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    printed: str,
    status: int,
    failed: str | None,
    is_broken: bool,
) -> None:
    prints(mutants, tmp_path, monkeypatch, printed, status)
    run = mutants.suite("a run", "@hvc-1cpu", "")
    assert (run.failed, bool(run.broken)) == (failed, is_broken)
    assert run.missed == (failed is None and not is_broken)


def test_a_run_without_end_says_nothing(
    mutants: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 100\n")
    python.chmod(0o755)
    monkeypatch.setattr(mutants, "PYTHON", python)
    monkeypatch.setattr(mutants, "RUN_TIMEOUT_S", 0.2)
    assert mutants.suite("a run", "@hvc-1cpu", "").broken == "the run did not end"


def looks(mutants: Any, monkeypatch: pytest.MonkeyPatch, answers: list[str | None]) -> list[Any]:
    """Let each look at a defect find the next of these; give what was looked at."""
    seen: list[Any] = []

    def suite(name: str, board: str, settings: str, *options: str, tests: tuple[str, ...]) -> Any:
        found = answers[len(seen)]
        seen.append((options[2], tests))
        if found == BROKEN:
            return mutants.Run(name, "a", 1.0, BROKEN)
        return mutants.Run(name, found, 1.0)

    monkeypatch.setattr(mutants, "suite", suite)
    return seen


def test_a_defect_that_can_be_seen_is_caught_by_one_look(
    mutants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = looks(mutants, monkeypatch, ["a"])
    assert mutants.catch("a defect", "", likely=()).failed == "a"
    assert len(seen) == 1


def test_a_defect_of_time_is_caught_ten_times_by_one_test(
    mutants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = looks(mutants, monkeypatch, [None] + ["a"] * 10)
    run = mutants.catch("a defect", "", likely=())
    assert (run.failed, run.seconds) == ("a", 11.0)
    assert seen == [
        ("not timing", mutants.SUITE),
        ("timing", mutants.SUITE),
        *[("timing", ("a",))] * 9,
    ]


@pytest.mark.parametrize("rounds", [0, 1, 9])
def test_a_defect_of_time_that_is_not_always_caught_is_missed(
    mutants: Any, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    looks(mutants, monkeypatch, [None] + ["a"] * rounds + [None, None])
    assert mutants.catch("a defect", "", likely=()).missed


def test_a_look_that_was_broken_is_not_a_catch(
    mutants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks(mutants, monkeypatch, [None, "a", BROKEN])
    run = mutants.catch("a defect", "", likely=())
    assert run.broken
    assert not run.missed


def outcome(mutants: Any, failed: str | None, broken: str = "") -> tuple[Callable[..., Any], None]:
    return lambda name, _what: mutants.Run(name, failed, 1.0, broken), None


def test_the_score_counts_catches_and_alarms(
    mutants: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {
        "firmware: a": outcome(mutants, "test"),
        "provider: b": outcome(mutants, "test"),
        "clean: c": outcome(mutants, None),
    }
    assert mutants.score(good, 2) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "caught 2/2, false alarms 0/1"
    assert mutants.score(good | {"provider: d": outcome(mutants, None)}, 2) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "caught 2/3, false alarms 0/1"
    assert mutants.score(good | {"clean: d": outcome(mutants, "test")}, 2) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "caught 2/2, false alarms 1/2"
    assert mutants.score(good | {"clean: d": outcome(mutants, None, "why")}, 2) == 1
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "caught 2/2, false alarms 0/1",
        "1 runs say nothing",
    ]


def test_an_interrupted_score_is_none(mutants: Any, capsys: pytest.CaptureFixture[str]) -> None:
    begun = []

    def interrupted(name: str, _what: object) -> None:
        begun.append(name)
        if len(begun) == 1:
            raise KeyboardInterrupt
        time.sleep(0.1)

    wanted = {"firmware: a": outcome(mutants, "test")}
    wanted |= {f"firmware: {n}": (interrupted, None) for n in range(100)}
    with pytest.raises(KeyboardInterrupt):
        mutants.score(wanted, 1)
    printed = capsys.readouterr().out
    assert "caught" not in printed
    assert "of 101 runs: this is no score" in printed
    assert len(begun) < 100


def test_a_score_that_was_interrupted_goes_on_for_the_same_source(
    mutants: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = []

    def work(name: str, _what: object) -> Any:
        begun.append(name)
        if name.endswith("c") and begun.count(name) == 1:
            raise KeyboardInterrupt
        return mutants.Run(name, "a test", 1.0, BROKEN if name.endswith("b") else "")

    wanted = {f"firmware: {letter}": (work, None) for letter in "abcd"}
    with pytest.raises(KeyboardInterrupt):
        mutants.score(wanted, 1, mutants.Done(mutants.TOP, tmp_path))
    capsys.readouterr()
    before = len(begun)
    # What said nothing is asked again.
    wanted |= {"firmware: b": outcome(mutants, "a test")}
    assert mutants.score(wanted, 1, mutants.Done(mutants.TOP, tmp_path)) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("going on after")
    assert printed.splitlines()[-1] == "caught 4/4, false alarms 0/0"
    assert begun[before:][0] == "firmware: c"
    assert "firmware: a" not in begun[before:]
    # A part that was scored is the end of that part.
    mutants.Done(mutants.TOP, tmp_path).keep(mutants.Run("stub: e", "a test", 1.0))
    assert mutants.score(wanted, 1, mutants.Done(mutants.TOP, tmp_path)) == 0
    assert set(mutants.Done(mutants.TOP, tmp_path).runs) == {"stub: e"}
    mutants.Done(mutants.TOP, tmp_path).forget({"stub: e"})
    assert mutants.Done(mutants.TOP, tmp_path).runs == {}


def test_what_was_kept_is_of_the_same_source(
    mutants: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "clone", "-q", "--shared", TOP, tmp_path / "other"], check=True)
    monkeypatch.setattr(mutants, "TOP", tmp_path / "other")
    mutants.Done(mutants.TOP, tmp_path).keep(mutants.Run("firmware: a", "a test", 1.0))
    assert set(mutants.Done(mutants.TOP, tmp_path).runs) == {"firmware: a"}
    (tmp_path / "other/README.md").write_text("other")
    assert set(mutants.Done(mutants.TOP, tmp_path).runs) == {"firmware: a"}
    (tmp_path / "other/tests/target/conftest.py").write_text("other")
    assert mutants.Done(mutants.TOP, tmp_path).runs == {}


def test_sigterm_ends_the_runs_as_a_ctrl_c_does(tmp_path: Path) -> None:
    """The boards of a run end with its pytest, which must have its turn to end them."""
    said = tmp_path / "said"
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\ntrap 'echo interrupted >> {said}; exit 130' INT\n"
        f"echo begun >> {said}\nwhile :; do sleep 0.05; done\n"
    )
    python.chmod(0o755)
    script = (
        "import sys; from importlib.machinery import SourceFileLoader as Loader\n"
        f"script = Loader('script', {str(TOP / 'scripts/mutants')!r}).load_module()\n"
        f"script.PYTHON = {str(python)!r}\n"
        f"script.cache_root = lambda: script.Path({str(tmp_path)!r})\n"
        "sys.argv[1:] = ['--jobs', '1', 'firmware:']\n"
        "sys.exit(script.main())\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not said.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        out, _ = process.communicate(timeout=60)
    finally:
        # Nothing runs on where this has failed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert process.returncode == 130
    assert "this is no score" in out
    assert said.read_text().split() == ["begun", "interrupted"]


def test_a_mutant_that_does_not_build_says_nothing(
    mutants: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    defect = next(iter(mutants.provider.DEFECTS.values()))
    source: list[Any] = []

    class Builder:
        def modules(self, _kernel: object, tree: Any) -> Any:
            source.append(tree)
            raise NotReady("Could not build the modules for 9.9.")

    boards = SimpleNamespace(builder=Builder(), roots=SimpleNamespace(kernel=lambda _name: None))
    monkeypatch.setattr(mutants, "BoardFactory", lambda _cache: boards)
    run = mutants.score_provider("provider: a", defect)
    assert "Could not build the modules for 9.9." in run.broken
    path, _old, new = defect
    ours = {name: data for name, _mode, data in module_source().files}
    changed = [name for name, _mode, data in source[0].files if ours[name] != data]
    assert changed == [path]
    assert any(name == path and new.encode() in data for name, _mode, data in source[0].files)


def test_every_defect_still_fits(mutants: Any) -> None:
    for name, script in mutants.firmware.DEFECTS.items():
        assert parse_faults(script), name
    for name, (path, old, new) in mutants.provider.DEFECTS.items():
        assert (TOP / path).read_text().count(old) == 1, name
        assert old != new, name
    scripts = mutants.firmware.DEFECTS.values()
    assert len(set(scripts)) == len(scripts)
    for name, edit in mutants.stub.DEFECTS.items():
        assert mutants.edited(mutants.stub_source(), edit) != mutants.stub_source(), name
    edits = [*mutants.provider.DEFECTS.values(), *mutants.stub.DEFECTS.values()]
    assert len(set(edits)) == len(edits)


def test_a_sample_is_fixed_and_has_defects_of_every_kind(mutants: Any) -> None:
    names = list(mutants.jobs(argparse.Namespace(by="suite", sample=12, full=False, words=[])))
    assert names == list(
        mutants.jobs(argparse.Namespace(by="suite", sample=12, full=False, words=[]))
    )
    assert {name.partition(":")[0] for name in names} == {"firmware", "provider", "stub", "uefi"}


def test_the_whole_score_has_clean_runs_of_every_kind(mutants: Any) -> None:
    wanted = mutants.jobs(argparse.Namespace(by="suite", sample=None, full=True, words=[]))
    kinds = {name.rpartition(" ")[0] for name in wanted if name.startswith("clean:")}
    assert len(kinds) == 12
    assert sum(name.startswith("clean:") for name in wanted) >= 20
    defects = len(mutants.firmware.DEFECTS) + len(mutants.provider.DEFECTS)
    defects += len(mutants.stub.DEFECTS) + len(mutants.firmware.SEEN_WITH_UEFI)
    assert len(wanted) == defects + 24
    picked = mutants.jobs(
        argparse.Namespace(by="suite", sample=None, full=False, words=["clean: @smc"])
    )
    assert len(picked) == 8


@pytest.mark.parametrize(("by", "defects", "clean"), [("suite", 28, 2), ("commands", 60, 24 + 12)])
def test_what_is_run_by_default_is_a_part_with_something_of_every_kind(
    mutants: Any, by: str, defects: int, clean: int
) -> None:
    every, some = (mutants.jobs(options_of(by=by, full=full)) for full in (True, False))
    assert some.items() <= every.items()
    kinds = collections.Counter(name.split(":")[0] for name in some)
    assert kinds.keys() == {name.split(":")[0] for name in every}
    assert kinds["clean"] >= clean
    assert defects <= len(some) - kinds["clean"] < len(every) / 2


def options_of(**changes: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **({"by": "commands", "sample": None, "full": True, "words": []} | changes)
    )


def test_the_commands_are_scored_on_both_boards_and_on_good_firmware(mutants: Any) -> None:
    wanted = mutants.jobs(options_of())
    clean = [name for name in wanted if name.startswith("clean:")]
    invisible = mutants.firmware.INVISIBLE
    faults, edits = mutants.firmware.DEFECTS, mutants.stub.DEFECTS
    assert all(name in faults and why for (_, name), why in invisible.items())
    assert set(mutants.stub.SEEN_WITH_UEFI) <= set(edits)
    planted = 2 * len(faults) - len(invisible) + len(mutants.firmware.VECTOR_DEFECTS)
    planted += len(edits) + len(mutants.stub.SEEN_WITH_UEFI)
    assert len(wanted) - len(clean) == planted >= 170
    assert len(edits) >= 30
    assert len(clean) >= 24 + 12
    for _, asked in wanted.values():
        assert asked["fault"] or asked["edit"] or asked["is_good"]
        assert not asked["fault"] or parse_faults(asked["fault"])
    assert set(mutants.firmware.UNUSUAL) >= mutants.firmware.WORTH_ASKING
    assert len(mutants.jobs(options_of(words=["uefi: always BUSY"]))) == 1
    assert 8 <= len(mutants.jobs(options_of(sample=10))) <= 14


@pytest.mark.parametrize(
    ("printed", "status", "failed", "is_broken"),
    [
        ('{"found": ["conformance FID-1: why", "b"]}', 0, "conformance FID-1: why", False),
        ('{"found": []}', 0, None, False),
        ("the fault was not armed", 1, None, True),
        (f"{NOT_BUILT}: {'why ' * 200}", 1, None, True),
    ],
)
def test_what_the_commands_have_against_firmware_is_what_names_it(
    mutants: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    printed: str,
    status: int,
    failed: str | None,
    is_broken: bool,
) -> None:
    prints(mutants, tmp_path, monkeypatch, printed, status)
    run = mutants.score_commands("dt: a", {})
    assert (run.failed, bool(run.broken)) == (failed, is_broken)
    assert (NOT_BUILT in run.broken) == (NOT_BUILT in printed)
