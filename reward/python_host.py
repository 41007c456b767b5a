"""Runs a user's reward function: python3 -c THIS FILE.py FUNCTION. Answers one JSON line per JSON line.

First line out: {"ready": true, "truth": ..., "batch": ...} or {"error": ...}. Then {"id", "records": [...]} in,
{"id", "verdicts": [...]} out. The protocol's descriptors are moved away first, so that a print of the user goes to
stderr and input() sees an empty file.
"""
import importlib.util, inspect, json, math, os, sys

reader = os.fdopen(os.dup(0), "rb")
writer = os.fdopen(os.dup(1), "wb")
null = os.open(os.devnull, os.O_RDONLY)
os.dup2(null, 0)
os.close(null)
os.dup2(2, 1)

PATH, NAME = sys.argv[1], sys.argv[2]
# A parameter of one of these names says that the function takes lists: TRL, OpenRLHF, verl's batched form.
BATCHED = ("completions", "queries", "solution_strs")
BATCH = 64
TRUTHS = ("answer", "ground_truth", "solution", "label", "labels", "ground_truths", "answers", "solutions")


def send(reply):
    writer.write(json.dumps(reply).encode() + b"\n")
    writer.flush()


def clean(text):  # lone surrogates are no JSON for the other side
    return str(text).encode("utf-8", "replace").decode("utf-8")


def last_line(error):
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return clean(type(error).__name__ + (": " + lines[-1] if lines else ""))


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


def singular(record):
    """Every name a function of one record may ask for."""
    truth, response = record["ground_truth"], record["response"]
    values = {
        "prompt": record["prompt"], "response": response, "answer": truth, "data_source": record["data_source"],
        "ground_truth": truth, "extra_info": record["extra_info"],
    }
    aliases = {"solution_str": response, "completion": response, "solution": truth, "label": truth, "kind": record["kind"]}
    return values, aliases


def messages_of(prompt):
    """TRL's conversational prompts are lists of messages; its functions then see completions as lists too."""
    if not prompt.lstrip().startswith("["):
        return None
    try:
        parsed = json.loads(prompt)
    except ValueError:
        return None
    conversational = isinstance(parsed, list) and parsed and all(isinstance(m, dict) and "role" in m for m in parsed)
    return parsed if conversational else None


def plural(records):
    """Every name a function of lists may ask for, columns of the data set included."""
    n = len(records)
    talks = [messages_of(r["prompt"]) for r in records]
    responses, truths = [r["response"] for r in records], [r["ground_truth"] for r in records]
    columns = {k: [r["extra_info"].get(k) for r in records] for r in records[:1] for k in r["extra_info"]}
    if "answer" not in columns:
        columns["answer"] = truths
    if "solution" not in columns:
        columns["solution"] = truths
    columns.update({
        "prompts": [t or r["prompt"] for t, r in zip(talks, records)],
        "completions": [[{"role": "assistant", "content": c}] if t else c for t, c in zip(talks, responses)],
        "ground_truth": truths, "data_source": [r["data_source"] for r in records],
        "extra_info": [r["extra_info"] for r in records],
    })
    named = {
        "queries": [r["prompt"] + r["response"] for r in records], "labels": truths, "label": truths,
        "completion_ids": [None] * n, "completions_ids": [None] * n, "trainer_state": None,
        "data_sources": columns["data_source"], "solution_strs": responses, "ground_truths": truths,
        "extra_infos": columns["extra_info"], "prompt": columns["prompts"],
    }
    return columns, named


class Plan:
    """What to pass, found once from the names of the parameters."""

    def __init__(self, function):
        self.function, self.first, self.names, self.rest, self.optional = function, [], [], False, set()
        parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_POSITIONAL]
        self.batched = any(p.name in BATCHED for p in parameters)
        nothing = {"prompt": "", "response": "", "ground_truth": "", "data_source": "", "kind": "", "extra_info": {}}
        values, aliases = singular(nothing)
        possible = {**values, **aliases}
        for p in parameters:
            if p.kind is p.VAR_KEYWORD:
                self.rest = True
            elif self.batched or p.name in possible:
                (self.first if p.kind is p.POSITIONAL_ONLY else self.names).append(p.name)
                if p.default is not p.empty:
                    self.optional.add(p.name)
            elif p.default is p.empty:
                raise TypeError("%s wants %s; known are %s" % (NAME, p.name, ", ".join([*possible, *BATCHED])))
        self.truth = any(n in TRUTHS and n not in self.optional for n in self.first + self.names)

    def arguments(self, records):
        values, named = plural(records) if self.batched else singular(records[0])
        known = {**values, **named}
        for n in self.first + self.names:
            if n not in known and n not in self.optional:
                raise TypeError("%s wants %s, which the records do not have" % (NAME, n))
        positional = [known[n] for n in self.first]
        keyword = {n: known[n] for n in self.names if n in known}
        if self.rest:
            keyword.update({k: v for k, v in values.items() if k not in self.first})
        return positional, keyword


