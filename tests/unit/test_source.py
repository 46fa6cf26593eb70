# SPDX-License-Identifier: GPL-2.0-only
"""Building the modules: from a copy, published whole, with clear faults."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pyctl.errors import NotReady, OperationFailed
from pyctl.target import source


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for name, text in {
        "Kbuild": "obj-m += module/\n",
        "module/Kbuild": "obj-m := a.o\n",
        "module/a.c": "int a;\n",
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


def test_the_digest_names_exactly_the_source(tree: Path) -> None:
    before = source.source_digest(tree)
    for leftover in ("module/a.o", "module/a.ko", "module/a.mod.c", "module/.a.o.cmd"):
        (tree / leftover).write_text("left by make")
    assert source.source_digest(tree) == before
    for path in source.source_files(tree):
        text = (tree / path).read_text()
        (tree / path).write_text(text + "\n")
        assert source.source_digest(tree) != before
        (tree / path).write_text(text)
    (tree / "module/a.c").rename(tree / "module/b.c")
    assert source.source_digest(tree) != before


def test_a_copy_has_the_source_and_nothing_else(tree: Path, tmp_path: Path) -> None:
    (tree / "module/a.o").write_text("left by make")
    source.copy_source(tmp_path / "copy", tree)
    copied = sorted(p for p in (tmp_path / "copy").rglob("*") if p.is_file())
    assert [p.relative_to(tmp_path / "copy") for p in copied] == sorted(source.source_files(tree))


def test_without_the_source_there_is_a_clear_word(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="source is not beside"):
        source.source_digest(tmp_path)


def test_the_make_command_is_kbuilds(tmp_path: Path) -> None:
    assert source.build_command("/kdir", "/copy", ["ARCH=arm64", "W=1"]) == [
        "make",
        "-C",
        "/kdir",
        "M=/copy",
        "ARCH=arm64",
        "W=1",
        "modules",
    ]


def test_a_build_lands_where_load_looks(headers: Path) -> None:
    lines: list[str] = []
    built = source.build(headers, ["CC=some-cc"], progress=lines.append)
    assert built == [source.module_cache("7.0.0-test") / "memregion_test.ko"]
    assert "building some-cc" in "\n".join(lines)
    assert (
        built[0].read_bytes() == (source.SOURCE_ROOT / "module/memregion_test/main.c").read_bytes()
    )
    assert os.listdir(source.cache_root() / "build") == []


def test_a_build_can_go_elsewhere(headers: Path, tmp_path: Path) -> None:
    assert source.build(headers, out=tmp_path / "out") == [tmp_path / "out/memregion_test.ko"]
    assert os.listdir(tmp_path / "out") == ["memregion_test.ko"]


def test_a_failed_build_gives_makes_last_lines_and_publishes_nothing(
    headers: Path, tmp_path: Path
) -> None:
    makefile(headers, "echo 'a.c:1: error: no' >&2; false")
    with pytest.raises(OperationFailed, match=r"a\.c:1: error: no"):
        source.build(headers, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert os.listdir(source.cache_root() / "build") == []


def test_a_build_that_leaves_no_module_is_a_failure(headers: Path) -> None:
    makefile(headers, "true")
    with pytest.raises(OperationFailed, match="no module"):
        source.build(headers)


def test_a_missing_compiler_is_not_ready(headers: Path) -> None:
    makefile(headers, "echo '/bin/sh: 1: aarch64-linux-gnu-gcc: not found'; false")
    with pytest.raises(NotReady, match="compiler"):
        source.build(headers)


def test_missing_headers_are_not_ready(tmp_path: Path) -> None:
    with pytest.raises(NotReady, match="no kernel headers") as caught:
        source.build(tmp_path)
    assert "linux-headers" in caught.value.hint


def test_missing_make_is_not_ready(headers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(NotReady, match="make is not installed"):
        source.build(headers)


def test_an_unusable_cache_is_not_ready(
    headers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PYCTL_CACHE", str(tmp_path / "file"))
    with pytest.raises(NotReady, match="cannot be used") as caught:
        source.build(headers)
    assert "PYCTL_CACHE" in caught.value.hint


def test_publishing_replaces_a_file_and_leaves_no_part(tmp_path: Path) -> None:
    build, out = tmp_path / "b", tmp_path / "out"
    build.mkdir()
    out.mkdir()
    (out / "a.ko").write_text("old")
    (build / "a.ko").write_text("new")
    source.publish(build, out)
    assert {p.name: p.read_text() for p in out.iterdir()} == {"a.ko": "new"}


def test_a_full_disk_leaves_the_old_module_and_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(_source: Path, target: Path) -> None:
        target.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    (tmp_path / "out").mkdir()
    (tmp_path / "a.ko").write_text("new")
    (tmp_path / "out/a.ko").write_text("old")
    monkeypatch.setattr(source.shutil, "copyfile", fill)
    with pytest.raises(OSError, match="No space"):
        source.publish(tmp_path, tmp_path / "out")
    assert {p.name: p.read_text() for p in (tmp_path / "out").iterdir()} == {"a.ko": "old"}


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
    assert source.cache_root() == Path(expected)
