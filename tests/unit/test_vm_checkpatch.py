# SPDX-License-Identifier: GPL-2.0-only
"""What is kept of the kernel's source for the style check."""

import io
import tarfile

import pytest

from pyctl.errors import NotReady
from pyctl.vm.checkpatch import FILES, extract
from pyctl.vm.kernel import newest_source


def archive_of(path, names):
    with tarfile.open(path, "w:xz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            tar.addfile(member, io.BytesIO(name.encode()))
    return path


def test_only_the_checkers_files_are_taken(tmp_path):
    ours = [f"linux-9.9/{directory}/{name}" for name, directory in FILES.items()]
    others = [
        "linux-9.9/checkpatch.pl",
        "linux-9.9/tools/scripts/spelling.txt",
        "linux-9.9/COPYING",
    ]
    archive = archive_of(tmp_path / "source.tar.xz", others + ours)
    into = tmp_path / "into"
    into.mkdir()
    extract(archive, into)
    assert {path.name: path.read_text() for path in into.iterdir()} == dict(
        zip(FILES, ours, strict=True)
    )


def test_a_source_without_one_of_them_is_named(tmp_path):
    archive = archive_of(tmp_path / "source.tar.xz", ["linux-9.9/scripts/checkpatch.pl"])
    with pytest.raises(NotReady, match=r"source\.tar\.xz lacks scripts/const_structs"):
        extract(archive, tmp_path)


def test_the_newest_source_is_taken_however_apt_lists_them():
    names = [f"linux-source-{version}" for version in ("7.10", "6.12", "7.9", "7.2.12")]
    for _ in names:
        names = [*names[1:], names[0]]
        assert newest_source(names) == "linux-source-7.10"
    assert newest_source([]) is None
