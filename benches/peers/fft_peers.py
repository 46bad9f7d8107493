"""Our complex transforms against MKL's and FFTW's, side by side in one run, one thread each.

    python benches/peers/fft_peers.py [--lengths 256,...] [--rounds 3] [--binary BENCH] [--mkl LIB] [--fftw LIB]

Needs numpy, and MKL (libmkl_rt, through its DFTI interface) or FFTW (libfftw3f, or the pyfftw package); a peer that
is not there is named and left out, and without any the script ends with exit code 3.

What is compared. Sixteen forward transforms, complex float32, natural order in and out, data in memory and in cache
where they fit; planning excluded on all sides. Each peer has its own best layout, signals one after the other,
and both in place and out of place, the faster counts; FFTW plans with FFTW_MEASURE (--patient: FFTW_PATIENT).
The cost of a call from Python, measured on a transform of two points, is subtracted from the peer's time, which
is in its favour. The median of batches of 8 counts; fresh input between batches is not timed. Ours prints two times: natural order, and digit-reversed as our reconstruction uses it.
Per round, one after the other: ours, MKL, FFTW; medians of the rounds. GFLOP/s: 16 · 5 n log2 n / time, nominal.
"""
import argparse
import ctypes
import ctypes.util
import math
import os
import statistics
import sys
import time

import common

try:
    import numpy as np
except ImportError as error:
    print(f"numpy is not importable, nothing was measured: {error}", file=sys.stderr)
    sys.exit(common.NO_PEER)

SIGNALS = 16
# Calls between two looks at the clock, with fresh input: in place, numbers grow by at most n each time.
BATCH = 8
# Seconds for each measurement.
SPENT = 0.15
ALIGNMENT = 64


def load(given, names):
    """The first library of these names that the loader or this Python's own folder has; None if there is none."""
    found = [given]
    if not given:
        files = [f"lib{name}.so{suffix}" for name in names for suffix in ("", ".2", ".3")]
        found = [ctypes.util.find_library(name) for name in names] + files
        found += [os.path.join(sys.prefix, "lib", file) for file in files]
    for name in filter(None, found):
        try:
            return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    return None


def aligned(n):
    """SIGNALS × n complex float32, aligned to a cache line."""
    raw = np.zeros(SIGNALS * n * 8 + ALIGNMENT, dtype=np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start:start + SIGNALS * n * 8].view(np.complex64).reshape(SIGNALS, n)


class Mkl:
    """MKL through DFTI."""
    # mkl_dfti.h
    NUMBER_OF_TRANSFORMS, PLACEMENT, INPUT_DISTANCE, OUTPUT_DISTANCE = 7, 11, 14, 15
    COMPLEX, SINGLE, NOT_INPLACE = 32, 35, 44

    def __init__(self, library):
        self.library = library
        library.MKL_Set_Num_Threads(1)
        text = ctypes.create_string_buffer(256)
        library.mkl_get_version_string(text, 256)
        # Names the instruction set that this processor is given.
        self.version = text.value.decode().strip()

    def check(self, status):
        if status:
            sys.exit(f"MKL refused a plan: status {status}")

    def plan(self, n, signals, source, target, _patient):
        """A function that runs the transform."""
        handle, long = ctypes.c_void_p(), ctypes.c_long
        library = self.library
        self.check(library.DftiCreateDescriptor(ctypes.byref(handle), self.SINGLE, self.COMPLEX, long(1), long(n)))
        self.check(library.DftiSetValue(handle, self.NUMBER_OF_TRANSFORMS, long(signals)))
        self.check(library.DftiSetValue(handle, self.INPUT_DISTANCE, long(n)))
        self.check(library.DftiSetValue(handle, self.OUTPUT_DISTANCE, long(n)))
        pointers = [ctypes.c_void_p(source.ctypes.data)]
        if source is not target:
            self.check(library.DftiSetValue(handle, self.PLACEMENT, self.NOT_INPLACE))
            pointers.append(ctypes.c_void_p(target.ctypes.data))
        self.check(library.DftiCommitDescriptor(handle))
        compute = library.DftiComputeForward
        return lambda: compute(handle, *pointers)


class Fftw:
    """FFTW through its C interface."""
    # fftw3.h
    MEASURE, PATIENT, FORWARD = 0, 1 << 5, -1

    def __init__(self, library):
        self.library = library
        library.fftwf_plan_many_dft.restype = ctypes.c_void_p
        self.version = ctypes.c_char_p(ctypes.addressof(ctypes.c_char.in_dll(library, "fftwf_version"))).value.decode()

    def plan(self, n, signals, source, target, patient):
        """A function that runs the transform."""
        length, none = ctypes.c_int(n), ctypes.c_void_p(0)
        plan = self.library.fftwf_plan_many_dft(
            1, ctypes.byref(length), signals,
            ctypes.c_void_p(source.ctypes.data), none, 1, n, ctypes.c_void_p(target.ctypes.data), none, 1, n,
            self.FORWARD, ctypes.c_uint(self.PATIENT if patient else self.MEASURE))
        if not plan:
            sys.exit(f"FFTW has no plan for {n}")
        plan, execute = ctypes.c_void_p(plan), self.library.fftwf_execute
        return lambda: execute(plan)


