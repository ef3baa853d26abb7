"""Runs the instructions of a pickle without Python's own unpickler: nothing is imported, called or set by name.

A pickle is a program for a small stack machine. Here it can make numbers, texts, containers, and what its allow-list
makes of the names in it. Each instruction spends from a budget that follows the size of the file, so that time and
memory stay in proportion to it.
"""

from __future__ import annotations

import codecs
import collections
import io
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

_INSTRUCTION = 64
"""Bytes that one instruction takes at most for what it puts on the stack or into the memo."""
_LARGEST_KEY = 1 << 60
"""Whole numbers as keys: larger ones are hashed by a remainder, so that a file could make them collide."""
_DEEPEST = 100
_NODES, _BYTES = 1 << 20, 1 << 26


class Budget:
    """What reading ``size`` bytes may take: 64 MiB and 64 times as much, above 1 GiB no more than twice as much."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._left = min(_BYTES + 64 * size, (1 << 30) + 2 * size)

    def spend(self, amount: int) -> None:
        """Take ``amount`` bytes, or as much time as making them takes. Raises ``ValueError`` where too few are left."""
        self._left -= amount
        if self._left < 0:
            raise ValueError("instructions that take far more memory than the file has")


@dataclass(frozen=True)
class Known:
    """What a pickle may name. ``make(budget, *arguments)`` is what calling it gives, None: it is an argument only;
    ``empty``: it is a class, whose objects can be made without arguments, too."""

    name: str
    make: Callable[..., Any] | None = None
    empty: bool = False


class Unfinished:
    """An object that waits for its state, which comes once: ``build`` takes it."""

    built = False

    def set_state(self, state: Any, program: Program) -> None:
        """``build``, the first time. Raises ``ValueError`` the second time."""
        if self.built:
            raise ValueError(f"a second state of one {type(self).__name__.strip('_').lower()}")
        self.built = True
        self.build(state, program)

    def build(self, state: Any, program: Program) -> None:
        """Take the state. Raises ``ValueError`` for another than it should be."""
        raise NotImplementedError

    def finish(self, finisher: Finisher, depth: int) -> Any:
        """The value that takes its place in the result."""
        raise NotImplementedError


class Program:
    """``run()`` the pickle that begins where ``file`` is; ``find(module, name)`` gives what may be named,
    ``persistent`` what a reference to something outside the pickle stands for; ``mappings``: other dictionaries."""

    def __init__(
        self,
        file: io.BytesIO,
        find: Callable[[str, str], Known],
        budget: Budget,
        *,
        inner: bool = False,
        persistent: Callable[[Any], Any] | None = None,
        mappings: tuple[type, ...] = (),
    ) -> None:
        self._mappings = (dict, collections.OrderedDict, *mappings)
        self.file, self.find, self.budget, self.inner, self._persistent = file, find, budget, inner, persistent
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle leaves at its end, not finished yet. Raises ``ValueError`` and others for a damaged one."""
        while True:
            code = self.file.read(1)
            opcode = _OPCODES.get(code)
            if opcode is None:
                raise ValueError("no end" if not code else f"an unknown instruction {code!r}")
            self.budget.spend(_INSTRUCTION)
            if opcode.name == "STRING":  # pickletools takes ASCII alone
                argument: Any = _quoted(self.file.readline())
            else:
                argument = opcode.arg.reader(self.file) if opcode.arg else None
            if opcode.name == "STOP":
                return self._stack.pop()
            act = _ACTIONS.get(opcode.name)
            if act is None:
                raise ValueError(f"an instruction {opcode.name}, which leads out of the file")
            act(self, argument)

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _pop_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marks.pop()
        return items

    def _drop_mark(self, _: Any) -> None:
        self._pop_mark()

    def _mark(self, _: Any) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _pop(self, _: Any) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self._pop_mark()

    def _memoize(self, place: int | None) -> None:
        self._memo[len(self._memo) if place is None else place] = self._stack[-1]

    def _top(self, *kinds: type) -> Any:
        """The object on top, which must be of one of these very types: no other is ever changed."""
        if type(self._stack[-1]) not in kinds:
            raise ValueError(f"items for a {type(self._stack[-1]).__name__}")
        return self._stack[-1]

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        self._top(list).append(item)

    def _appends(self, _: Any) -> None:
        items = self._pop_mark()
        self._top(list).extend(items)

    def _set_item(self, _: Any) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._top(*self._mappings)[checked_key(key)] = value

    def _set_items(self, _: Any) -> None:
        items = self._pop_mark()
        self._top(*self._mappings).update(_pairs(items))

    def _add_items(self, _: Any) -> None:
        items = self._pop_mark()
        self._top(set).update(map(checked_key, items))

    def _take(self, count: int) -> tuple[Any, ...]:
        if len(self._stack) < count:
            raise ValueError("a tuple of more than there is")
        items = tuple(self._stack[-count:])
        del self._stack[-count:]
        return items

    def _named(self, text: str) -> Known:
        module, _, name = text.partition(" ")
        return self.find(module, name)

    def _stack_global(self, _: Any) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a name that is no text")
        self._push(self.find(module, name))

    def _call(self, known: Any, arguments: Any) -> Any:
        if not isinstance(known, Known) or known.make is None or not isinstance(arguments, tuple):
            raise ValueError(f"a call of {known.name if isinstance(known, Known) else type(known).__name__}")
        return known.make(self.budget, *arguments)

    def _new(self, known: Any) -> Any:
        if not isinstance(known, Known) or known.make is None or not known.empty:
            raise ValueError(f"an object of {known.name if isinstance(known, Known) else type(known).__name__}")
        return known.make(self.budget)

    def _reduce(self, _: Any) -> None:
        arguments, known = self._stack.pop(), self._stack.pop()
        self._push(self._call(known, arguments))

    def _new_object(self, _: Any) -> None:
        self._stack.pop()  # the arguments, which no class of the list needs
        self._push(self._new(self._stack.pop()))

    def _new_object_with_keywords(self, _: Any) -> None:
        self._stack.pop()
        self._new_object(None)

    def _instance(self, text: str) -> None:
        self._pop_mark()
        self._push(self._new(self._named(text)))

    def _object(self, _: Any) -> None:
        self._push(self._new(self._pop_mark()[0]))

    def _build(self, _: Any) -> None:
        state = self._stack.pop()
        if not isinstance(self._stack[-1], Unfinished):
            raise ValueError(f"a state for a {type(self._stack[-1]).__name__}")
        self._stack[-1].set_state(state, self)

    def _persistent_id(self, text: Any) -> None:
        if self._persistent is None:
            raise ValueError("a reference to something outside the file")
        self._push(self._persistent(self._stack.pop() if text is None else text))

    def _protocol(self, number: int) -> None:
        if number > 5:
            raise ValueError(f"protocol {number}")


