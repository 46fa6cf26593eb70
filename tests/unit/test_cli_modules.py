# SPDX-License-Identifier: GPL-2.0-only
"""`pyctl build`, `load` and `unload` as commands: options passed on, answers whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from pyctl.target.build import module_cache
from tests.unit.fake_machine import Kernel, Machine


@pytest.fixture
def commands(kernel: Kernel) -> list[str]:
    """What the kernel was asked for."""
    return kernel.commands


def test_load_loads_and_reports(pyctl, machine: Machine, commands) -> None:
    machine.unload_provider()
    machine.unload_test_module()
    ended = pyctl("load", "--json")
    assert ended.status == 0
    assert [m["action"] for m in ended.json["modules"]] == ["loaded", "loaded"]
    assert ended.json["provider"] == {"registered": True, "name": "smccc_cache"}
    assert commands == ["insert memregion_test", "insert smccc_cache"]


def test_load_says_what_was_there_already(pyctl, commands) -> None:
    ended = pyctl("load")
    assert ended.status == 0
    assert ended.out.count("loaded already, same build") == 2
    assert commands == []


def test_load_takes_modules_and_parameters_from_its_options(
    pyctl, machine: Machine, commands, tmp_path: Path
) -> None:
    machine.unload_provider()
    machine.unload_test_module()
    (machine.root / "built").rename(tmp_path / "mine")
    ended = pyctl("load", "--provider", "none", "--raw", "--modules", tmp_path / "mine", "--json")
    assert ended.status == 0
    assert commands == ["insert memregion_test raw_calls=1"]
    assert ended.json["modules"][0]["path"] == str(tmp_path / "mine/memregion_test.ko")


def test_load_of_another_build_is_3_with_whole_json(pyctl, machine: Machine, commands) -> None:
    machine.write("/sys/module/memregion_test/srcversion", "OTHER\n")
    ended = pyctl("load", "--json")
    assert ended.status == 3
    assert ended.json["modules"] == []
    assert "another build" in ended.json["error"]


def test_unload_reports_each_module(pyctl, machine: Machine, commands) -> None:
    ended = pyctl("unload", "--json")
    assert ended.status == 0
    assert [(m["name"], m["action"]) for m in ended.json["modules"]] == [
        ("smccc_cache", "unloaded"),
        ("memregion_test", "unloaded"),
    ]
    assert commands == ["remove smccc_cache", "remove memregion_test"]


def test_unload_of_nothing_is_no_error(pyctl, machine: Machine, commands) -> None:
    machine.unload_provider()
    machine.unload_test_module()
    ended = pyctl("unload")
    assert ended.status == 0
    assert ended.out.count("was not loaded") == 2


@pytest.fixture
def kdir(tmp_path: Path) -> Path:
    """Headers whose Makefile makes an empty module."""
    made = tmp_path / "kdir"
    (made / "include/config").mkdir(parents=True)
    (made / "include/config/kernel.release").write_text("7.0.0-test\n")
    (made / "Makefile").write_text("modules:\n\t@echo hello $(X)\n\t@touch $(M)/a.ko\n")
    return made


def test_build_reports_its_modules_and_keeps_stdout_clean(pyctl, kdir: Path) -> None:
    ended = pyctl("build", "--kdir", kdir, "--make-arg", "X=world", "--json")
    assert ended.status == 0
    assert ended.json["kernel"] == "7.0.0-test"
    path = module_cache("7.0.0-test") / "a.ko"
    assert ended.json["modules"] == [{"name": "a", "path": str(path)}]
    assert "hello world" in ended.err
    assert path.exists()


def test_cleaning_takes_away_what_build_has_made(pyctl, kdir: Path) -> None:
    [module] = pyctl("build", "--kdir", kdir, "--json").json["modules"]
    assert Path(module["path"]).exists()
    assert pyctl("vm", "clean").status == 0
    assert not Path(module["path"]).exists()


def test_build_without_headers_is_3(pyctl, machine: Machine) -> None:
    ended = pyctl("build", "--json")
    assert ended.status == 3
    assert "headers" in ended.json["error"]
    assert ended.json["modules"] == []