class PyFftw:
    """FFTW through pyfftw."""

    def __init__(self, module):
        self.module = module
        self.version = f"{module.fftw_version} (pyfftw {module.__version__})"

    def plan(self, n, signals, source, target, patient):
        """A function that runs the transform."""
        flag = "FFTW_PATIENT" if patient else "FFTW_MEASURE"
        return self.module.FFTW(source[:signals], target[:signals], axes=(1,), flags=(flag,), threads=1).execute


def calls_us(run, source, fresh):
    """Microseconds per call: the median of batches."""
    batches, end = [], time.perf_counter() + SPENT
    while time.perf_counter() < end:
        source[:] = fresh
        start = time.perf_counter()
        for _ in range(BATCH):
            run()
        batches.append(1e6 * (time.perf_counter() - start) / BATCH)
    return statistics.median(batches)


class Transforms:
    """One peer at one length."""

    def __init__(self, peer, n, patient):
        generator = np.random.default_rng(1)
        fresh = generator.random((2, SIGNALS, n), dtype=np.float32) * 2 - 1
        self.fresh = (fresh[0] + 1j * fresh[1]).astype(np.complex64)
        self.source, other = aligned(n), aligned(n)
        self.ways = [peer.plan(n, SIGNALS, self.source, target, patient) for target in (self.source, other)]
        self.check(other)
        two = [aligned(2), aligned(2)]
        self.empty = peer.plan(2, 1, *two, False)
        # Plans hold addresses only.
        self.kept = [other, two]

    def check(self, out):
        """Both ways compute what they should."""
        truth = np.fft.fft(self.fresh.astype(np.complex128), axis=1)
        for way, result in zip(self.ways, (self.source, out)):
            self.source[:] = self.fresh
            way()
            if not np.abs(result - truth).max() < 1e-5 * np.abs(truth).max():
                sys.exit("a peer's transform is wrong")

    def run(self):
        """Microseconds for SIGNALS transforms, without the cost of the call."""
        call = calls_us(self.empty, np.zeros(1), 0)
        return min(calls_us(way, self.source, self.fresh) for way in self.ways) - call


def find_peers(arguments):
    """Those that are here, by name."""
    peers = {}
    mkl = load(arguments.mkl, ["mkl_rt"])
    if mkl:
        peers["MKL"] = Mkl(mkl)
    else:
        print("MKL (libmkl_rt) is not here and is left out", file=sys.stderr)
    fftw = load(arguments.fftw, ["fftw3f"])
    if fftw:
        peers["FFTW"] = Fftw(fftw)
    else:
        try:
            import pyfftw
            peers["FFTW"] = PyFftw(pyfftw)
        except ImportError:
            print("FFTW (libfftw3f or pyfftw) is not here and is left out", file=sys.stderr)
    return peers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", default="256,512,1024,2048,4096,8192")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--patient", action="store_true", help="FFTW_PATIENT instead of FFTW_MEASURE")
    parser.add_argument("--binary", help="our fft bench, as cargo built it")
    parser.add_argument("--mkl", help="libmkl_rt, if the loader does not find it")
    parser.add_argument("--fftw", help="libfftw3f, if the loader does not find it")
    arguments = parser.parse_args()
    peers = find_peers(arguments)
    if not peers:
        print("no peer is here, nothing was measured", file=sys.stderr)
        sys.exit(common.NO_PEER)
    binary = arguments.binary or common.bench_binary("fft")
    common.record(numpy=np.__version__, **{name: peer.version for name, peer in peers.items()})
    names = ["ours", "ours digit-reversed", *peers]
    print("GFLOP/s, medians of", arguments.rounds, "rounds; in brackets how many times as fast ours is in natural order")
    print(f"{'n':>6}", *(f"{name:>20}" for name in names))
    for n in map(int, arguments.lengths.split(",")):
        planned = {name: Transforms(peer, n, arguments.patient) for name, peer in peers.items()}
        times = {name: [] for name in names}
        for _ in range(arguments.rounds):
            result = common.ours(binary, n)
            times["ours"].append(result["complex_us_median"])
            times["ours digit-reversed"].append(result["complex_scrambled_us_median"])
            for name, transforms in planned.items():
                times[name].append(transforms.run())
        cells = []
        for name in names:
            rate = SIGNALS * 5 * n * math.log2(n) / statistics.median(times[name]) / 1e3
            ratio = statistics.median(theirs / mine for mine, theirs in zip(times["ours"], times[name]))
            cells.append(f"{rate:12.1f} ({ratio:5.2f})" if name in peers else f"{rate:20.1f}")
        print(f"{n:6}", *cells, flush=True)


if __name__ == "__main__":
    main()
