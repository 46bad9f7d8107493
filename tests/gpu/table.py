"""What binds each layer, and how the program's times stand to torch's: Markdown, from the files of one run.

    python3 table.py RESULTS      reads bench-*.txt and torch.json, whose ceilings and times are of the same device

A layer's share of a ceiling is the least time that its bytes or its products would take there, over the time it took; the larger
one binds. Bytes are what a layer reads and writes at least. Python alone is needed.
"""

import json
import pathlib
import re
import sys

folder = pathlib.Path(sys.argv[1])
peer = json.loads((folder / "torch.json").read_text())
ceilings = peer["ceilings"]


def seconds(name, word):
    """The time of a benchmark's last line that begins with a word."""
    found = re.findall(rf"^{word} ([0-9.]+) s", (folder / f"{name}.txt").read_text(), re.M)
    return float(found[-1])


def layers(name, products):
    """A row for each layer: milliseconds, megabytes, GFLOP, shares of copy bandwidth and of dense products."""
    line = re.compile(r"^(\S.*?)\s+([0-9.]+) ms\s+([0-9.]+) GFLOP/s\s+([0-9.]+) MB$", re.M)
    rows = line.findall((folder / f"{name}.txt").read_text())
    if not rows:
        sys.exit(f"{name}.txt has no layers")
    print(f"\n| {name} | ms | MB | GFLOP | share of {ceilings['copy_GB_per_s']:.0f} GB/s | share of {products:.0f} TFLOP/s | binds |")
    print("|---|---|---|---|---|---|---|")
    for layer, ms, rate, megabytes in rows:
        ms, gflop, megabytes = float(ms), float(ms) * float(rate) / 1e3, float(megabytes)
        copy, flops = megabytes / ms / ceilings["copy_GB_per_s"], gflop / ms / products
        print(f"| {layer} | {ms:.3f} | {megabytes:.1f} | {gflop:.2f} | {copy:.0%} | {flops:.0%} | {'bytes' if copy > flops else 'products'} |")
    print(f"| all | {sum(float(r[1]) for r in rows):.3f} | {sum(float(r[3]) for r in rows):.1f} | | | | |")


layers("bench-fast-infer-1", ceilings["fp16_TFLOP_per_s"])
layers("bench-infer", ceilings["f32_TFLOP_per_s"])

ours = {
    "inference": (seconds("bench-infer", "inference"), seconds("bench-fast-infer-1", "inference")),
    "step": (seconds("bench-train", "training step"), seconds("bench-fast-train-1", "training step")),
}
print(f"\n| torch {peer['torch']}, {peer['device']} | strict, ms | fast, ms | torch f32, ms | torch fp16, ms | torch fp16 over fast | strict over fast | strict over torch f32 |")
print("|---|---|---|---|---|---|---|---|")
slower = []
for what, (strict, fast) in ours.items():
    def best(kind):
        """The better of eager and compiled."""
        times = [peer[name][f"{what}_ms"] for name in (kind, f"{kind} compiled") if f"{what}_ms" in peer.get(name, {})]
        if not times:
            sys.exit(f"torch.json has no {what} of {kind}")
        return min(times)

    single, half = best("f32"), best("fp16")
    if fast * 1e3 > half:
        slower.append(what)
    print(
        f"| {what} | {1e3 * strict:.2f} | {1e3 * fast:.2f} | {single:.2f} | {half:.2f} | {half / 1e3 / fast:.2f} | {strict / fast:.2f} | {1e3 * strict / single:.2f} |"
    )
failed = [name for name, value in peer.items() if isinstance(value, dict) and "failed" in value]
if failed:
    print(f"\ntorch failed at {', '.join(failed)}: the better of the rest is taken.")
missing = [name for name in ("fp16", "fp16 compiled", "f32", "f32 compiled") if name not in peer]
if missing:
    sys.exit(f"torch.json has no {', '.join(missing)}: torch was cut off, and what is above is not beside its better")
if not peer["torch"].startswith("2.11"):
    print(f"\nThe peer wanted is torch 2.11, this is {peer['torch']}.")
if slower:
    sys.exit(f"slower than the better of torch's: {', '.join(slower)}")
