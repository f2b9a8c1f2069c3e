"""Pickles read without running anything: plain values as they are, and an inert stand in place of everything else.

The machine here knows the opcodes of pickle, as `pickletools` takes them apart. It imports no name that a pickle holds and calls none:
where a pickle would import or call something, the result is a `Stand`, which has that name and does nothing. Only the functions
that a reader hands over, under the names that they answer to, are called. Python's own Unpickler with a `find_class` of ours would call
no name either, but it hashes any key, which of nested tuples takes for ever, and makes room for any number of a memo.
"""

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

MOST_OPCODES = 1_000_000  # a checkpoint has 100,000; each may take a hundred bytes of memory
PLAIN = (str, bytes, int, float, bool, type(None))  # types of keys; the hash of nested tuples would take for ever
ACTING = {
    "os", "posix", "nt", "subprocess", "_posixsubprocess", "pty", "shutil", "socket", "_socket", "ctypes", "_ctypes", "runpy", "importlib",
    "code", "webbrowser",
}  # fmt: skip
ACTING_BUILTINS = {"eval", "exec", "execfile", "compile", "open", "__import__", "breakpoint", "input"}
"""Modules and built-in functions that no checkpoint has a reason to call. A stand would do for them, too; a file that calls them
is not to be trusted."""


class ActingCallError(ValueError):
    """The pickle calls a function of `ACTING` or `ACTING_BUILTINS`, which the error's text names."""


@dataclass(frozen=True)
class Stand:
    """What stands in place of a class, a function, or of what one of them would have made."""

    name: str  # dotted, of the class or function


def load(file: BinaryIO, known: Mapping[str, Callable[..., Any]], stored: Callable[[Any], Any]) -> Any:
    """The next pickle of a file; sets, and dictionary entries whose keys are not of `PLAIN` types, are not kept.

    Args:
        known: functions by the dotted names under which pickles call them.
        stored: what a persistent id stands for.

    Raises:
        ActingCallError: for a call that no checkpoint needs.
        ValueError, IndexError, KeyError, TypeError: for a pickle that is broken or too long.
    """
    machine = Machine(known, stored)
    for opcode, argument, _ in islice(pickletools.genops(file), MOST_OPCODES):
        if opcode.name == "STOP":
            return machine.pop()
        machine.take(opcode.name, argument)
    raise ValueError(f"a pickle of more than {MOST_OPCODES:,} opcodes")


class Machine:
    """The stack machine of pickle; as `load` says."""

    def __init__(self, known: Mapping[str, Callable[..., Any]], stored: Callable[[Any], Any]):
        self.known, self.stored = known, stored
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks beneath each mark
        self.memo: dict[int, Any] = {}

    def pop(self) -> Any:
        return self.stack.pop()

    def above_mark(self) -> list[Any]:
        """What lies above the last mark, which is taken away with it."""
        values, self.stack = self.stack, self.below.pop()
        return values

    def take(self, opcode: str, argument: Any) -> None:
        """One step."""
        if opcode in _VALUES:
            self.stack.append(argument)
        elif opcode in _MAKES:
            made = _MAKES[opcode](self)  # which may put another stack in place
            self.stack.append(made)
        elif opcode in _CHANGES:
            _CHANGES[opcode](self)
        elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif opcode in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif opcode == "GLOBAL":
            self.stack.append(Stand(argument.replace(" ", ".", 1)))
        elif opcode == "INST":
            made = self.called(Stand(argument.replace(" ", ".", 1)), tuple(self.above_mark()))
            self.stack.append(made)
        elif opcode not in ("PROTO", "FRAME"):
            raise ValueError(f"the opcode {opcode}, which no checkpoint has")

    def called(self, function: Any, arguments: Any) -> Any:
        """What a known function returns; of any other a stand of its name."""
        if not isinstance(function, Stand) or not isinstance(arguments, tuple):
            raise ValueError(f"a call of {type(function).__name__}, which is no function")
        if function.name in self.known:
            return self.known[function.name](*arguments)
        module, _, name = function.name.partition(".")
        if module in ACTING or (module in ("builtins", "__builtin__", "io", "_io") and name.split(".")[0] in ACTING_BUILTINS):
            raise ActingCallError(function.name)
        return Stand(function.name)

    def global_on_stack(self) -> Stand:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError(f"a name of {type(module).__name__} and {type(name).__name__}")
        return Stand(f"{module}.{name}")

    def made_by_class(self) -> Any:
        """OBJ: a class and its arguments above a mark."""
        function, *arguments = self.above_mark()
        return self.called(function, tuple(arguments))

    def reduced(self, has_keywords: bool = False) -> Any:
        """A function or class called with a tuple of arguments; keywords are for what is not called anyway."""
        if has_keywords:
            self.pop()
        arguments = self.pop()
        return self.called(self.pop(), arguments)

    def set_items(self, keys_and_values: list[Any]) -> None:
        """Put pairs into the dictionary on top; a stand takes none of them."""
        target = self.stack[-1]
        if isinstance(target, dict):
            target |= pairs(keys_and_values)
        elif not isinstance(target, Stand):
            raise ValueError(f"items of {type(target).__name__}")

    def append(self, values: list[Any]) -> None:
        """Put values at the end of the list on top; a stand takes none of them."""
        target = self.stack[-1]
        if isinstance(target, list):
            target += values
        elif not isinstance(target, Stand):
            raise ValueError(f"an element of {type(target).__name__}")

    def mark(self) -> None:
        self.below.append(self.stack)
        self.stack = []

    def drop(self) -> None:
        """POP, which takes a mark where nothing lies above it."""
        if self.stack:
            self.pop()
        else:
            self.above_mark()


