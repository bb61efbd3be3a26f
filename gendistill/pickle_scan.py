"""What a pickle would build, weighed before anything is built: references make a giant of a few bytes.

A tuple of two references to a tuple of two references, thirty times over, has 40 bytes a level and a billion leaves.
Comparing, hashing or printing it never ends, and nesting without end overflows the stack of the interpreter. The stream
is read opcode by opcode with Python's own ``pickletools``; nothing in it is looked up or called.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass
from typing import IO, Any

DEEPEST = 100
"""Containers in containers. Checkpoints have fewer than ten."""
MAKERS = ("bytearray",)
"""Callables that make as much as a number says; torch's reader would call them."""


class Bomb(ValueError):
    """The stream would build too much; the message says what, as the middle of a sentence."""


@dataclass
class _Weight:
    leaves: int = 1
    depth: int = 0


_MARK, _LEAF = _Weight(), _Weight()
CONSTANTS = {
    opcode.name
    for opcode in pickletools.opcodes
    if opcode.stack_after and not opcode.stack_before and "EMPTY" not in opcode.name
} - {"MARK", "GLOBAL", "GET", "BINGET", "LONG_BINGET"}
"""Opcodes that put one value on the stack, to which nothing is added later."""


def scan(stream: IO[bytes], most: int) -> None:
    """Weigh one pickle, and leave the stream behind it.

    Args:
        stream: At the pickle's first byte.
        most: Leaves that a value may have when every reference is counted.

    Raises:
        Bomb: A value has more, is nested deeper than :data:`DEEPEST`, or calls one of :data:`MAKERS`.
        ValueError, LookupError: The stream is no pickle, or is damaged.
    """
    stack: list[_Weight] = []
    memo: dict[Any, _Weight] = {}
    for opcode, argument, _ in pickletools.genops(stream):
        name = opcode.name
        if name in CONSTANTS:
            stack.append(_LEAF)
            continue
        if name == "STOP":
            return
        if name in ("PROTO", "FRAME"):
            continue
        if name == "MARK":
            stack.append(_MARK)
        elif name == "MEMOIZE":
            memo[len(memo)] = stack[-1]
        elif "PUT" in name:
            memo[argument] = stack[-1]
        elif "GET" in name:
            stack.append(memo[argument])
        else:
            if name in ("GLOBAL", "INST") and str(argument).split(" ")[-1] in MAKERS:
                raise Bomb(f"calls {argument}, which makes as much as a number says")
            _apply(opcode, stack, most)
    raise ValueError("the pickle has no end")


def _apply(opcode: Any, stack: list[_Weight], most: int) -> None:
    before = [item.name for item in opcode.stack_before]
    inside: list[_Weight] = []
    if "mark" in before:
        while (top := stack.pop()) is not _MARK:
            inside.append(top)
        before = before[: before.index("mark")]
    outside = [stack.pop() for _ in before]
    if any(item is _MARK for item in outside):
        raise ValueError("the pickle's stack is out of order")
    if opcode.name in ("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"):
        # What was there before them is changed and stays, under its number in the memo, too.
        target, parts = outside[-1], [*outside[:-1], *inside]
        if target is _LEAF:
            target = _Weight()
        target.leaves += sum([part.leaves for part in parts])
        target.depth = max(target.depth, 1 + max([part.depth for part in parts], default=-1))
        stack.append(target)
        made = [target]
    else:
        parts = [*outside, *inside]
        leaves, depth = 1 + sum(part.leaves for part in parts), max((1 + part.depth for part in parts), default=0)
        made = [_Weight(leaves, depth) for _ in opcode.stack_after]
        stack.extend(made)
    for one in made:
        if one.depth > DEEPEST:
            raise Bomb(f"holds values nested more than {DEEPEST} deep")
        if one.leaves > most:
            raise Bomb(f"holds {one.leaves:,} values when every reference is counted")
