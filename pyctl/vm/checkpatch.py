# SPDX-License-Identifier: GPL-2.0-only
"""The kernel's own style checker, for ``scripts/check``, and its own reader of KTAP, for a test.

No Debian package has them outside the kernel's whole source, so that is fetched
once, like all else with its signature checked, and a few files of it are kept.
"""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path, PurePath
from typing import Any

from pyctl.cache import Cache, Entry, digest
from pyctl.errors import NotReady, PyctlError
from pyctl.vm.debian import SUITE, Apt, host_mirror
from pyctl.vm.kernel import fetch_source
from pyctl.vm.process import need_tool

FILES = {
    "checkpatch.pl": "scripts",
    "spelling.txt": "scripts",
    "const_structs.checkpatch": "scripts",
    "kunit_parser.py": "tools/testing/kunit",
    "kunit_printer.py": "tools/testing/kunit",
}
"""The two scripts, and what they read beside themselves; each with its directory."""

_NEEDED_BYTES = 512 << 20
"""The package and the archive in it, while they are there."""


def checkpatch(cache: Cache) -> Entry:
    """The entry that holds FILES, of the newest kernel that there was when first asked.

    Raises NotReady or OperationFailed where the source cannot be had.
    """
    return cache.get(
        "checkpatch",
        digest(SUITE, sorted(FILES.items())),
        "the kernel's checkpatch.pl and kunit_parser.py (fetches the kernel's source, 170 MB)",
        lambda work: _make(cache, work),
    )


def _make(cache: Cache, work: Path) -> dict[str, Any]:
    need_tool("dpkg-deb", "dpkg")
    cache.need_space(_NEEDED_BYTES, "the kernel's source")
    archive, package = fetch_source(Apt(cache, host_mirror()), work)
    extract(archive, work)
    shutil.rmtree(work / "source")
    return {"package": package}


def extract(archive: Path, into: Path) -> None:
    """Take FILES out of a kernel source archive, without unpacking the rest.

    Raises NotReady if one of them is not there.
    """
    missing = set(FILES)
    with tarfile.open(archive, "r|xz") as tar:
        for member in tar:
            path = PurePath(member.name)
            # The name of the top directory says the version.
            directory = "/".join(path.parts[1:-1])
            if path.name in missing and directory == FILES[path.name]:
                source = tar.extractfile(member)
                assert source is not None
                (into / path.name).write_bytes(source.read())
                missing.remove(path.name)
            if not missing:
                return
    raise NotReady(
        f"{archive.name} lacks {FILES[min(missing)]}/{min(missing)}.",
        "The kernel has moved it: pyctl/vm/checkpatch.py needs a change.",
    )


def main() -> int:
    """Print where the script is; the caller goes on without it on any other status than 0."""
    try:
        entry = checkpatch(Cache(say=lambda text: print(f"check: {text}", file=sys.stderr)))  # noqa: T201
    except PyctlError as error:
        print(f"check: {error.message}", file=sys.stderr)  # noqa: T201
        return error.exit_status
    print(entry.path / "checkpatch.pl")  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