def checked_key(key: Any) -> Any:
    """A dictionary's key, or a set's item, that is hashed quickly and safely. Raises ``ValueError`` for another."""
    if type(key) in (str, bytes, bool, float, type(None)) or isinstance(key, (np.str_, np.bytes_)):
        return key
    if isinstance(key, (int, np.integer)) and abs(int(key)) < _LARGEST_KEY:
        return key
    raise ValueError(f"a key of {type(key).__name__}")


def _quoted(line: bytes) -> str:
    text = line.strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise ValueError("a text without quotes")
    return codecs.escape_decode(text[1:-1])[0].decode("latin1")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    return {checked_key(key): value for key, value in zip(items[::2], items[1::2], strict=True)}


_CONSTANTS = (
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "FLOAT",
    "BINFLOAT",
)
_ACTIONS: dict[str, Callable[[Program, Any], None]] = {
    **dict.fromkeys(_CONSTANTS, Program._push),
    "NONE": lambda program, _: program._push(None),
    "NEWTRUE": lambda program, _: program._push(True),
    "NEWFALSE": lambda program, _: program._push(False),
    "EMPTY_LIST": lambda program, _: program._push([]),
    "EMPTY_TUPLE": lambda program, _: program._push(()),
    "EMPTY_DICT": lambda program, _: program._push({}),
    "EMPTY_SET": lambda program, _: program._push(set()),
    "LIST": lambda program, _: program._push(program._pop_mark()),
    "TUPLE": lambda program, _: program._push(tuple(program._pop_mark())),
    "TUPLE1": lambda program, _: program._push(program._take(1)),
    "TUPLE2": lambda program, _: program._push(program._take(2)),
    "TUPLE3": lambda program, _: program._push(program._take(3)),
    "DICT": lambda program, _: program._push(_pairs(program._pop_mark())),
    "FROZENSET": lambda program, _: program._push(frozenset(map(checked_key, program._pop_mark()))),
    "APPEND": Program._append,
    "APPENDS": Program._appends,
    "SETITEM": Program._set_item,
    "SETITEMS": Program._set_items,
    "ADDITEMS": Program._add_items,
    "MARK": Program._mark,
    "POP": Program._pop,
    "POP_MARK": Program._drop_mark,
    "DUP": lambda program, _: program._push(program._stack[-1]),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda program, place: program._push(program._memo[place])),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Program._memoize),
    "GLOBAL": lambda program, text: program._push(program._named(text)),
    "STACK_GLOBAL": Program._stack_global,
    "REDUCE": Program._reduce,
    "NEWOBJ": Program._new_object,
    "NEWOBJ_EX": Program._new_object_with_keywords,
    "INST": Program._instance,
    "OBJ": Program._object,
    "BUILD": Program._build,
    "PERSID": Program._persistent_id,
    "BINPERSID": Program._persistent_id,
    "PROTO": Program._protocol,
    "FRAME": lambda program, _: None,
}
_OPCODES = {opcode.code.encode("latin1"): opcode for opcode in pickletools.opcodes}


