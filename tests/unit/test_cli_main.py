# SPDX-License-Identifier: GPL-2.0-only
"""The command line as a whole: lazy, helpful, one translation of errors, whole JSON."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from importlib import import_module, util

import click
import pytest

from pyctl.cli import main as cli_main
from pyctl.cli.main import COMMANDS, main
from pyctl.cli.params import JsonOption, json_option
from pyctl.errors import NotReady, OperationFailed, PyctlError, TargetLost, UsageError
from tests.unit.fake_machine import Machine

OURS = [name for name, (module, _attribute, _help) in COMMANDS.items() if util.find_spec(module)]
HEAVY = ["psutil", "pyudev", "json", "subprocess", "importlib.metadata", "dataclasses", "gzip"]


def command(name: str) -> click.Command:
    module, attribute, _help = COMMANDS[name]
    return getattr(import_module(module), attribute)


@pytest.mark.parametrize("name", OURS)
def test_the_table_says_what_the_command_says_of_itself(name: str) -> None:
    found = command(name)
    assert found.get_short_help_str(limit=100) == COMMANDS[name][2]
    assert found.name == name


@pytest.mark.parametrize("name", OURS)
def test_every_command_and_option_has_help_and_every_command_an_example(name: str, pyctl) -> None:
    ended = pyctl(name, "--help")
    assert ended.status == 0
    for param in command(name).params:
        assert isinstance(param, click.Argument) or param.help
    if not isinstance(command(name), click.Group):
        assert "Example" in ended.out
        assert f"pyctl {name}" in ended.out.split("Example")[1]


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pyctl.cli.main import main; status = main(['--help']);"
        "print(status, *sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, *modules = run.stdout.splitlines()[-1].split()
    before = subprocess.run(
        [sys.executable, "-c", "import sys, click; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    added = set(modules) - set(before.stdout.split())
    assert status == "0"
    assert added & set(HEAVY) == set()
    assert {name for name in added if name.startswith("pyctl")} == {
        "pyctl",
        "pyctl.cli",
        "pyctl.cli.main",
        "pyctl.cli.params",
        "pyctl.errors",
    }
    for name in COMMANDS:
        assert f"\n  {name} " in run.stdout


def test_version(pyctl) -> None:
    ended = pyctl("--version")
    assert (ended.status, ended.out) == (0, "pyctl, version 0.1.0\n")


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["--nonsense"], ["regions", "extra"], ["invalidate"]]
)
def test_bad_usage_is_2_with_one_sentence_and_where_help_is(pyctl, arguments) -> None:
    ended = pyctl(*arguments)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.startswith("pyctl: ")
    assert "--help" in ended.err


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch):
    """A command `status` that raises what it is given."""

    def make(error: BaseException) -> None:
        @click.command("status")
        @json_option({"thing": None})
        def status() -> None:
            raise error

        monkeypatch.setattr(cli_main, "import_module", lambda _name: cli_main)
        monkeypatch.setattr(cli_main, "status", status, raising=False)

    return make


FAILURES = [
    (OperationFailed("It failed.", "Do this."), 1),
    (UsageError("It failed.", "Do this."), 2),
    (NotReady("It failed.", "Do this."), 3),
    (TargetLost("It failed.", "Do this.", "last line"), 4),
]


@pytest.mark.parametrize(("error", "status"), FAILURES)
def test_each_error_has_its_status_message_and_hint(pyctl, failing, error, status) -> None:
    failing(error)
    ended = pyctl("status")
    assert ended.status == status
    assert ended.out == ""
    assert "pyctl: It failed.\n" in ended.err
    assert "Do this." in ended.err
    assert ("last line" in ended.err) == isinstance(error, TargetLost)


@pytest.mark.parametrize(("error", "status"), FAILURES)
def test_each_error_is_one_whole_object_with_json(pyctl, failing, error, status) -> None:
    failing(error)
    ended = pyctl("status", "--json")
    assert ended.status == status
    assert ended.json == {
        "ok": False,
        "error": "It failed.",
        "hint": "Do this.",
        "thing": None,
    }


def test_ctrl_c_is_130(pyctl, failing) -> None:
    failing(KeyboardInterrupt("Stopped half-way."))
    ended = pyctl("status", "--json")
    assert ended.status == 130
    assert ended.json["error"] == "Stopped half-way."


def test_a_refusal_of_the_system_is_no_traceback(pyctl, failing) -> None:
    failing(OSError(errno.ENOSPC, "No space left on device", "/some/file"))
    ended = pyctl("status")
    assert ended.status == 1
    assert "No space left on device (/some/file)" in ended.err


def test_a_fault_of_our_own_is_not_hidden(pyctl, failing) -> None:
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        pyctl("status")


@pytest.mark.parametrize("name", OURS)
def test_json_is_given_even_where_the_usage_is_bad(pyctl, name: str) -> None:
    option = next((p for p in command(name).params if isinstance(p, JsonOption)), None)
    if option is None:
        assert isinstance(command(name), click.Group)
        return
    for arguments in (["--json", "--nonsense"], ["--nonsense", "--json"]):
        ended = pyctl(name, *arguments)
        assert ended.status == 2
        assert ended.json["ok"] is False
        assert ended.json["error"]
        assert set(option.shape) <= set(ended.json)


def test_json_behind_two_dashes_is_not_ours(pyctl) -> None:
    ended = pyctl("status", "--nonsense", "--", "--json")
    assert (ended.status, ended.out) == (2, "")


def test_shapes_do_not_leak_from_one_run_to_the_next(pyctl, machine: Machine) -> None:
    before = pyctl("attributes", "--json").json
    machine.unload_test_module()
    after = pyctl("attributes", "--json").json
    assert before["provider"]["name"] == "smccc_cache"
    assert after["provider"]["name"] is None


def test_a_reader_that_has_seen_enough_is_no_error(machine: Machine) -> None:
    code = (
        "import sys; from pyctl.cli.main import main; from pyctl.target.system import System;"
        "from pathlib import Path;"
        f"sys.exit(main(['regions'], System(Path({str(machine.root)!r}), 'aarch64', 0)))"
    )
    reader, writer = os.pipe()
    os.close(reader)
    run = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (run.returncode, run.stderr) == (1, b"")


def test_ctrl_c_of_a_real_process_is_130_without_a_traceback(machine: Machine) -> None:
    code = (
        "import sys, time; from pyctl.cli import main as m, regions;"
        "regions.find_regions = lambda system: (print('at work', flush=True), time.sleep(20));"
        "sys.exit(m.main(['regions']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "at work\n"
        process.send_signal(signal.SIGINT)
        _out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert "pyctl: Interrupted." in err


def test_every_error_of_ours_has_a_status_of_the_contract() -> None:
    statuses = {error.exit_status for error in PyctlError.__subclasses__()}
    assert statuses == {1, 2, 3, 4}


def test_the_script_and_the_module_are_the_same_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "pyctl", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("pyctl, version")


def test_json_goes_out_as_one_object(capsys, machine: Machine) -> None:
    assert main(["regions", "--json"], machine.system) == 0
    assert isinstance(json.loads(capsys.readouterr().out), dict)
