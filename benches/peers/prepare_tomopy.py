"""Stripe removal, phase retrieval and axis search against TomoPy's, side by side in one run, one thread each.

    python benches/peers/prepare_tomopy.py [--rounds 3] [--steps fw,vo,...]

Needs TomoPy. Both get the same numbers; per round, one after the other: ours, TomoPy; medians of the rounds. Ours is
the median of five calls in one process, planning excluded; TomoPy's call is timed as a whole, with ncore=1, after one
call that is not counted. TomoPy's parameters are ours: fw with sym16, sigma 1 and our number of levels, vo-all, sf and
ti with its defaults, which ours are. Phase retrieval is of two projections; TomoPy pads to a power of two. The axis
search is Vo's on one sinogram, the same candidates on both sides. Algotom, where it is importable, has fw, vo and an
axis search of its own (its default range and steps: other candidates, so its ratio says less).
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

try:
    import algotom.prep.calculation
    import algotom.prep.removal
except ImportError:
    algotom = None

SINOGRAM = (1500, 2048)
PROJECTION = (2048, 2048)
LEVELS = 6


def data(shape):
    """The bench's input."""
    t, x = np.mgrid[0:shape[0], 0:shape[1]].astype(np.float64)
    i = np.arange(shape[0] * shape[1], dtype=np.uint32)
    u = ((i * np.uint32(2654435761)) >> np.uint32(8)).astype(np.float64) / 2**24
    return (0.6 + 0.3 * np.sin(x / 97 + t / 211) + 0.02 * u.reshape(shape)).astype(np.float32)


def theirs(step):
    """A function that makes fresh input, and one that is timed."""
    if step == "phase":
        image = data(PROJECTION)
        return (lambda: np.stack([image, image]),
                lambda a: tomopy.retrieve_phase(a, pixel_size=1.33e-4, dist=6.0, energy=27.5,
                                                alpha=1 / (4 * np.pi**2 * 500), ncore=1))
    sinogram = data(SINOGRAM)[:, None, :]
    call = {
        "fw": lambda a: tomopy.remove_stripe_fw(a, level=LEVELS, wname="sym16", sigma=1, ncore=1),
        "vo": lambda a: tomopy.remove_all_stripe(a, ncore=1),
        "sf": lambda a: tomopy.remove_stripe_sf(a, ncore=1),
        "ti": lambda a: tomopy.remove_stripe_ti(a, ncore=1),
        "center": lambda a: tomopy.find_center_vo(a, ncore=1),
    }[step]
    return sinogram.copy, call


def algotoms(step):
    """Algotom's function for a step; None if it has none."""
    if algotom is None:
        return None
    removal = algotom.prep.removal
    return {
        "fw": lambda a: removal.remove_stripe_based_wavelet_fft(a, level=LEVELS, size=1, wavelet_name="sym16"),
        "vo": lambda a: removal.remove_all_stripe(a, snr=3.0, la_size=61, sm_size=21),
        "center": lambda a: algotom.prep.calculation.find_center_vo(a, ncore=1),
    }.get(step)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", default="fw,vo,sf,ti,phase,center")
    arguments = parser.parse_args()
    binary = common.bench_binary("prepare")
    common.record(numpy=np.__version__, tomopy=getattr(tomopy, "__version__", "from its sources"))
    print(f"{'step':8}{'ours ms':>12}{'TomoPy ms':>12}{'ratio':>8}{'Algotom ms':>12}{'ratio':>8}  core  digest of ours")
    for step in arguments.steps.split(","):
        fresh, call = theirs(step)
        call(fresh())
        other = algotoms(step)
        if other:
            other(data(SINOGRAM))
        mine, peer, third = [], [], []
        for _ in range(arguments.rounds):
            run = common.ours(binary, step)
            mine.append(run["seconds"])
            values = fresh()
            start = time.perf_counter()
            call(values)
            peer.append(time.perf_counter() - start)
            if other:
                values = data(SINOGRAM)
                start = time.perf_counter()
                other(values)
                third.append(time.perf_counter() - start)
        c = statistics.median(third) if third else None
        text = f"{'-':>12}{'-':>8}" if c is None else f"{c * 1e3:12.1f}{c / statistics.median(mine):8.1f}"
        a, b = statistics.median(mine), statistics.median(peer)
        print(f"{step:8}{a * 1e3:12.1f}{b * 1e3:12.1f}{b / a:8.1f}{text}  {run['core']:.2f}  {run['digest'][:12]}", flush=True)


if __name__ == "__main__":
    main()
