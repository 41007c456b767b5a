"""Makes the data of this folder; see NOTES. Run by hand: the tests only read the results.

python3 make_vectors.py GPT2_TOKENIZER_JSON GPT2_VECTORS_JSONL M1_MERGES_TXT

Needs the `tokenizers` package (the Rust implementation) as the oracle.
"""
import json
import os
import random
import sys

from tokenizers import Tokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = [
    "", " ", "  ", "\n", "\t\n  \r\n x", "Hello, world!", "don't DON'T we'LL I'd it's \u017f't'\u017f",
    "  leading and trailing  ", "a\u0085b\u00a0c\u2003d\u180ee\u200bf\u3000g\u2028h", "\u00a0\u00a0 x \u3000\n\u3000",
    "cafe\u0301 caf\u00e9 <cafe\u0301> <caf\u00e9> \u1e9b\u0323 \uac00\u1100\u1161\u11a8", "1234567 12,345.678 \u0661\u0662\u0663\u0664 \u00bd\u2167",
    "\u6211\u60f3\u5728apple\u5de5\u4f5c1314151\u5929\uff5e", "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438",
    "\U0001f680 (normal) \U0001f636\u200d\U0001f32b\ufe0f \u2705", "foo/bar//\n\nbaz\\n </s> // comment\n/// x",
    "def f(x):\n    return x**2 + 1  # comment\n\n\n\tif y:\r\n", "HTTPServer fooBar XMLHttp \u01c5ungla \u02b0 \u00aa",
    "<|im_start|>user\nhi<|im_end|>!<|im_end|>\n<tool_call>{}</tool_call> <|im_end", "<|endoftext|> x<|endoftext|><|endoftext|>",
    "wondrous straw strawberry wondrously", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "the the the then there", " \\frac{1}{2} \\boxed{42} $x^2$", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35 \u0928\u092e\u0938\u094d\u0924\u0947 \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
]


def random_texts(count, seed):
    rng = random.Random(seed)
    pools = ["abcdefghij eotain", " \n\t\r\u00a0\u3000\u2028\u0085", "'sStTdDmMrReElLvV\u017f\u212a", "0123456789\u0663\u00b2", "/.,;:!?-_()[]{}<>|#$%^&*+=~`\"\\",
             "\u00e9\u00e8\u00fc\u00df\u0130\u0131\u03a3\u03c3\u03c2\u0416\u0436", "\u4f60\u597d\u4e16\u754c\u3042\u30a2\ud55c\uae00", "\u0301\u0308\u0323\u093e\u094d", "\U0001f600\U0001f9d9\u200d\ufe0f", "\u01c5\u02b0\u00aa\u2160\u00bd\u180e\u200b\ufeff"]
    for _ in range(count):
        yield "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 40)))


def fired_merges(merges, text_bytes_words):
    """Merges that apply anywhere in these words (spelled in the byte alphabet)."""
    rank = {tuple(m.split(" ")): i for i, m in enumerate(merges)}
    used = set()
    for word in text_bytes_words:
        parts = list(word)
        while len(parts) > 1:
            best = min(((rank.get(p, 1 << 30), i) for i, p in enumerate(zip(parts, parts[1:]))))
            if best[0] == 1 << 30:
                break
            used.add(best[0])
            parts[best[1]:best[1] + 2] = ["".join(parts[best[1]:best[1] + 2])]
    return used


def trim_gpt2(path, vectors):
    full = json.load(open(path))
    oracle = Tokenizer.from_str(json.dumps(full))
    words = [w for v in vectors for w, _ in oracle.pre_tokenizer.pre_tokenize_str(v["text"])]
    merges = full["model"]["merges"]
    keep = sorted(set(range(1500)) | fired_merges(merges, words))
    vocab = full["model"]["vocab"]
    tokens = [t for t in vocab if vocab[t] < 256] + [merges[i].replace(" ", "") for i in keep] + ["<|endoftext|>"]
    full["model"]["merges"] = [merges[i] for i in keep]
    full["model"]["vocab"] = {t: vocab[t] for t in tokens}
    return full


def variant_of(base, change):
    t = json.loads(json.dumps(base))
    t["model"]["type"] = "BPE"
    for key in ("normalizer", "pre_tokenizer"):
        if key in change:
            t[key] = change[key]
    t["added_tokens"] += change.get("added_tokens", [])
    t["model"]["vocab"].update(change.get("extra_vocab", {}))
    if change.get("array_merges"):
        t["model"]["merges"] = [m.split(" ") for m in t["model"]["merges"]]
    t["model"]["ignore_merges"] = change.get("ignore_merges", False)
    return t


def m1_as_json(merges, specials):
    printable = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    spelled = [chr(b) for b in printable] + [chr(256 + n) for n in range(256 - len(printable))]
    vocab = {s: i for i, s in enumerate(spelled)}
    for i, m in enumerate(merges):
        vocab[m.replace(" ", "")] = 256 + i
    variants = json.load(open(os.path.join(HERE, "variants.json")))
    return {"version": "1.0", "truncation": None, "padding": None, "normalizer": None, "post_processor": None,
            "pre_tokenizer": variants["o200k"]["pre_tokenizer"],
            "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
            "added_tokens": [{"id": i, "content": s, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for s, i in specials.items()],
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "vocab": vocab, "merges": merges}}


SPECIALS = {"<beginning_of_sentence>": 200019, "<end_of_sentence>": 200020, "<end_of_document>": 200021,
            "<begin_of_document>": 200034}


def main(gpt2_json, gpt2_vectors, m1_merges):
    vectors = [json.loads(line) for line in open(gpt2_vectors)]
    base = trim_gpt2(gpt2_json, vectors)
    with open(os.path.join(HERE, "gpt2_trimmed.json"), "w") as f:
        json.dump(base, f, ensure_ascii=False, separators=(",", ":"))
    with open(os.path.join(HERE, "gpt2_vectors.jsonl"), "w") as f:
        for v in vectors:
            f.write(json.dumps(v) + "\n")
    merges = open(m1_merges).read().split("\n")[1:3001]
    with open(os.path.join(HERE, "m1_merges_3000.txt"), "w") as f:
        f.write("#version: 0.2\n" + "\n".join(merges) + "\n")
    oracles = {name: variant_of(base, change) for name, change in json.load(open(os.path.join(HERE, "variants.json"))).items()}
    oracles["m1"] = m1_as_json(merges, SPECIALS)
    with open(os.path.join(HERE, "oracle_vectors.jsonl"), "w") as f:
        for name, tokenizer in oracles.items():
            # The library renumbers an added token that is not in the vocabulary too.
            tokenizer["model"]["vocab"].update({t["content"]: t["id"] for t in tokenizer["added_tokens"]})
            oracle = Tokenizer.from_str(json.dumps(tokenizer))
            special = ["<begin_of_document><beginning_of_sentence>user name=user\nhi<end_of_sentence>\n"] if name == "m1" else []
            for text in TEXTS + special + list(random_texts(60, 7)):
                f.write(json.dumps({"tokenizer": name, "text": text, "ids": oracle.encode(text, add_special_tokens=False).ids}) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