def number(value, what):
    value = float(value)
    if not math.isfinite(value):
        raise ValueError("%s is %s, want a finite number" % (what, value))
    return value


def one_verdict(value, extra):
    if value is None or isinstance(value, (str, bytes)):
        raise TypeError("%s returned %r, want a number or a dict with \"score\"" % (NAME, value))
    if isinstance(value, (list, tuple)):
        raise ValueError("%s returned %d values for one record" % (NAME, len(value)))
    if isinstance(value, dict):
        if "score" not in value:
            raise ValueError("%s returned a dict without \"score\"" % NAME)
        for k, v in value.items():
            if k == "score" or isinstance(v, (str, bytes)) or v is None:
                continue
            try:
                extra[clean(k)] = number(v, k)
            except (TypeError, ValueError):
                continue  # not a number: nothing to report
        return one_verdict(value["score"], extra)
    return {"score": number(value, "the score"), "components": extra}


def as_list(values):
    return values.tolist() if hasattr(values, "tolist") else values


def verdicts_of(result, n):
    """A list of n scores, or a dict with "rewards" and lists or dicts of further numbers."""
    extras = [{} for _ in range(n)]
    if isinstance(result, dict):
        key = "rewards" if "rewards" in result else "scores" if "scores" in result else "score"
        if key not in result:
            raise ValueError("%s returned a dict without \"rewards\"" % NAME)
        logs = dict(result)
        logs.update(logs.pop("extra_logs", None) or {})
        scores = as_list(logs.pop(key))
        for k, column in logs.items():
            column = as_list(column)
            if isinstance(column, (list, tuple)) and len(column) == n:
                for extra, v in zip(extras, column):
                    if isinstance(v, (int, float)) and math.isfinite(v):
                        extra[clean(k)] = float(v)
    else:
        scores = as_list(result)
    if not isinstance(scores, (list, tuple)):
        scores = [scores]
    if len(scores) != n:
        raise ValueError("%s returned %d values for %d records" % (NAME, len(scores), n))
    # TRL: None says that the function has nothing to say about a record.
    return [{"verdict": "undecided", "detail": NAME + " gave None"} if s is None else one_verdict(s, e)
            for s, e in zip(scores, extras)]


def only(result):
    """Functions of one record may return a list of one."""
    return result[0] if isinstance(result, (list, tuple)) and len(result) == 1 else result


def finish(result):
    if inspect.isawaitable(result):
        import asyncio  # slow to load, so only for those who need it

        async def wait():
            return await result

        return asyncio.run(wait())
    return result


def guarded(work, records):
    try:
        return work(records)
    except BaseException as error:
        return [{"error": last_line(error)}] * len(records)


def call(plan, records):
    positional, keyword = plan.arguments(records)
    result = plan.function(*positional, **keyword)
    if plan.batched:
        return verdicts_of(finish(result), len(records))
    return [one_verdict(only(finish(result)), {})]


async def gather(plan, records):
    import asyncio

    async def one(record):
        try:
            positional, keyword = plan.arguments([record])
            return one_verdict(only(await plan.function(*positional, **keyword)), {})
        except BaseException as error:
            return {"error": last_line(error)}

    return await asyncio.gather(*[one(r) for r in records])


def score(plan, records):
    if not plan.batched and inspect.iscoroutinefunction(plan.function) and len(records) > 1:
        import asyncio

        return asyncio.run(gather(plan, records))
    if plan.batched and len(records) > 1:
        try:
            return call(plan, records)
        except Exception:  # one record may have spoilt it for all: each again, alone
            pass
    return [guarded(lambda rs: call(plan, rs), [r])[0] for r in records]


try:
    plan = Plan(load())
except BaseException as error:
    send({"error": last_line(error)})
    sys.exit(1)
many = plan.batched or inspect.iscoroutinefunction(plan.function)
send({"ready": True, "truth": plan.truth, "batch": BATCH if many else 1})
for line in reader:
    request = json.loads(line)
    verdicts = score(plan, request["records"])
    send({"id": request["id"], "verdicts": verdicts})
