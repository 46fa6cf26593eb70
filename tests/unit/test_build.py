# SPDX-License-Identifier: GPL-2.0-only
"""Building the modules: from a copy, published whole, with clear faults."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from pyctl.cache import Cache
from pyctl.errors import NotReady, OperationFailed
from pyctl.kbuild import SOURCE_TOP, make_command, module_source
from pyctl.places import cache_root
from pyctl.target import build


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in {
        "Kbuild": "obj-m += module/\n",
        "module/Kbuild": "obj-m := a.o\n",
        "module/a.c": "int a;\n",
        "module/sub/Kbuild": "obj-m := b.o\n",
        "module/include/a.h": "/* a */\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Headers whose Makefile 'builds' by copying, enough for the steps around make."""
    monkeypatch.setenv("PYCTL_CACHE", str(tmp_path / "cache"))
    kdir = tmp_path / "kdir"
    (kdir / "include/config").mkdir(parents=True)
    (kdir / "include/config/kernel.release").write_text("7.0.0-test\n")
    makefile(kdir, "cp $(M)/module/memregion_test/main.c $(M)/module/memregion_test.ko")
    return kdir


def makefile(kdir: Path, recipe: str) -> None:
    (kdir / "Makefile").write_text(f"modules:\n\t@echo building $(CC)\n\t@{recipe}\n")


def test_the_key_names_exactly_the_source(tree: Path) -> None:
    before = module_source(tree).key()
    assert len(module_source(tree).files) == 5
    for leftover in ("module/a.o", "module/a.ko", "module/a.mod.c", "module/.a.o.cmd"):
        (tree / leftover).write_text("left by make")
    assert module_source(tree).key() == before
    for name, _mode, data in module_source(tree).files:
        (tree / name).write_bytes(data + b"\n")
        assert module_source(tree).key() != before
        (tree / name).write_bytes(data)
    assert module_source(tree).key() == before
    (tree / "module/a.c").rename(tree / "module/b.c")
    assert module_source(tree).key() != before


def test_without_the_source_there_is_a_clear_word(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="source is not there"):
        module_source(tmp_path)


def test_the_make_command_is_kbuilds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 3, 4})
    assert make_command(Path("/kdir"), Path("/copy"), ["ARCH=arm64", "W=1"]) == [
        "make",
        "-j3",
        "-C",
        "/kdir",
        "M=/copy",
        "ARCH=arm64",
        "W=1",
        "modules",
    ]


def test_a_build_lands_where_load_looks(headers: Path) -> None:
    lines: list[str] = []
    built = build.build(headers, ["CC=some-cc"], progress=lines.append)
    assert built == [build.module_cache("7.0.0-test") / "memregion_test.ko"]
    assert "building some-cc" in "\n".join(lines)
    assert built[0].read_bytes() == (SOURCE_TOP / "module/memregion_test/main.c").read_bytes()
    assert os.listdir(cache_root() / "tmp") == []


def test_a_build_can_go_elsewhere(headers: Path, tmp_path: Path) -> None:
    assert build.build(headers, out=tmp_path / "out") == [tmp_path / "out/memregion_test.ko"]
    assert os.listdir(tmp_path / "out") == ["memregion_test.ko"]


def test_a_failed_build_gives_makes_last_lines_and_publishes_nothing(
    headers: Path, tmp_path: Path
) -> None:
    makefile(headers, "echo 'a.c:1: error: no' >&2; false")
    with pytest.raises(OperationFailed, match=r"a\.c:1: error: no"):
        build.build(headers, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert os.listdir(cache_root() / "tmp") == []


def test_a_build_that_leaves_no_module_is_a_failure(headers: Path) -> None:
    makefile(headers, "true")
    with pytest.raises(OperationFailed, match="no module"):
        build.build(headers)


def test_a_missing_compiler_is_not_ready(headers: Path) -> None:
    makefile(headers, "echo '/bin/sh: 1: aarch64-linux-gnu-gcc: not found'; false")
    with pytest.raises(NotReady, match="compiler"):
        build.build(headers)


def test_missing_headers_are_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no kernel headers") as caught:
        build.build(tmp_path)
    assert "linux-headers" in caught.value.hint


def test_missing_make_is_not_ready(headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotReady, match="make is not installed"):
        build.build(headers)


def test_an_unusable_cache_is_not_ready(
    headers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYCTL_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotReady, match="cannot be used") as caught:
        build.build(headers)
    assert "PYCTL_CACHE" in caught.value.hint


def test_another_build_takes_the_place_of_the_last(headers: Path) -> None:
    """The kernel's configuration may have changed behind the same release."""
    makefile(headers, "echo $(WORD) >$(M)/module/a.ko")
    for word in ("old", "new"):
        [built] = build.build(headers, [f"WORD={word}"])
        assert built.read_text() == f"{word}\n"


def test_a_failed_build_leaves_what_was_there(headers: Path) -> None:
    [built] = build.build(headers)
    makefile(headers, "false")
    with pytest.raises(OperationFailed):
        build.build(headers)
    assert built.exists()


def test_the_cache_knows_what_was_built(headers: Path) -> None:
    """So that `vm info` shows it and `vm clean` takes it away."""
    [built] = build.build(headers)
    [entry] = Cache().entries()
    assert (entry.path, entry.describe()["release"]) == (built.parent, "7.0.0-test")


def test_a_full_disk_leaves_the_old_module_and_no_part(
    headers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "memregion_test.ko").write_text("old")
    copy = shutil.copyfile

    def fill(source: Path, target: Path) -> None:
        if target.is_relative_to(out):
            target.write_text("half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfile", fill)
    with pytest.raises(OSError, match="No space"):
        build.build(headers, out=out)
    assert {p.name: p.read_text() for p in out.iterdir()} == {"memregion_test.ko": "old"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"PYCTL_CACHE": "/p", "XDG_CACHE_HOME": "/x"}, "/p"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/pyctl"),
        ({"HOME": "/home/me"}, "/home/me/.cache/pyctl"),
    ],
)
def test_the_cache_is_where_the_environment_says(
    env: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYCTL_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert cache_root() == Path(expected)