class Finisher:
    """Puts values in the place of objects that were in the making: every object once, however often it is shared.

    Raises ``ValueError`` for what holds itself, is nested more than 100 deep, or, written out without sharing, would be
    far larger than the file: whoever walks the result must not take exponential time.
    """

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._most_nodes, self._most_bytes = _NODES + 4 * budget.size, _BYTES + 4 * budget.size
        self._done: dict[int, tuple[Any, Any, int, int] | None] = {}
        self._nodes = self._bytes = 0

    def value(self, raw: Any, depth: int = 0) -> Any:
        """The finished value of what ``Program.run`` left."""
        if isinstance(raw, (bool, int, float, complex, str, bytes, bytearray, type(None), np.ndarray, np.generic)):
            if isinstance(raw, np.ndarray) and raw.dtype.hasobject:
                raise ValueError("an array of objects from bytes")
            self._count(1, _size(raw))
            return raw
        if id(raw) in self._done:
            known = self._done[id(raw)]
            if known is None:
                raise ValueError("something that holds itself")
            self._count(*known[2:])
            return known[1]
        if depth == _DEEPEST:
            raise ValueError(f"containers nested more than {_DEEPEST} deep")
        self._done[id(raw)] = None
        self._budget.spend(_INSTRUCTION)
        nodes, size = self._nodes, self._bytes
        self._count(1, 0)
        finished = self._container(raw, depth + 1)
        self._done[id(raw)] = raw, finished, self._nodes - nodes, self._bytes - size
        return finished

    def _container(self, raw: Any, depth: int) -> Any:
        if isinstance(raw, Unfinished):
            return raw.finish(self, depth)
        if type(raw) in (dict, collections.OrderedDict):
            self._budget.spend(_INSTRUCTION * len(raw))
            return type(raw)((key, self.value(item, depth)) for key, item in raw.items())
        if type(raw) in (list, tuple):
            self._budget.spend(8 * len(raw))
            return type(raw)([self.value(item, depth) for item in raw])
        if type(raw) in (set, frozenset):
            self._count(len(raw), sum(map(_size, raw)))
            return raw
        raise ValueError(f"a {raw.name if isinstance(raw, Known) else type(raw).__name__} by itself")

    def _count(self, nodes: int, size: int) -> None:
        self._nodes += nodes
        self._bytes += size
        if self._nodes > self._most_nodes or self._bytes > self._most_bytes:
            raise ValueError("something shared so often that it stands for far more than the file has")


def _size(value: Any) -> int:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.nbytes
    if isinstance(value, (str, bytes, bytearray)):
        return len(value)
    return 16 + value.bit_length() // 8 if isinstance(value, int) else 16
