#pragma once
// The program that the Python host runs: loads FILE, then answers one JSON line per JSON line. The protocol's
// descriptors are moved away first, so that a print of the user goes to stderr and input() sees an empty file.

namespace fulmen::reward {

inline constexpr char kPythonBootstrap[] = R"py(
import importlib.util, inspect, json, math, os, sys

reader = os.fdopen(os.dup(0), "rb")
writer = os.fdopen(os.dup(1), "wb")
null = os.open(os.devnull, os.O_RDONLY)
os.dup2(null, 0)
os.close(null)
os.dup2(2, 1)

PATH, NAME = sys.argv[1], sys.argv[2]
BATCHED = ("completions", "queries")


def send(reply):
    writer.write(json.dumps(reply).encode() + b"\n")
    writer.flush()


def clean(text):  # lone surrogates are no JSON for the other side
    return str(text).encode("utf-8", "replace").decode("utf-8")


def last_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clean(type(error).__name__ + (": " + lines[-1] if lines else ""))


def fields(record):
    prompt, response, answer = record["prompt"], record["response"], record["answer"]
    known = {
        "prompt": prompt, "response": response, "answer": answer, "data_source": record["data_source"],
        "ground_truth": answer, "extra_info": record["extra_info"],
    }
    aliases = {"solution_str": response, "completion": response, "solution": response, "label": answer}
    lists = {"prompts": prompt, "completions": response, "labels": answer, "queries": prompt + response}
    return known, aliases, lists


def load():
    directory = os.path.dirname(os.path.abspath(PATH))
    sys.path.insert(0, directory)
    name = os.path.splitext(os.path.basename(PATH))[0]
    spec = importlib.util.spec_from_file_location(name, PATH)
    if spec is None:
        raise ImportError(PATH + " is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    function = getattr(module, NAME, None)
    if not callable(function):
        raise AttributeError("%s has no function %s" % (PATH, NAME))
    return function


def plan(function):
    """The names to pass, whether everything else goes to **kw, and whether values are lists of one."""
    names, rest = [], False
    known, aliases, lists = fields({"prompt": "", "response": "", "answer": "", "data_source": "", "extra_info": {}})
    possible = {**known, **aliases, **lists}
    for p in inspect.signature(function).parameters.values():
        if p.kind is p.VAR_KEYWORD:
            rest = True
        elif p.kind is p.VAR_POSITIONAL:
            continue
        elif p.name in possible:
            names.append((p.name, p.kind is p.POSITIONAL_ONLY))
        elif p.default is p.empty:
            raise TypeError("%s wants %s; known are %s" % (NAME, p.name, ", ".join(possible)))
    return names, rest, any(name in BATCHED for name, _ in names)


def call(function, names, rest, batched, record):
    known, aliases, lists = fields(record)
    values = {**known, **aliases, **lists}
    if batched:
        values = {k: [v] for k, v in values.items()}
    else:
        values.update({k: [v] for k, v in lists.items()})
    positional = [values[n] for n, first in names if first]
    keyword = {n: values[n] for n, first in names if not first}
    if rest:
        for k in known:
            if all(k != n for n, _ in names):
                keyword[k] = values[k]
    result = function(*positional, **keyword)
    if inspect.iscoroutine(result):
        import asyncio  # slow to load, so only for those who need it

        return asyncio.run(result)
    return result


def number(value, what):
    value = float(value)
    if not math.isfinite(value):
        raise ValueError("%s is %s, want a finite number" % (what, value))
    return value


def only(value):
    if isinstance(value, (list, tuple)):
        if len(value) != 1:
            raise ValueError("%s returned %d values for one record" % (NAME, len(value)))
        return value[0]
    return value


def read(result):
    result, extra = only(result), {}
    if isinstance(result, dict):
        key = "score" if "score" in result else "rewards"
        if key not in result:
            raise ValueError("%s returned a dict without \"score\"" % NAME)
        for k, v in result.items():
            if k == key or isinstance(v, (str, bytes)) or v is None:
                continue
            try:
                extra[clean(k)] = number(only(v), k)
            except (TypeError, ValueError):
                continue  # not a number: nothing to report
        result = only(result[key])
    if result is None or isinstance(result, (str, bytes)):
        raise TypeError("%s returned %r, want a number or a dict with \"score\"" % (NAME, result))
    return {"score": number(result, "the score"), "extra": extra}


try:
    user = load()
    how = plan(user)
except BaseException as error:
    send({"ready": False, "error": last_line(error)})
    sys.exit(1)
send({"ready": True, "truth": any(n in ("answer", "ground_truth", "solution", "label", "labels") for n, _ in how[0])})
for line in reader:
    request = json.loads(line)
    try:
        reply = read(call(user, *how, request))
    except BaseException as error:
        reply = {"error": last_line(error)}
    reply["id"] = request["id"]
    send(reply)
)py";

}  // namespace fulmen::reward
