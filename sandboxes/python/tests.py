# The half of a pair that holds the tests. Second of the three files (values.py).
RESULT = 4


class TestNames(dict):
    """Globals of the tests. A name they lack is the candidate's, except where a builtin has it."""

    def __init__(self, peer, candidate_names):
        super().__init__(__name__="tests", __builtins__=builtins)
        self.peer, self.candidate_names = peer, candidate_names

    def __missing__(self, name):
        if hasattr(builtins, name) and name not in self.candidate_names:
            raise KeyError(name)
        if name.startswith("__"):
            raise KeyError(name)
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
    entry = payload.get("entry")
    called = called_names(trees)
    if not entry and called and all(hasattr(builtins, n) for n in called):
        candidate_names = called  # the function under test is named as a builtin: there is no other
    else:
        candidate_names = {entry} if entry else set()
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
    for name in ("solution", "program", "main"):
        module = types.ModuleType(name)
        module.__getattr__ = lambda n: names[n]
        sys.modules[name] = module
    if payload.get("prelude"):  # helpers that stand in the prompt are the tests' own, not the candidate's
        try:
            exec(compile(payload["prelude"], "prompt.py", "exec"), names)
        except Exception:
            pass
        names.pop(entry, None)
    try:
        exec(compile(payload.get("setup") or "", "setup.py", "exec"), names)
        for number, tree in enumerate(trees):
            before = asserted[0]
            try:
                code = compile(ast.fix_missing_locations(Counted().visit(tree)), f"test {number}", "exec")
                exec(code, names)
                if asserted[0] == before and entry and "check" in names:
                    names["check"](names[entry])
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
