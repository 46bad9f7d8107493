"""What the scripts of this folder share: our side of a comparison, and what a record of it has to say."""
import datetime
import json
import os
import pathlib
import platform
import resource
import subprocess
import time

# The peers' libraries read these when they are loaded: import this module first.
THREAD_SETTINGS = ("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
for name in THREAD_SETTINGS:
    os.environ[name] = "1"

# Exit code: the peer is not there, nothing was measured.
NO_PEER = 3
ROOT = pathlib.Path(__file__).resolve().parents[2]


def bench_binary(name):
    """Builds our bench (not the peer) and returns the program's path."""
    command = ["cargo", "bench", "--quiet", "-p", "benches", "--bench", name, "--no-run", "--message-format=json"]
    built = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    messages = [json.loads(line) for line in built.splitlines() if line.startswith("{")]
    programs = [m["executable"] for m in messages
                if m.get("executable") and m["target"]["name"] == name and "bench" in m["target"]["kind"]]
    return programs[-1]


def ours(binary, *arguments):
    """One run of our bench with --once: its line of JSON, and as `core` the share of a core that it was given."""
    # What was preloaded for the peer's sake stays with the peer.
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    environment["TOMOLITH_BENCH_THREADS"] = "1"
    command = [binary, "--once", *map(str, arguments)]
    before, start = children_seconds(), time.perf_counter()
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment).stdout
    core = (children_seconds() - before) / (time.perf_counter() - start)
    return {**json.loads(output.splitlines()[-1]), "core": core}


def children_seconds():
    """Processor time of finished child processes."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def processor():
    """The processor's model name."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def record(**versions):
    """Prints date, machine, settings, versions."""
    print("date     ", datetime.datetime.now().astimezone().isoformat(timespec="seconds"))
    print("processor", processor(), "x", os.cpu_count(), "load", " ".join(f"{x:.2f}" for x in os.getloadavg()))
    print("system   ", platform.platform(), "python", platform.python_version())
    print("threads  ", " ".join(f"{name}={os.environ[name]}" for name in THREAD_SETTINGS))
    preloaded = [os.path.basename(name) for name in os.environ.get("LD_PRELOAD", "").replace(":", " ").split()]
    if preloaded:
        print("preloaded for the peer:", " ".join(preloaded))
    for name, version in versions.items():
        print(f"{name:9}", version)
    print(flush=True)