def pairs(keys_and_values: list[Any]) -> dict[Any, Any]:
    """A dictionary of a list [key, value, key, value, ...], without the keys that are not of `PLAIN` types."""
    both = zip(keys_and_values[::2], keys_and_values[1::2], strict=True)
    return {key: value for key, value in both if type(key) in PLAIN}


def _last(machine: Machine, n: int) -> tuple[Any, ...]:
    return tuple([machine.pop() for _ in range(n)][::-1])


_VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
}  # fmt: skip
"""Opcodes whose argument is the value."""

_MAKES: dict[str, Callable[[Machine], Any]] = {
    "NONE": lambda m: None,
    "NEWTRUE": lambda m: True,
    "NEWFALSE": lambda m: False,
    "EMPTY_LIST": lambda m: [],
    "EMPTY_TUPLE": lambda m: (),
    "EMPTY_DICT": lambda m: {},
    "EMPTY_SET": lambda m: Stand("builtins.set"),
    "LIST": lambda m: m.above_mark(),
    "TUPLE": lambda m: tuple(m.above_mark()),
    "TUPLE1": lambda m: _last(m, 1),
    "TUPLE2": lambda m: _last(m, 2),
    "TUPLE3": lambda m: _last(m, 3),
    "DICT": lambda m: pairs(m.above_mark()),
    "FROZENSET": lambda m: m.called(Stand("builtins.frozenset"), tuple(m.above_mark())),
    "DUP": lambda m: m.stack[-1],
    "STACK_GLOBAL": Machine.global_on_stack,
    "REDUCE": Machine.reduced,
    "NEWOBJ": Machine.reduced,
    "NEWOBJ_EX": lambda m: m.reduced(has_keywords=True),
    "OBJ": Machine.made_by_class,
    "BINPERSID": lambda m: m.stored(m.pop()),
}
"""Opcodes that put one value on the stack, made of what they take from it."""

_CHANGES: dict[str, Callable[[Machine], Any]] = {
    "MARK": Machine.mark,
    "POP": Machine.drop,
    "POP_MARK": Machine.above_mark,
    "MEMOIZE": lambda m: m.memo.__setitem__(len(m.memo), m.stack[-1]),
    "APPEND": lambda m: m.append([m.pop()]),
    "APPENDS": lambda m: m.append(m.above_mark()),
    "SETITEM": lambda m: m.set_items(list(_last(m, 2))),
    "SETITEMS": lambda m: m.set_items(m.above_mark()),
    "ADDITEMS": Machine.above_mark,
    "BUILD": Machine.pop,  # the attributes of an object, which none of ours has
}
"""Opcodes that change what lies on the stack."""
