# SPDX-License-Identifier: GPL-2.0-only
"""Defects that nobody chose: small changes all over a C file, made by rule.

Conditions are turned round, comparisons moved by one, numbers increased, statements and
with them locks removed, arguments exchanged, types narrowed. Needs the extra ``dev``.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from pyctl.cache import Tree
from tests.mutants.source import Edit

OPERATORS = {
    "<": "<=",
    "<=": "<",
    ">": ">=",
    ">=": ">",
    "==": "!=",
    "!=": "==",
    "&&": "||",
    "||": "&&",
    "+": "-",
    "-": "+",
    "&": "|",
    "|": "&",
    "<<": ">>",
    ">>": "<<",
}
NARROWER = {"u64": "u32", "uint64_t": "uint32_t", "s32": "s16", "int32_t": "int16_t"}
_DECLARES = (b"static_assert", b"MODULE_", b"BUILD_BUG_ON")
"""What is no statement, though it looks like one."""
_INSTRUMENT = (b"fault", b"COUNT_NOTHING")
"""What a fault of the stub decides is no firmware's, nor is which faults a call may suffer."""
_ON_FAULT = b"(fault_hits("
_SHOWN = 60

PROVIDER = (
    "module/smccc_cache/main.c",
    "module/smccc_cache/smccc_cache.h",
    "module/include/smccc_memregion.h",
)
STUB = ("cache.c", "dispatch.c", "call.h")
"""The path of a call; the rest is the machine, and the instrument."""

Change = tuple[int, int, bytes]
"""The bytes from the one to the other, and what takes their place."""


def mutants_of(source: Tree, paths: tuple[str, ...]) -> dict[str, Edit]:
    """The changes of the files at ``paths``, as edits of the whole file.

    Each has a name that says where it is and what, and lasts while the line does.
    """
    found: dict[str, Edit] = {}
    for path, _mode, data in source.files:
        if path not in paths:
            continue
        for start, end, new in changes_of(data):
            line = data[data.rfind(b"\n", 0, start) + 1 : data.find(b"\n", start)]
            name = f"{path} '{_short(line)}': {_short(data[start:end])} -> {_short(new)}"
            while name in found:
                name += " again"
            found[name] = (path, data.decode(), (data[:start] + new + data[end:]).decode())
    return found


def changes_of(text: bytes) -> Iterator[Change]:
    """Every change of a C file that there is a rule for, in the order of the file.

    But for the instrument, which has tests of its own.
    """
    for change in sorted({change for node in _nodes(_parse(text)) for change in _changes(node)}):
        end = text.find(b"\n", change[0])
        if not _is_instrument(text[text.rfind(b"\n", 0, change[0]) : end]):
            yield change


def _is_instrument(text: bytes) -> bool:
    return any(word.lower() in text.lower() for word in _INSTRUMENT)


def _changes(node: Any) -> Iterator[Change]:
    """The changes of one node of the syntax tree."""
    kind, text = node.type, node.text
    if kind == "if_statement":
        condition = node.child_by_field_name("condition")
        yield condition.start_byte, condition.end_byte, b"(!" + condition.text + b")"
    elif kind == "binary_expression":
        operator = node.child_by_field_name("operator")
        if other := OPERATORS.get(operator.type):
            yield operator.start_byte, operator.end_byte, other.encode()
    elif kind == "number_literal" and not _is_size_of_array(node):
        yield node.start_byte, node.end_byte, b"(" + text + b" + 1)"
    elif kind == "preproc_arg" and text.strip().rstrip(b"UL").isdigit():
        yield node.start_byte, node.end_byte, text.rstrip() + b" + 1"
    elif kind == "expression_statement" and not text.startswith(_DECLARES):
        yield node.start_byte, node.end_byte, b";"
    elif kind == "argument_list":
        first, *rest = node.named_children or [None]
        if rest and first.text != rest[0].text:
            both = rest[0].text + b", " + first.text
            yield first.start_byte, rest[0].end_byte, both
    elif kind in ("type_identifier", "primitive_type") and text.decode() in NARROWER:
        yield node.start_byte, node.end_byte, NARROWER[text.decode()].encode()


def _is_size_of_array(node: Any) -> bool:
    """A longer array is no other program."""
    return bool(node.parent and node.parent.type == "array_declarator")


def _nodes(node: Any) -> Iterator[Any]:
    """A node and all below it, but for what is done on the condition of a fault."""
    yield node
    condition = node.child_by_field_name("condition")
    is_of_fault = condition is not None and condition.text.startswith(_ON_FAULT)
    for child in node.children:
        if not (is_of_fault and child == node.child_by_field_name("consequence")):
            yield from _nodes(child)


def _parse(text: bytes) -> Any:
    return _parser().parse(text).root_node


@cache
def _parser() -> Any:
    import tree_sitter
    import tree_sitter_c

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_c.language()))


def _short(text: bytes) -> str:
    words = " ".join(text.decode().split())
    return words if len(words) <= _SHOWN else f"{words[: _SHOWN - 3]}..."
