# SPDX-License-Identifier: GPL-2.0-only
"""The one place on disk for what is fetched or built: keyed by content, published whole.

Everything that git does not hold (modules, and for the virtual board roots, kernels,
images, the stub, snapshots) is an *entry*: a directory that a builder fills under a
temporary name and that one rename makes visible. An entry that is visible is
therefore complete, unless somebody damaged it later; a manifest of sizes, times and
digests finds that out, and the entry is then made again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyctl.errors import NotReady
from pyctl.places import cache_root, home, home_cache

MANIFEST = "manifest.json"
TREE = "tree.json"
# A change of the on-disk layout makes every older entry unknown.
LAYOUT = 2
# An entry with more files than this holds a tree.
_FEW_FILES = 64


def digest(*parts: object) -> str:
    """A short content key over ``parts`` (anything that JSON can hold, or bytes)."""
    h = hashlib.blake2b(digest_size=12)
    for part in parts:
        raw = part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode()
        h.update(len(raw).to_bytes(8, "little"))
        h.update(raw)
    return h.hexdigest()


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's content."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@dataclass(frozen=True)
class Tree:
    """Some files of a directory as they were when they were read, once.

    What is built comes from these bytes, and so does the key, so that a file
    that is edited meanwhile cannot end up under the key of its former self.
    """

    files: tuple[tuple[str, int, bytes], ...]

    @classmethod
    def read(cls, top: Path, patterns: tuple[str, ...]) -> Tree:
        """Read the files that match the globs, compiled bytecode left out."""
        paths = {
            path
            for pattern in patterns
            for path in top.glob(pattern)
            if path.is_file() and "__pycache__" not in path.parts
        }
        return cls(
            tuple(
                (str(path.relative_to(top)), path.stat().st_mode & 0o777, path.read_bytes())
                for path in sorted(paths)
            )
        )

    def key(self) -> str:
        """A content key over names, modes and bytes."""
        return digest(*(part for file in self.files for part in file))

    def write(self, top: Path) -> None:
        """Write the files below a directory."""
        for name, mode, data in self.files:
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            path.chmod(mode)


def _write_synced(path: Path, text: str) -> None:
    with path.open("w") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())


def disk_full(what: str, where: Path, why: str) -> NotReady:
    """The error for a disk without space."""
    return NotReady(
        f"The disk that holds {where} is full: no place for {what} ({why}).",
        "Free some space, run `pyctl vm clean`, or point PYCTL_CACHE to a larger disk.",
    )


@dataclass(frozen=True)
class Entry:
    """One complete thing in the cache."""

    kind: str
    key: str
    path: Path

    def describe(self) -> dict[str, Any]:
        """What the builder recorded about this entry."""
        meta: dict[str, Any] = json.loads((self.path / MANIFEST).read_text())["meta"]
        return meta

    def size_bytes(self) -> int:
        """The disk space that the entry takes."""
        size = 0
        for path in self.path.rglob("*"):
            # Another process may be removing the entry.
            with contextlib.suppress(FileNotFoundError):
                size += path.lstat().st_blocks * 512
        return size

    def touch(self) -> None:
        """Note that the entry was used just now (the least recently used goes first)."""
        with contextlib.suppress(OSError):
            os.utime(self.path)


class Cache:
    """The cache directory; safe for several processes at the same time."""

    def __init__(self, root: Path | None = None, say: Callable[[str], None] | None = None) -> None:
        self.root = root or cache_root()
        self.say = say or (lambda _text: None)

    # -- entries ---------------------------------------------------------

    def path(self, kind: str, key: str) -> Path:
        """Where an entry is, if there is one."""
        return self.root / kind / key

    def find(self, kind: str, key: str, thorough: bool = False) -> Entry | None:
        """The entry if it is there and undamaged.

        Of an entry that holds a whole tree, the tree is only looked through
        when asked to be ``thorough``: whoever is about to use it should.
        """
        path = self.path(kind, key)
        try:
            damage = self._damage(path, thorough)
        except (FileNotFoundError, NotADirectoryError):
            return None
        if damage is None:
            entry = Entry(kind, key, path)
            entry.touch()
            return entry
        self.say(f"The cache entry {path} is corrupt ({damage}); it will be made again.")
        self.remove(Entry(kind, key, path))
        return None

    def get(
        self,
        kind: str,
        key: str,
        what: str,
        build: Callable[[Path], dict[str, Any] | None],
        thorough: bool = False,
    ) -> Entry:
        """An entry, made first if need be; ``thorough`` as for ``find``.

        ``build`` is given an empty directory to fill and may return what to
        record about it; ``what`` names the thing for the user. Raises
        NotReady when the disk is full or the cache cannot be written.
        """
        if entry := self.find(kind, key, thorough):
            return entry
        with self._making(kind, key, what):
            # Somebody else may have made it while we waited for the lock.
            return self.find(kind, key, thorough) or self._make(kind, key, what, build)

    def renew(
        self, kind: str, key: str, what: str, build: Callable[[Path], dict[str, Any] | None]
    ) -> Entry:
        """An entry that is made now, in place of one that may be there; else as ``get``.

        It is for what is made of more than the key tells.
        """
        with self._making(kind, key, what):
            return self._make(kind, key, what, build)

    @contextlib.contextmanager
    def _making(self, kind: str, key: str, what: str) -> Iterator[None]:
        """Keep others from making the same entry, and explain what the disk refuses."""
        try:
            with self.lock(f"{kind}-{key}"):
                yield
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full(what, self.root, str(error.strerror)) from None
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise NotReady(
                    f"No place to make {what}: {error.filename or self.root}: {error.strerror}.",
                    "Run as root (or with sudo), or point PYCTL_CACHE to a directory of your own.",
                ) from None
            raise

    def _make(
        self, kind: str, key: str, what: str, build: Callable[[Path], dict[str, Any] | None]
    ) -> Entry:
        self.sweep()
        started = time.monotonic()
        self.say(f"Making {what} ...")
        with self.scratch(kind) as scratch:
            work = scratch / "entry"
            work.mkdir()
            meta = build(work) or {}
            self._seal(work, meta | {"what": what, "made": int(time.time())})
            made = Entry(kind, key, self.path(kind, key))
            made.path.parent.mkdir(parents=True, exist_ok=True)
            if made.path.exists():
                self.remove(made)
            work.rename(made.path)
        self.say(f"Made {what} in {time.monotonic() - started:.1f} s.")
        return made

    def need_space(self, size_bytes: int, what: str) -> None:
        """Raise NotReady unless the disk has room.

        Asked before large work, for not every tool says so when a disk fills up.
        """
        free_bytes = shutil.disk_usage(self._dir("tmp")).free
        if free_bytes < size_bytes:
            why = f"{free_bytes >> 20} MiB free, about {size_bytes >> 20} MiB needed"
            raise disk_full(what, self.root, why)

    def entries(self) -> list[Entry]:
        """Every visible entry, without checking it."""
        found = []
        for manifest in sorted(self.root.glob(f"*/*/{MANIFEST}")):
            path = manifest.parent
            if path.parent.name not in ("tmp", "locks"):
                found.append(Entry(path.parent.name, path.name, path))
        return found

    def remove(self, entry: Entry) -> None:
        """Take an entry away: invisible at once, then deleted."""
        doomed = Path(tempfile.mkdtemp(dir=self._dir("tmp"), prefix="gone-"))
        with contextlib.suppress(FileNotFoundError):
            entry.path.rename(doomed / "entry")
        shutil.rmtree(doomed, ignore_errors=True)

    def keep_newest(self, kind: str, count: int) -> None:
        """Remove all but the ``count`` most recently used entries of a kind."""
        mine = []
        for entry in self.entries():
            # Another process may be removing entries, too.
            with contextlib.suppress(FileNotFoundError):
                if entry.kind == kind:
                    mine.append((entry.path.stat().st_mtime, entry.key, entry))
        for _used, _key, entry in sorted(mine, reverse=True)[count:]:
            self.remove(entry)

    # -- integrity -------------------------------------------------------

    def _seal(self, path: Path, meta: dict[str, Any]) -> None:
        """Write the manifest: for each file its size and time, and for few files a digest.

        What lies at the top is a file of its own; what lies deeper in an entry
        of many files belongs to a tree.
        """
        regular = [p for p in path.rglob("*") if stat.S_ISREG(p.lstat().st_mode)]
        few = len(regular) <= _FEW_FILES
        files: dict[str, list[Any]] = {}
        tree: dict[str, list[Any]] = {}
        for p in regular:
            info = p.lstat()
            if few or p.parent == path:
                with p.open("rb") as f:
                    os.fsync(f.fileno())
                files[str(p.relative_to(path))] = [
                    *(info.st_size, info.st_mtime_ns),
                    file_digest(p),
                ]
            else:
                tree[str(p.relative_to(path))] = [info.st_size, info.st_mtime_ns, None]
        if tree:
            _write_synced(path / TREE, json.dumps(tree))
        text = json.dumps({"layout": LAYOUT, "meta": meta, "files": files, "tree": bool(tree)})
        _write_synced(path / MANIFEST, text)

    def _damage(self, path: Path, thorough: bool) -> str | None:
        """What is wrong with an entry; None if nothing is. FileNotFoundError: no entry."""
        path.stat()
        try:
            manifest = json.loads((path / MANIFEST).read_text())
            if manifest["layout"] != LAYOUT:
                return "made by another version"
            files = manifest["files"]
            if thorough and manifest["tree"]:
                files |= json.loads((path / TREE).read_text())
        except (OSError, ValueError, KeyError, TypeError):
            return "its manifest cannot be read"
        for name, (size, mtime_ns, sha256) in files.items():
            try:
                info = (path / name).lstat()
            except OSError:
                return f"{name} is missing"
            if info.st_size != size:
                return f"{name} has {info.st_size} bytes instead of {size}"
            if info.st_mtime_ns != mtime_ns and (
                sha256 is None or file_digest(path / name) != sha256
            ):
                return f"{name} was changed"
        return None

    # -- scratch space and locks -----------------------------------------

    def _dir(self, name: str) -> Path:
        path = self.root / name
        if self.root == home_cache(home()) and not home().is_dir():
            raise NotReady(
                f"The home directory {home()} does not exist, so there is no place for the cache.",
                "Set PYCTL_CACHE to a directory that you may write to.",
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise disk_full("the cache", self.root, str(error.strerror)) from None
            raise NotReady(
                f"The cache directory {self.root} cannot be used: {error.strerror}.",
                "Set PYCTL_CACHE to a directory that you may write to.",
            ) from None
        return path

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A temporary directory that is removed at the end, or by a later sweep."""
        path = Path(tempfile.mkdtemp(dir=self._dir("tmp"), prefix=f"{name}-"))
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # The lock says "in use" for as long as this process lives.
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield path
        finally:
            os.close(fd)
            shutil.rmtree(path, ignore_errors=True)

    def is_in_use(self, path: Path) -> bool:
        """Whether the process that made a directory of ``scratch`` lives."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
        return False

    def sweep(self) -> None:
        """Remove what processes that were killed have left half done."""
        for path in self._dir("tmp").iterdir():
            try:
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # A directory that was made this instant may not be locked yet.
                if time.time() - os.fstat(fd).st_mtime > 5:
                    shutil.rmtree(path, ignore_errors=True)
            except OSError:
                pass
            finally:
                os.close(fd)

    @contextlib.contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold an exclusive lock among processes; it goes with the process."""
        with (self._dir("locks") / name).open("w") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"Waiting for another process that makes {name} ...")
                fcntl.flock(f, fcntl.LOCK_EX)
            yield
