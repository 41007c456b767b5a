# What crosses between the two halves of a pair, and how: plain values as JSON data, objects as references. First of the
# three files that are joined into the source of the warm interpreter (values.py, tests.py, warm.py).
import ast
import builtins
import collections
import ctypes
import datetime
import decimal
import fractions
import gc
import itertools
import json
import operator
import os
import struct
import sys
import threading
import traceback
import types

PEER = 5
MAX_DEPTH = 200
MAX_MESSAGE = 64 << 20


class Gone(BaseException):
    """The other half ended, or broke the protocol. Not an Exception: a test must not swallow it."""


class CandidateError(Exception):
    """An exception in the candidate that has no builtin type."""


def write_all(fd, data):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]


def read_exactly(fd, size):
    parts = []
    while size:
        try:
            part = os.read(fd, min(size, 1 << 20))
        except OSError:
            part = b""
        if not part:
            raise Gone("ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class Remote:
    """An object of the other half."""

    def __init__(self, peer, number):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args, **kwargs):
        return self._peer.call(self, args, kwargs)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.request("getattr", self, name)

    def __setattr__(self, name, value):
        self._peer.request("setattr", self, name, value)

    def __eq__(self, other):  # never the candidate's own idea of equality against a plain value
        if not isinstance(other, Remote):
            return False
        return other._number == self._number or bool(self._peer.request("eq", self, other))

    def __hash__(self):
        return hash(self._number)

    def __iter__(self):
        return iter(self._peer.request("list", self))

    def __next__(self):
        return self._peer.request("next", self)

    def __bool__(self):
        return bool(self._peer.request("bool", self))

    def __len__(self):
        return self._peer.request("len", self)

    def __str__(self):
        return self._peer.request("str", self)

    def __repr__(self):
        return self._peer.request("repr", self)

    def __getitem__(self, key):
        return self._peer.request("getitem", self, key)

    def __setitem__(self, key, value):
        self._peer.request("setitem", self, key, value)

    def __contains__(self, value):  # looked for here: the candidate would say yes
        return value in self._peer.request("list", self)

    def _arithmetic(self, operation, other):
        """abs(f(x) - 2) < 1e-6 must not be the candidate's to decide: with a plain operand the result is an object."""
        result = self._peer.request(operation, self, other)
        if not isinstance(other, Remote) and not isinstance(result, Remote):
            raise TypeError(f"{operation} of an object of the program and a {type(other).__name__}")
        return result

    def __add__(self, other):
        return self._arithmetic("add", other)

    def __sub__(self, other):
        return self._arithmetic("sub", other)

    def __mul__(self, other):
        return self._arithmetic("mul", other)

    def __lt__(self, other):
        if not isinstance(other, Remote):
            return NotImplemented
        return bool(self._peer.request("lt", self, other))


def list_of(value):
    items = list(itertools.islice(value, 1000001))
    if len(items) > 1000000:
        raise ValueError("more than 1000000 items")
    return items


OPERATIONS = {
    "getattr": getattr, "setattr": setattr, "list": list_of, "next": next, "bool": bool, "len": len, "str": str,
    "repr": repr, "getitem": operator.getitem, "setitem": operator.setitem,
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "lt": operator.lt, "eq": operator.eq,
}

NAMED = {f"{m.__name__}.{n}": getattr(m, n) for m, n in (
    (collections, "Counter"), (collections, "OrderedDict"), (collections, "defaultdict"), (collections, "deque"),
    (decimal, "Decimal"), (fractions, "Fraction"), (datetime, "date"), (datetime, "datetime"), (datetime, "timedelta"),
    (datetime, "time"))}
NAME_OF = {t: n for n, t in NAMED.items()}
# Those that harm nobody who calls them: the tests may be handed one by the candidate.
BUILTINS = {n: getattr(builtins, n) for n in (
    "abs", "all", "any", "bin", "bool", "bytes", "chr", "complex", "dict", "divmod", "enumerate", "filter", "float",
    "frozenset", "hex", "int", "len", "list", "map", "max", "min", "oct", "ord", "pow", "range", "repr", "reversed",
    "round", "set", "slice", "sorted", "str", "sum", "tuple", "zip")}
