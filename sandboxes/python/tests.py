# The half of a pair that holds the tests. Second of the three files (values.py).
RESULT = 4


STANDARD = ("collections", "math", "itertools", "functools", "heapq", "bisect", "fractions", "decimal", "datetime",
            "copy", "operator", "string")


def standard_value(name):
    """What tests mean by a name of the standard library that they did not import; None when there is none."""
    if name in sys.stdlib_module_names:
        return __import__(name)
    for module in STANDARD:
        value = getattr(__import__(module), name, None)
        if value is not None and not name.startswith("_") and not isinstance(value, types.ModuleType):
            return value
    return None


class TestNames(dict):
    """Globals of the tests. A name they lack is the candidate's, except where a builtin or the standard library has it
    and another name is the function under test: a Counter or a math of the candidate's own would compare as it likes."""

    def __init__(self, peer, candidate_names):
        super().__init__(__name__="tests", __builtins__=builtins)
        self.peer, self.candidate_names = peer, candidate_names

    def __missing__(self, name):
        if name not in self.candidate_names and hasattr(builtins, name) or name.startswith("__"):
            raise KeyError(name)
        if name not in self.candidate_names and (value := standard_value(name)) is not None:
            self[name] = value
            return value
        found = self.peer.request("resolve", name)
        if "module" in found:
            top = str(found["module"]).split(".")[0]
            if top not in sys.stdlib_module_names:
                raise KeyError(name)
            value = __import__(found["module"], fromlist=["x"])
        else:
            value = found["object"]
        self[name] = value
        return value


class Counted(ast.NodeTransformer):
    """Counts the assertions that were reached: tests that assert nothing must not pass."""

    def visit_Assert(self, node):
        call = ast.Expr(ast.Call(ast.Name("_fulmen_assertion", ast.Load()), [], []))
        return [ast.copy_location(call, node), node]


def called_names(trees):
    return {n.func.id for t in trees for n in ast.walk(t) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}


def test_policy(names):
    """What the candidate may do with objects of the tests: call functions it was given, read and set plain attributes of
    objects whose class the tests define."""

    def is_ours(value):
        return type(value).__module__ == "tests"

    def allowed(operation, *args):
        if operation == "export":
            if not (isinstance(args[0], (types.FunctionType, types.MethodType)) or is_ours(args[0])):
                raise TypeError(f"tests hand out a {type(args[0]).__name__}")
        elif operation in ("getattr", "setattr"):
            if not is_ours(args[0]) or args[1].startswith("_"):
                raise AttributeError(args[1])
        elif operation == "call":
            if not isinstance(args[0], (types.FunctionType, types.MethodType)):
                raise TypeError("not a function of the tests")
        elif operation not in OPERATIONS or not is_ours(args[0]):
            raise TypeError(operation)

    return allowed


def run_unit_cases(names):
    """unittest cases and test_ functions, where a source defines them and asserted nothing by itself."""
    import unittest
    for name, value in list(names.items()):
        if isinstance(value, type) and issubclass(value, unittest.TestCase):
            result = unittest.TestResult()
            unittest.defaultTestLoader.loadTestsFromTestCase(value).run(result)
            names["_fulmen_assertion"](result.testsRun)
            if not result.wasSuccessful():
                raise AssertionError((result.failures + result.errors + [(0, name)])[0][1][-300:])
        elif name.startswith("test") and isinstance(value, types.FunctionType) and value.__code__.co_argcount == 0:
            value()


def run_tests(payload):
    asserted = [0]

    def count(n=1):
        asserted[0] += n

    trees = [ast.parse(t) for t in payload["tests"]]
    entry = payload.get("entry")  # a name, or Solution().name
    top = entry and entry.split(".")[0].split("(")[0]
    called = called_names(trees)
    known = {n for n in called if hasattr(builtins, n)}
    standard = {n for n in called - known if standard_value(n) is not None}
    if entry:
        candidate_names = {top}
    elif called - known - standard:
        candidate_names = set()
    else:  # the function under test is named as something standard: there is no other
        candidate_names = standard or called
    peer = Peer(None)
    names = TestNames(peer, candidate_names)
    peer.allowed = test_policy(names)
    names["_fulmen_assertion"] = count
    failed = peer.receive()["value"]
    passed, messages, asserts = [], [], []

    def result():
        write_all(RESULT, json.dumps({"nonce": payload["nonce"], "passed": passed, "asserts": asserts,
                                      "messages": messages}).encode())

    if failed is not None:
        messages.append("the program does not load: " + str(failed)[:300])
        return result()

    def attribute(name):
        try:
            return names[name]
        except KeyError:
            raise AttributeError(name) from None

    for name in ("solution", "program", "main"):
        module = types.ModuleType(name)
        module.__getattr__ = attribute
        sys.modules[name] = module
    if payload.get("prelude"):  # helpers that stand in the prompt are the tests' own, not the candidate's
        try:
            exec(compile(payload["prelude"], "prompt.py", "exec"), names)
        except Exception:
            pass
        names.pop(top, None)
    try:
        exec(compile(payload.get("setup") or "", "setup.py", "exec"), names)
        for number, tree in enumerate(trees):
            before = asserted[0]
            try:
                code = compile(ast.fix_missing_locations(Counted().visit(tree)), f"test {number}", "exec")
                exec(code, names)
                if asserted[0] == before and entry and "check" in names:
                    names["check"](names[entry] if entry == top else eval(entry, names))
                if asserted[0] == before:
                    run_unit_cases(names)
                good, text = True, ""
            except Exception as e:
                good, text = False, f"{type(e).__name__}: {safe_text(e)[:200]}"
            passed.append(good)
            asserts.append(asserted[0] - before)
            messages.append(text)
    except Gone as e:
        messages.append("the program " + safe_text(e))
    result()
