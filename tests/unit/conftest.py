# SPDX-License-Identifier: GPL-2.0-only
"""Fixtures of the unit tests: a fake machine, its fake module, and a command line on it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from pyctl.cli.main import main
from pyctl.target import debugfs, kmod
from tests.unit.fake_machine import FakeModule, Kernel, Machine


def pytest_configure(config: pytest.Config) -> None:
    # How busy the machine is says nothing about a rule.
    settings.register_profile("patient", deadline=None)
    settings.load_profile("patient")
    # The worker forks by design; pytest-xdist has threads of its own in the background.
    config.addinivalue_line("filterwarnings", "ignore:.*multi-threaded.*fork.*:DeprecationWarning")


@dataclass
class Ended:
    """How a command line ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout; anything else there is an error."""
        return json.loads(self.out)


Pyctl = Callable[..., Ended]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    made = Machine(tmp_path / "root")
    monkeypatch.setenv("PYCTL_MODULES", str(made.modules))
    monkeypatch.setenv("PYCTL_CACHE", str(tmp_path / "cache"))
    return made


@pytest.fixture
def module(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> FakeModule:
    fake = FakeModule(machine)
    monkeypatch.setattr(debugfs, "exchange", fake.exchange)
    return fake


@pytest.fixture
def kernel(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Kernel:
    fake = Kernel(machine)
    monkeypatch.setattr(kmod, "insert", fake.insert)
    monkeypatch.setattr(kmod, "remove", fake.remove)
    return fake


@pytest.fixture
def pyctl(machine: Machine, capsys: pytest.CaptureFixture[str]) -> Pyctl:
    """Run a command line on the fake machine."""

    def run(*arguments: str) -> Ended:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments], machine.system)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return Ended(status, out, err)

    return run