BUILTIN_OF = {v: n for n, v in BUILTINS.items()}


def state_of(value):
    """Plain values that make an object of NAMED again."""
    kind = type(value)
    if kind in (collections.Counter, collections.OrderedDict, collections.defaultdict):
        return [dict(value)]
    if kind is collections.deque:
        return [list(value), value.maxlen]
    if kind is decimal.Decimal:
        return [str(value)]
    if kind is fractions.Fraction:
        return [value.numerator, value.denominator]
    if kind is datetime.timedelta:
        return [value.days, value.seconds, value.microseconds]
    if kind is datetime.date:
        return [value.year, value.month, value.day]
    if value.tzinfo is not None:
        return None
    clock = [value.hour, value.minute, value.second, value.microsecond]
    return clock if kind is datetime.time else [value.year, value.month, value.day] + clock


def encode(value, export, depth=0):
    """As JSON data. What is not plain goes through `export`, or is refused when that is None."""
    if value is None or value is True or value is False:
        return value
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    kind = type(value)
    if kind is str:
        return value
    if kind is int:
        return value if -(1 << 62) < value < 1 << 62 else {"t": "int", "v": hex(value)}
    if kind is float:
        return value if value - value == 0 else {"t": "float", "v": repr(value)}
    if kind is list:
        return [encode(v, export, depth + 1) for v in value]
    if kind is dict:
        return {"t": "dict", "v": [[encode(k, export, depth + 1), encode(v, export, depth + 1)]
                                   for k, v in value.items()]}
    if kind in (tuple, set, frozenset):
        return {"t": kind.__name__, "v": [encode(v, export, depth + 1) for v in value]}
    if kind in (bytes, bytearray):
        return {"t": kind.__name__, "v": value.hex()}
    if kind is complex:
        return {"t": "complex", "v": [encode(value.real, None), encode(value.imag, None)]}
    if kind is range:
        return {"t": "range", "v": [encode(v, None) for v in (value.start, value.stop, value.step)]}
    if kind in NAME_OF:
        state = state_of(value)
        if state is not None:
            return {"t": "named", "n": NAME_OF[kind], "v": encode(state, export, depth + 1)}
    try:
        if value in BUILTIN_OF if isinstance(value, (type, types.BuiltinFunctionType)) else False:
            return {"t": "builtin", "v": BUILTIN_OF[value]}
    except TypeError:
        pass
    # A subclass of a plain type is that plain value, taken by the plain type's own methods.
    if isinstance(value, int):
        return encode(int.__add__(value, 0), export, depth)
    if isinstance(value, float):
        return encode(float.__add__(value, 0.0), export, depth)
    if isinstance(value, str):
        return str.__getitem__(value, slice(None))
    if isinstance(value, tuple):
        return {"t": "tuple", "v": [encode(v, export, depth + 1) for v in tuple.__iter__(value)]}
    if isinstance(value, list):
        return [encode(v, export, depth + 1) for v in list.__iter__(value)]
    if isinstance(value, dict):
        return encode(dict(dict.items(value)), export, depth)
    if export is None:
        raise TypeError(f"a value of type {kind.__name__} has no plain form")
    return export(value)


def decode(data, reference):
    kind = type(data)
    if kind is list:
        return [decode(v, reference) for v in data]
    if kind is not dict:
        return data
    tag, v = data["t"], data["v"]
    if tag in ("tuple", "set", "frozenset"):
        return getattr(builtins, tag)(decode(x, reference) for x in v)
    if tag == "dict":
        return {decode(k, reference): decode(x, reference) for k, x in v}
    if tag == "int":
        return int(v, 16)
    if tag == "float":
        return float(v)
    if tag in ("bytes", "bytearray"):
        return getattr(builtins, tag).fromhex(v)
    if tag == "complex":
        return complex(decode(v[0], None), decode(v[1], None))
    if tag == "range":
        return range(*(decode(x, None) for x in v))
    if tag == "builtin":
        return BUILTINS[v]
    if tag == "named":
        state = decode(v, reference)
        if data["n"] == "collections.defaultdict":
            return collections.defaultdict(None, state[0])
        return NAMED[data["n"]](*state)
    return reference(tag, v)


