# SPDX-License-Identifier: GPL-2.0-only
"""The cache never hands out what is half made, damaged, or another's."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyctl.cache import Cache, Tree, digest
from pyctl.errors import NotReady


@pytest.fixture
def said():
    return []


@pytest.fixture
def cache(tmp_path, said):
    return Cache(tmp_path / "cache", said.append)


def fill(work):
    (work / "sub").mkdir()
    (work / "sub/file").write_text("content")
    return {"answer": 42}


def test_an_entry_is_made_once_and_describes_itself(cache):
    made = []

    def make(work):
        made.append(work)
        return fill(work)

    for _ in range(2):
        entry = cache.get("kind", "key", "the thing", make)
    assert len(made) == 1
    assert (entry.path / "sub/file").read_text() == "content"
    assert entry.describe()["answer"] == 42
    assert entry.describe()["what"] == "the thing"


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1])


def truncate_and_keep_the_time(path):
    info = path.stat()
    truncate(path)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def flip(path):
    path.write_bytes(b"C" + path.read_bytes()[1:])


@pytest.mark.parametrize("damage", [truncate, truncate_and_keep_the_time, flip, Path.unlink])
@pytest.mark.parametrize("name", ["sub/file", "manifest.json"])
def test_a_damaged_entry_is_made_again_and_the_user_is_told(cache, said, damage, name):
    entry = cache.get("kind", "key", "the thing", fill)
    damage(entry.path / name)
    again = cache.get("kind", "key", "the thing", fill)
    assert (again.path / "sub/file").read_text() == "content"
    assert sum("corrupt" in line for line in said) == 1


def test_touching_a_file_without_changing_it_is_no_damage(cache, said):
    entry = cache.get("kind", "key", "the thing", fill)
    os.utime(entry.path / "sub/file")
    assert cache.find("kind", "key") == entry
    assert not any("corrupt" in line for line in said)


def test_a_builder_that_fails_leaves_nothing(cache):
    def broken(work):
        fill(work)
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        cache.get("kind", "key", "the thing", broken)
    assert cache.find("kind", "key") is None
    assert list((cache.root / "tmp").iterdir()) == []


def test_a_full_disk_is_one_sentence_and_the_next_run_recovers(cache):
    def full(work):
        fill(work)
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(NotReady, match=r"disk .* is full: no place for the thing") as caught:
        cache.get("kind", "key", "the thing", full)
    assert "PYCTL_CACHE" in caught.value.hint
    assert cache.get("kind", "key", "the thing", fill)


def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(NotReady, match="cannot be used") as caught:
        Cache(tmp_path / "file/cache").get("kind", "key", "the thing", fill)
    assert "PYCTL_CACHE" in caught.value.hint


def test_the_least_recently_used_go_first(cache):
    for number in range(4):
        entry = cache.get("kind", f"key{number}", "the thing", fill)
        os.utime(entry.path, (number, number))
    cache.find("kind", "key0")
    cache.keep_newest("kind", 2)
    assert {entry.key for entry in cache.entries()} == {"key0", "key3"}


def test_an_entry_that_another_process_removes_meanwhile_is_no_error(cache, monkeypatch):
    for number in range(3):
        cache.get("kind", f"key{number}", "the thing", fill)
    listed = cache.entries()
    cache.remove(listed[0])
    monkeypatch.setattr(cache, "entries", lambda: listed)
    cache.keep_newest("kind", 1)
    assert listed[0].size_bytes() == 0
    assert sum(entry.path.exists() for entry in listed) == 1


def test_what_a_killed_process_left_is_swept_but_not_what_is_in_use(cache):
    script = (
        "import sys, time; from pathlib import Path; from pyctl.cache import Cache\n"
        "with Cache(Path(sys.argv[1])).scratch('x') as path:\n"
        "    print(path, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(cache.root)], stdout=subprocess.PIPE, text=True
    )
    with process:
        left = Path(process.stdout.readline().strip())
        long_ago = time.time() - 60
        os.utime(left, (long_ago, long_ago))
        cache.sweep()
        assert left.exists(), "it is in use"
        process.send_signal(signal.SIGKILL)
        process.wait()
    cache.sweep()
    assert not left.exists()


def test_digest_keeps_its_parts_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(b"ab") == digest(b"ab")


def test_the_key_of_a_tree_sees_names_modes_and_bytes_but_no_bytecode(tmp_path):
    def key():
        return Tree.read(tmp_path, ("**/*",)).key()

    (tmp_path / "a.py").write_text("1")
    keys = [key()]
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/a.pyc").write_text("x")
    assert key() == keys[0]
    (tmp_path / "a.py").write_text("2")
    keys.append(key())
    (tmp_path / "a.py").chmod(0o755)
    keys.append(key())
    (tmp_path / "a.py").rename(tmp_path / "b.py")
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_what_is_written_is_what_was_read_even_if_edited_meanwhile(tmp_path):
    (tmp_path / "a.py").write_text("before")
    tree = Tree.read(tmp_path, ("*.py",))
    (tmp_path / "a.py").write_text("after")
    tree.write(tmp_path / "copy")
    assert (tmp_path / "copy/a.py").read_text() == "before"
