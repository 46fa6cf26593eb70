# SPDX-License-Identifier: GPL-2.0-only
"""What is installed: the sources of modules and firmware beside pyctl, and what is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from pyctl.cache import Cache
from pyctl.cli.main import cli
from pyctl.errors import NotReady
from pyctl.kbuild import module_source
from pyctl.vm import process
from pyctl.vm.factory import BoardFactory
from tests import readme

TOP = Path(__file__).resolve().parents[2]


def test_the_modules_source_beside_pyctl_is_that_of_the_checkout() -> None:
    files = {name: data for name, _mode, data in module_source().files}
    written = [TOP / "Kbuild", *(TOP / "module").rglob("*")]
    assert files == {
        str(path.relative_to(TOP)): path.read_bytes()
        for path in written
        if path.name == "Kbuild"
        or (path.suffix in (".c", ".h", ".S") and ".mod" not in path.suffixes)
    }


def test_the_libraries_that_are_looked_for_are_those_of_the_extra() -> None:
    project = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
    wanted = {line.partition(">=")[0] for line in project["optional-dependencies"]["vm"]}
    assert wanted == set(process._LIBRARIES.values())


@pytest.mark.parametrize(
    ("words", "typed", "offered"),
    [
        ([], "inv", {"invalidate"}),
        (["vm"], "s", {"shell", "serve", "stop"}),
        (["load"], "--prov", {"--provider"}),
        (["load", "--provider"], "o", {"ours"}),
    ],
)
def test_the_shell_can_complete(words: list[str], typed: str, offered: set[str]) -> None:
    complete = BashComplete(cli, {}, "pyctl", "_PYCTL_COMPLETE")
    assert {item.value for item in complete.get_completions(words, typed)} == offered


def test_bash_completes_after_the_line_of_the_readme() -> None:
    [line] = re.findall(r"`(eval .*?)`", readme.TEXT)
    ask = "COMP_WORDS=(pyctl vm sh); COMP_CWORD=2; _pyctl_completion pyctl; echo ${COMPREPLY[@]}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", "-ec", f"{line}; complete -p pyctl; {ask}"]
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True)
    assert done.stderr == ""
    bound, offered = done.stdout.splitlines()
    assert bound.endswith(" -F _pyctl_completion pyctl")
    assert offered == "shell"


@pytest.mark.parametrize("missing", ["fdt", "debian", "qemu", "qemu.qmp"])
def test_a_missing_extra_is_one_sentence_with_the_cure(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(name: str) -> object:
        if name == missing:
            return None
        if name.startswith(f"{missing}."):
            raise ModuleNotFoundError(name=missing)
        return find_spec(name)

    monkeypatch.setattr(process, "find_spec", find)
    with pytest.raises(NotReady, match="is not installed") as caught:
        BoardFactory(Cache(tmp_path))
    assert "pip install fdt python-debian qemu.qmp" in caught.value.hint
