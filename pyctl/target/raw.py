# SPDX-License-Identifier: GPL-2.0-only
"""Raw SMCCC calls as the file ``smccc`` wants them written and has them read.

Many calls go in few writes, but never so many that nobody is left to notice that a
CPU does not come back.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from pyctl.errors import OperationFailed
from pyctl.target.answers import Fields, RawAnswer, RawRequest, blocks

_REGISTERS = re.compile(r"\s+".join(rf"x{number}=0x([0-9a-f]+)" for number in range(18)))
"""An answer of ``smccc`` as it should be; any other is looked at word by word, to say why."""
_LOST = "lost_"


def cpus_of(requests: Iterable[RawRequest]) -> set[int]:
    """The CPUs that requests are bound to."""
    return {request.cpu for request in requests if request.cpu is not None}


def leaving_a_cpu(
    requests: Sequence[RawRequest], allowed: Collection[int]
) -> Iterator[Sequence[RawRequest]]:
    """Cut into parts of which none is bound to all ``allowed`` CPUs, where there are several."""
    start, used = 0, set[int]()
    for end, request in enumerate(requests):
        if used and len(allowed) > 1 and used | cpus_of([request]) >= set(allowed):
            yield requests[start:end]
            start, used = end, set()
        used |= cpus_of([request])
    yield requests[start:]


def joined(lines: Sequence[bytes], limit: int) -> Iterator[bytes]:
    """Put lines together to writes of ``limit`` bytes at most, or of one line."""
    write = b""
    for line in lines:
        if write and len(write) + len(line) > limit:
            yield write
            write = b""
        write += line
    if write:
        yield write


def registers(answer: bytes, calls: int) -> list[RawAnswer]:
    """What each of ``calls`` calls returned, from an answer of the file ``smccc``."""
    found: list[RawAnswer] = []
    texts = list(blocks(answer.decode(errors="replace")))
    if len(texts) != calls:
        raise OperationFailed(
            f"memregion_test answered {len(texts)} of {calls} raw SMCCC calls.",
            "Module and pyctl may be of different versions; see `pyctl status`.",
        )
    for text in texts:
        if match := _REGISTERS.fullmatch(text.strip()):
            found.append(RawAnswer(tuple(int(value, 16) for value in match.groups())))
            continue
        fields = Fields("memregion_test's file smccc", text)
        if "errno" in fields:
            why = os.strerror(fields.number("errno"))
            raise OperationFailed(f"The raw SMCCC call was not made: {why}.")
        x = tuple(fields.number(f"x{number}") for number in range(18))
        lost = [key for key in fields if key.startswith(_LOST)]
        found.append(
            RawAnswer(
                x,
                tuple((key.removeprefix(_LOST), fields.number(key)) for key in lost),
                fields.optional("sve_bytes") or 0,
                fields.optional("za_bytes") or 0,
            )
        )
    return found