class Peer:
    """Requests and replies with the other half. While one waits for a reply it answers requests."""

    def __init__(self, allowed):
        self.objects = []  # ours that the other half may name
        self.allowed = allowed  # raises when an operation on one of ours is not for the other half

    def export(self, value):
        if isinstance(value, Remote):
            return {"t": "yours", "v": value._number}
        self.allowed("export", value)
        for number, known in enumerate(self.objects[-64:], max(0, len(self.objects) - 64)):
            if known is value:
                return {"t": "mine", "v": number}
        self.objects.append(value)
        return {"t": "mine", "v": len(self.objects) - 1}

    def reference(self, tag, number):
        if tag == "yours":
            return self.objects[number]
        if tag == "mine":
            return Remote(self, number)
        raise ValueError("unknown tag")

    def send(self, message):
        data = json.dumps(message).encode()
        if len(data) > MAX_MESSAGE:
            raise ValueError("a value of more than 64 MiB")
        try:
            write_all(PEER, struct.pack("<I", len(data)) + data)
        except OSError:
            raise Gone("ended") from None

    def receive(self):
        (size,) = struct.unpack("<I", read_exactly(PEER, 4))
        if size > MAX_MESSAGE:
            raise Gone("sent too much")
        try:
            return json.loads(read_exactly(PEER, size))
        except (ValueError, RecursionError):
            raise Gone("sent what is not a message") from None

    def plain(self, value):
        return encode(value, self.export)

    def wait(self):
        while True:
            message = self.receive()
            if "do" in message:
                self.answer(message)
                continue
            if "error" in message:
                raise error_of(message["error"])
            return message

    def request(self, operation, *args):
        self.send({"do": operation, "args": [self.plain(a) for a in args]})
        return decode(self.wait()["value"], self.reference)

    def call(self, target, args, kwargs):
        self.send({"do": "call", "args": [self.plain(target), self.plain(list(args)), self.plain(kwargs)]})
        try:
            message = self.wait()
        except StopIteration as e:  # would end a map() of the tests, and all() of nothing is true
            raise RuntimeError(f"StopIteration: {e}") from None
        for ours, theirs in zip(args, message.get("changed", ())):
            replace_content(ours, decode(theirs, self.reference))
        return decode(message["value"], self.reference)

    def answer(self, message):
        try:
            reply = self.perform(message["do"], message["args"])
        except Gone:
            raise
        except BaseException as e:  # also SystemExit: a candidate that leaves does not end a test well
            reply = {"error": [type(e).__name__, safe_text(e)]}
        try:
            self.send(reply)
        except (ValueError, RecursionError, MemoryError) as e:
            self.send({"error": [type(e).__name__, safe_text(e)]})

    def perform(self, operation, sent):
        args = [decode(a, self.reference) for a in sent]
        self.allowed(operation, *args)
        if operation == "resolve":
            return {"value": self.plain(self.resolve(*args))}
        if operation != "call":
            return {"value": self.plain(OPERATIONS[operation](*args))}
        target, positional, named = args
        value = self.plain(target(*positional, **named))
        after = self.plain(positional)
        return {"value": value, "changed": after} if after != sent[1] else {"value": value}


def safe_text(error):
    try:
        return str(error)[:500]
    except BaseException:
        return ""


def error_of(pair):
    name, text = pair
    kind = getattr(builtins, name, None) if isinstance(name, str) else None
    if isinstance(kind, type) and issubclass(kind, Exception):
        try:
            return kind(text)
        except TypeError:
            pass
    return CandidateError(f"{name}: {text}")


def replace_content(ours, theirs):
    """What a call did to its list, dict, or set argument, done to ours."""
    if type(ours) is not type(theirs):
        return
    if isinstance(ours, (list, bytearray)):
        ours[:] = theirs
    elif isinstance(ours, (dict, set)):
        ours.clear()
        ours.update(theirs)
