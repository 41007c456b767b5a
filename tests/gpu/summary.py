#!/usr/bin/env python3
"""Puts the results of tests/gpu/run.sh side by side: each case's time, its share of the limit measured in the same run,
the bars to reach and how many times faster it is than what a user would pick. Adds "table" to the JSON and prints it.
usage: summary.py RESULTS.json"""
import json
import sys

# Case: (part, share, first bar, goal). A share is of the copy bandwidth, of the matrix rate or of the step's bound;
# TFLOP_per_s is itself.
BARS = {
    "lightning forward 8x4096": ("bench", "of_copy", 0.45, 0.65),
    "lightning forward 1x8192": ("bench", "of_copy", 0.30, 0.45),
    "lightning forward+backward 8x4096": ("bench", "of_copy", 0.40, 0.55),
    "lightning forward+backward 1x8192": ("bench", "of_copy", 0.40, 0.55),
    "lightning decode 64x1": ("bench", "of_copy", 0.80, 0.90),
    "lightning decode 256x1": ("bench", "of_copy", 0.80, 0.90),
    "gqa decode 32x4096": ("bench", "of_copy", 0.70, 0.85),
    "gqa decode 128x4096": ("bench", "of_copy", 0.70, 0.85),
    "attention forward 8x4096": ("bench", "TFLOP_per_s", 400, 550),
    "grouped 16384": ("bench", "TFLOP_per_s", 500, 640),
    "grouped 32": ("bench", "of_copy", 0.65, 0.85),
    "lm head forward bf16 16384x2048x32000": ("bench", "TFLOP_per_s", 550, 680),
    "lm head forward+backward bf16 16384x2048x32000": ("bench", "TFLOP_per_s", 450, 620),
    "adamw 67M": ("bench", "of_copy", 0.80, 0.92),
    "batch 64 context 1024": ("model", "of_bound", 0.65, 0.80),
    "batch 256 context 1024": ("model", "of_bound", 0.65, 0.80),
    "training step of 32768 tokens": ("model", "of_matrix_rate", 0.35, 0.50),
}
WANTED_RATIO = 1.5  # of lightning forward and forward+backward, to fla
LEAST_EXTRA_MB = 300  # of the LM head, whatever its length


def seconds_of(case):
    if "us" in case:
        return case["us"] * 1e-6
    if "step_ms" in case:
        return case["step_ms"] * 1e-3
    return case.get("step_s")


def row_of(name, case, rivals, why_no_rival):
    part, share, bar, goal = BARS.get(name, (None, None, None, None))
    row = {"case": name, "seconds": seconds_of(case), "share_of": share, "share": case.get(share) if share else None,
           "bar": bar, "goal": goal, "ratios": {}, "why_no_ratio": None}
    if share is None:
        share = "of_copy" if (case.get("of_copy") or 0) >= (case.get("of_matrix") or 0) else "of_matrix"
        row.update(share_of=share, share=case.get(share))
    for rival, r in (rivals or {}).items():
        if r.get("seconds"):
            row["ratios"][rival] = round(r["seconds"] / row["seconds"], 3)
        else:
            row["why_no_ratio"] = f"{rival}: {r.get('why')}"
    if not row["ratios"]:
        row["why_no_ratio"] = row["why_no_ratio"] or why_no_rival
    row["reached"] = None
    if bar is not None and row["share"] is not None:
        row["reached"] = "goal" if row["share"] >= goal else "bar" if row["share"] >= bar else "no"
    fla = [x for rival, x in row["ratios"].items() if rival.startswith("fla")]
    if fla and name.startswith("lightning forward") and min(fla) < WANTED_RATIO:
        row["reached"] = "no"
    return row


def table_of(results):
    anchors = results.get("anchors") or {}
    rivals = anchors.get("cases") or {}
    why = anchors.get("why") or results.get("anchors (why)") or "no such case in anchors.py"
    rows = []
    for part in ("bench", "model"):
        for name, case in (results.get(part) or {}).items():
            if isinstance(case, dict) and seconds_of(case):
                rows.append(row_of(name, case, rivals.get(name.removesuffix(" by library")), why))
            elif "lm head" in name and name.endswith("extra MB"):
                rows.append({"case": name, "seconds": None, "share_of": "MB", "share": case, "bar": LEAST_EXTRA_MB,
                             "goal": LEAST_EXTRA_MB, "ratios": {}, "why_no_ratio": "memory",
                             "reached": "goal" if case < LEAST_EXTRA_MB else "no"})
    missing = [name for name in BARS if name not in {r["case"] for r in rows}]
    for name in missing:
        part = BARS[name][0]
        rows.append({"case": name, "seconds": None, "share_of": BARS[name][1], "share": None, "bar": BARS[name][2],
                     "goal": BARS[name][3], "ratios": {}, "reached": None,
                     "why_no_ratio": results.get(f"{part} (why)") or (results.get(part) or {}).get(f"{name} (why)")})
    return rows


def number(x, digits=3):
    return "-" if x is None else f"{x:.{digits}f}" if abs(x) < 10 else f"{x:.0f}"


def text_of(row):
    ratios = sorted(row["ratios"].items(), key=lambda r: r[1])  # the strongest rival first
    time = "-" if row["seconds"] is None else f"{row['seconds'] * 1e6:.1f}"
    bars = "" if row["bar"] is None else f"{number(row['bar'], 2)} -> {number(row['goal'], 2)}"
    versus = ", ".join(f"{x:.2f} x {rival}" for rival, x in ratios) or f"- ({str(row['why_no_ratio'])[:60]})"
    return (f"{row['case']:<48} {time:>10} {number(row['share']):>7} {row['share_of'] or '':<14} {bars:<14} "
            f"{row['reached'] or '':<5} {versus}")


def main():
    with open(sys.argv[1]) as f:
        results = json.load(f)
    results["table"] = table_of(results)
    with open(sys.argv[1], "w") as f:
        json.dump(results, f, indent=1)
        f.write("\n")
    print(f"{'case':<48} {'us':>10} {'share':>7} {'of':<14} {'bar -> goal':<14} {'got':<5} times as fast as")
    for row in results["table"]:
        print(text_of(row))


if __name__ == "__main__":
    main()
