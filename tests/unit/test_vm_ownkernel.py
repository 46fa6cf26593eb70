# SPDX-License-Identifier: GPL-2.0-only
"""Kernels of our own: what is wanted of it, what is kept of it, how it is named."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from pyctl.errors import NotReady
from pyctl.vm import ownkernel
from pyctl.vm.ownkernel import BUILT_IN, CONFIGS, keep, main, missing
from pyctl.vm.roots import Roots

TOP = Path(__file__).resolve().parents[2]


def make_tree(tree: Path, config: str) -> None:
    """A kernel's tree after its build, as far as anybody looks at it."""
    for name in ("arch/arm64/boot/Image", "arch/arm64/include/asm/io.h", "arch/arm64/Makefile"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(bytes(56) + b"ARM\x64" + bytes(4))
    for name in ("include/config/kernel.release", "scripts/mod/modpost", "Makefile", "mm/slab.o"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text("9.9.9-64k\n")
    (tree / "Module.symvers").write_text("")
    (tree / ".config").write_text(config)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """Pretend all that takes long; ``config`` is what the kernel is then configured as."""
    made: dict[str, Any] = {"config": CONFIGS["64k"], "times": 0}
    monkeypatch.setenv("PYCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Roots, "apt", None)
    monkeypatch.setattr(Roots, "unpack_toolchain", lambda _self, top, _more: top.mkdir())
    monkeypatch.setattr(
        ownkernel, "fetch_source", lambda _apt, work: (work / "a.tar", "linux-source-9.9_1_all")
    )

    def run(command: list[Any], **_more: Any) -> str:
        if command[0] == "chroot":
            made["times"] += 1
            made["put"] = {
                str(path.relative_to(command[1])): path.read_text()
                for path in command[1].rglob("drivers/**/*")
                if path.is_file()
            }
            make_tree(command[1] / "linux", made["config"])
        return ""

    monkeypatch.setattr(ownkernel, "run", run)
    return made


def test_it_is_built_once_and_named_by_what_takes_it(
    build: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    named = []
    for _ in range(2):
        assert main(["64k"]) == 0
        named.append(capsys.readouterr().out)
    assert (build["times"], named[0]) == (1, named[1])
    kernel, image, kdir, tree = shlex.split(named[0])
    assert (kernel, kdir) == ("--kernel", "--kdir")
    # As everybody checks it who is given these options.
    found = Roots.__new__(Roots).kernel(image, Path(tree))
    assert found.release == "9.9.9-64k"
    assert (Path(tree) / "scripts/mod/modpost").exists()
    assert not (Path(tree) / "mm").exists()


def test_one_has_the_provider_built_in_and_the_other_has_not(build: dict[str, Any]) -> None:
    assert main(["64k"]) == 0
    assert build["put"] == {}
    build["config"] = CONFIGS["builtin"]
    assert main(["builtin"]) == 0
    put = build["put"]
    assert put["linux/drivers/cache/Makefile"] == "obj-y += provider/\n"
    made = "linux/drivers/cache/provider"
    # No part of it is a module, and it finds its headers.
    assert not any("obj-m" in text for text in put.values())
    assert f"obj-y := {BUILT_IN}.o" in put[f"{made}/smccc_cache/Kbuild"]
    source = put[f"{made}/smccc_cache/main.c"]
    assert source == (TOP / "module/smccc_cache/main.c").read_text()
    for name in re.findall(r'#include "(.+)"', source):
        assert any(f"{made}/{place}/{name}" in put for place in ("include", "smccc_cache"))


def test_a_kernel_that_is_not_as_wanted_is_none(
    build: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Kbuild drops what it does not know, and says nothing."""
    build["config"] = CONFIGS["64k"].replace("CONFIG_ARM64_64K_PAGES=y", "CONFIG_ARM64_4K_PAGES=y")
    assert main(["64k"]) == NotReady.exit_status
    said = capsys.readouterr()
    assert said.out == ""
    assert "linux-source-9.9_1_all cannot be configured" in said.err
    assert "CONFIG_ARM64_64K_PAGES=y" in said.err


def test_what_is_missing_is_told_by_line() -> None:
    assert missing("CONFIG_A=y\nCONFIG_B=1\n", "CONFIG_B=1\nCONFIG_A=y\n") == []
    assert missing("CONFIG_A=y\n", "# CONFIG_A is not set\nCONFIG_A=yes\n") == ["CONFIG_A=y"]


def test_only_what_modules_are_built_against_is_kept(tmp_path: Path) -> None:
    make_tree(tmp_path / "tree", CONFIGS["64k"])
    keep(tmp_path / "tree", tmp_path / "kept")
    files = {str(p.relative_to(tmp_path / "kept")) for p in (tmp_path / "kept").rglob("*")}
    assert {"Module.symvers", ".config", "arch/arm64/include/asm/io.h"} <= files
    assert not {"mm/slab.o", "arch/arm64/boot/Image"} & files
