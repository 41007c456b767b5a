# The warm interpreter of a slot; last of the three files (values.py). It imports what tests use, then hands control to
# libfulmen_jail.so, which returns once a run, in a forked process that is already confined. That process reads its
# payload (JSON, descriptor 3) and becomes
#   script     a program with stdin and stdout
#   call       one call of a function; the value goes out at descriptor 4
#   candidate  a module whose names the other half of a pair may use, over descriptor 5
#   unit       one test of a source tree (reward/code/repository.h)
#   tests      the other half: runs assertions against the candidate's names. Expected values and the nonce exist only
#              here, in a process and pid namespace the candidate is not in; what crosses is data, decoded as data.

COMMON = """from string import *
from collections import *
from heapq import *
from bisect import *
from itertools import *
from functools import *
from math import *
from builtins import *
from typing import *
import sys, math, re, string, random, collections, itertools, functools, heapq, bisect, operator, copy, json, datetime
"""


def compile_first(sources):
    """The first of several readings of a response that is a program; else the error of the last."""
    for number, source in enumerate(sources):
        try:
            return compile(source, "program.py", "exec")
        except (SyntaxError, ValueError):
            if number + 1 == len(sources):
                raise


def load_module(payload, name):
    module = types.ModuleType(name)
    module.__file__ = "/tmp/program.py"
    sys.modules[name] = module
    if payload.get("common"):
        exec(COMMON, module.__dict__)
    exec(compile_first(payload["sources"]), module.__dict__)
    return module


def fresh_streams():
    options = {"encoding": "utf-8", "errors": "surrogateescape", "closefd": False}
    sys.stdin = sys.__stdin__ = open(0, "r", **options)
    sys.stdout = sys.__stdout__ = open(1, "w", **options)
    sys.stderr = sys.__stderr__ = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False,
                                       buffering=1)


def finish(code):
    """As the interpreter ends, without the cost of taking it apart."""
    import atexit
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            code = code or 120
    os._exit(code)


def exit_code(error):
    code = error.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF
    print(code, file=sys.stderr)
    return 1


def guarded(body):
    """Runs to the end of the process with the exit code Python would give."""
    code = 0
    try:
        body()
    except SystemExit as e:
        code = exit_code(e)
    except BaseException:
        code = 1
        try:
            traceback.print_exc()
        except BaseException:
            pass
    finish(code)


def run_script(payload):
    sys.argv = ["program.py"] + payload.get("argv", [])
    load_module(payload, "__main__")


def takes_by_name(target, args):
    """{"nums": [1, 2], "k": 1} for a function of nums and k."""
    if len(args) != 1 or not isinstance(args[0], dict) or not args[0]:
        return False
    import inspect
    try:
        parameters = inspect.signature(target).parameters
        inspect.signature(target).bind(**args[0])
    except (TypeError, ValueError):
        return False
    return all(name in parameters for name in args[0])


def run_call(payload):
    module = load_module(payload, "solution")
    target = module
    names = payload["entry"].replace("()", "").split(".")
    if not hasattr(module, names[0]) and hasattr(module, "Solution"):
        names.insert(0, "Solution")
    for number, name in enumerate(names):
        target = getattr(target, name)
        if isinstance(target, type) and number + 1 < len(names):
            target = target()
    args = payload["args"]
    if takes_by_name(target, args):
        args = list(args[0].values())
        result = target(**payload["args"][0])
    else:
        result = target(*args)
    if result is None and payload.get("in_place"):
        result = args[0]
    if isinstance(result, types.GeneratorType):
        result = list_of(result)
    write_all(RESULT, json.dumps(encode(result, None)).encode())


def run_candidate(payload):
    def allowed(operation, *args):
        pass

    peer = Peer(allowed)
    try:
        module = load_module(payload, "solution")
    except BaseException as e:
        traceback.print_exc()
        peer.send({"value": f"{type(e).__name__}: {safe_text(e)}"})
        return
    peer.send({"value": None})

    def resolve(name):
        value = vars(module)[name]
        if isinstance(value, types.ModuleType):
            return {"module": value.__name__}
        return {"object": value}

    peer.resolve = resolve
    try:
        while True:
            peer.answer(peer.receive())
    except Gone:
        pass


def run_unit(payload):
    """One test of a source tree in /tmp/repo, dotted or in pytest's way. The nonce goes out when it has passed."""
    import importlib
    import unittest
    nonce = payload["nonce"]
    payload["nonce"] = ""
    os.chdir("/tmp/repo")
    sys.path[0:1] = ["/tmp/repo", "/tmp/repo/src"]
    parts = payload["test"].replace("::", "/").replace(".py", "").strip("/").replace("/", ".").split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        try:
            module = importlib.import_module(name)
            break
        except ModuleNotFoundError as e:
            if e.name is None or not (name + ".").startswith(e.name + "."):
                raise
    else:
        raise ModuleNotFoundError("no module for test " + payload["test"])
    target = module
    for name in parts[length:]:
        target = getattr(target, name)
    if isinstance(target, types.FunctionType) and not (len(parts) - length > 1):
        target()
    else:
        suite = unittest.defaultTestLoader.loadTestsFromName(".".join(parts[length:]) or None, module) \
            if length < len(parts) else unittest.defaultTestLoader.loadTestsFromModule(module)
        result = unittest.TestResult()
        suite.run(result)
        if result.testsRun == 0 or len(result.skipped) == result.testsRun:
            raise RuntimeError("no test was run")
        if not result.wasSuccessful():
            print((result.failures + result.errors + [(0, "unexpected success")])[0][1], file=sys.stderr)
            sys.exit(1)
    write_all(RESULT, nonce.encode())


MODES = {"unit": run_unit, "script": run_script, "call": run_call, "candidate": run_candidate, "tests": run_tests}


def as_program():
    fresh_streams()
    with open(3, "rb") as f:
        payload = json.loads(f.read())
    if payload["mode"] == "tests":
        sys.set_int_max_str_digits(0)
    guarded(lambda: MODES[payload["mode"]](payload))


def main():
    library_path, control, namespaces, preload = sys.argv[1:]
    for path in ("/usr/lib/python3/dist-packages",):
        if os.path.isdir(path):
            sys.path.append(path)
    import _sitebuiltins
    builtins.exit = _sitebuiltins.Quitter("exit", "Ctrl-D (i.e. EOF)")
    builtins.quit = _sitebuiltins.Quitter("quit", "Ctrl-D (i.e. EOF)")
    for name in filter(None, preload.split(",")):
        __import__(name)
    library = ctypes.PyDLL(library_path)
    after_fork = ctypes.pythonapi.PyOS_AfterFork_Child
    sys.argv = ["program.py"]
    sys.dont_write_bytecode = True
    sys.path[:] = ["/tmp"] + [p for p in sys.path if p]
    gc.collect()
    gc.freeze()
    ctypes.pythonapi.PyOS_BeforeFork()
    library.fulmen_jail_serve(int(control), int(namespaces))
    after_fork()
    as_program()


main()
