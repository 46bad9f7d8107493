"""gridrec against TomoPy's, side by side in one run, one thread each.

    python benches/peers/gridrec_tomopy.py [--sizes 512x375,...] [--rounds 3] [--binary BENCH]

Needs TomoPy (exit code 3 without). Builds our bench with cargo unless --binary names it.

What is compared. Per round, one after the other: our gridrec, TomoPy, our gridrec-compat, TomoPy padded; three
rounds, medians. Sixteen slices of float32 in memory on both sides, each in the layout that it reads without a copy
(TomoPy: sinogram order, C-contiguous; ours: the order of a scan); one warm-up run; the output's memory is given and
reused; same filter (shepp), a fixed axis. Random numbers: neither side's time depends on the values.
Our planning (tables of the geometry) is excluded; its time is printed. TomoPy plans its transforms and tables inside
each call, where it cannot be taken out; sixteen slices per call make it small.
Padded means as TomoPy's command line pads: the edge value, N/4 columns on each side, then recon of 3N/2 columns.
Only the call to recon is timed, not the copy into the padded array nor the crop, which is in the peer's favour.

Each line also says how much of a core that side was given in its worst round: well below 1 means that the machine
was busy with something else and the times, medians above all, are not to be quoted; above 1 that threads were used.
"""
import argparse
import statistics
import sys
import time

import common

try:
    import numpy as np
    import tomopy
except ImportError as error:
    print(f"TomoPy is not importable, nothing was measured: {error}", file=sys.stderr)
    sys.exit(common.NO_PEER)

SLICES = 16
FILTER = "shepp"


def library(part):
    """Names of the loaded libraries whose path contains `part`."""
    try:
        with open("/proc/self/maps") as lines:
            paths = {line.split()[-1] for line in lines if part in line}
    except OSError:
        return "unknown"
    return " ".join(sorted(path.rsplit("/", 1)[-1] for path in paths)) or "none"


class Peer:
    """TomoPy on one size."""

    def __init__(self, columns, angles, padded):
        data = np.random.default_rng(1).random((SLICES, angles, columns), dtype=np.float32)
        pad = columns // 4 if padded else 0
        # np.pad returns a C-contiguous copy.
        self.data = np.pad(data, ((0, 0), (0, 0), (pad, pad)), mode="edge") if pad else data
        self.theta = tomopy.angles(angles)
        self.center = columns / 2 + pad
        width = columns + 2 * pad
        self.images = np.zeros((SLICES, width, width), dtype=np.float32)
        self.run()

    def run(self):
        """Milliseconds per slice, and the share of a core that it was given."""
        start, used = time.perf_counter(), time.process_time()
        tomopy.recon(self.data, self.theta, center=self.center, sinogram_order=True, algorithm="gridrec",
                     filter_name=FILTER, init_recon=self.images, ncore=1)
        wall = time.perf_counter() - start
        return 1e3 * wall / SLICES, (time.process_time() - used) / wall


def compare(binary, columns, angles, rounds):
    """One size: prints medians and ratios."""
    times = {"gridrec": [], "TomoPy": [], "gridrec-compat": [], "TomoPy padded": []}
    cores = {name: [] for name in times}
    digests, planning = {}, {}
    peers = {"TomoPy": Peer(columns, angles, False), "TomoPy padded": Peer(columns, angles, True)}
    for _ in range(rounds):
        for name in times:
            if name in peers:
                ms, core = peers[name].run()
                times[name].append(ms)
                cores[name].append(core)
                continue
            result = common.ours(binary, f"{columns}x{angles}", name)
            times[name].append(result["ms_per_slice_median"])
            cores[name].append(result["core"])
            planning[name] = result["planning_ms"]
            if digests.setdefault(name, result["digest"]) != result["digest"]:
                sys.exit(f"{name} gave two digests for the same input")
    print(f"{columns} x {angles}, {SLICES} slices, ms per slice")
    for name, values in times.items():
        note = f"  planned once in {planning[name]:.0f} ms, digest {digests[name]}" if name in planning else ""
        middle, least, core = statistics.median(values), min(values), min(cores[name])
        print(f"  {name:15} median {middle:9.2f}  min {least:9.2f}  core {core:.2f}{note}")
    # Of neighbours in one round, so that what else the machine does falls on both.
    for mine, theirs in (("gridrec", "TomoPy"), ("gridrec", "TomoPy padded"), ("gridrec-compat", "TomoPy")):
        ratio = statistics.median(t / m for m, t in zip(times[mine], times[theirs]))
        print(f"  {theirs} / {mine}: {ratio:.2f}, of the minima {min(times[theirs]) / min(times[mine]):.2f}")
    print(flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="512x375,1024x750,2048x1500,2560x1500", help="COLUMNSxANGLES,...")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--binary", help="our gridrec bench, as cargo built it")
    arguments = parser.parse_args()
    binary = arguments.binary or common.bench_binary("gridrec")
    tiny = np.zeros((2, 8, 16), dtype=np.float32)
    tomopy.recon(tiny, tomopy.angles(8), sinogram_order=True, algorithm="gridrec", ncore=1)
    # Loaded by the call above: which library TomoPy transforms with.
    common.record(TomoPy=tomopy.__version__, numpy=np.__version__, MKL=library("libmkl"), FFTW=library("libfftw"))
    for size in arguments.sizes.split(","):
        columns, angles = map(int, size.split("x"))
        compare(binary, columns, angles, arguments.rounds)


if __name__ == "__main__":
    main()
