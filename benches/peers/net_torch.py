"""The network beside PyTorch and MONAI: the same weights, logits, losses and steps; and the time they take.

    python benches/peers/net_torch.py check TOMOLITH [--variant monai|paper] [--channels 32,64,...] [--classes K] [--size N] [--batch N]
    python benches/peers/net_torch.py time TOMOLITH [--threads 1] [--rounds 5] [--train]
    python benches/peers/net_torch.py golden FOLDER

`check` makes weights with MONAI's UNet, or with `Paper` below (the network as the paper's text has it), runs 10 training steps of both programs and compares logits (against torch in f64),
losses, every weight tensor, and the gradients of the first step. Where weights are beyond the bound, it looks for the reason: a value within rounding of a PReLU's
bend takes the other slope in f32 than in f64, and Adam's first steps have the sign of a gradient, however small. Torch's f64 run is
repeated with the values nearest to a bend moved to its other side, one after the other; if that is what it was, weights agree then. `time` alternates the
programs in one run and prints medians. `golden` writes the small files
of testdata/net. TOMOLITH is the program. Needs torch, monai, numpy, safetensors; with onnxruntime
and openvino these are timed, too.
"""

import argparse
import copy
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import torch
from monai.networks.nets import UNet
from safetensors.torch import load_file, save_file

CHANNELS = "32,64,128,256,512,512,512"
# Values nearest to a bend that are tried.
CANDIDATES = 16


class Between(torch.nn.Sequential):
    """Activation, (dropout,) normalisation: the text's order."""

    def __init__(self, channels):
        super().__init__()
        self.add_module("A", torch.nn.PReLU())
        self.add_module("N", torch.nn.BatchNorm2d(channels))


class Block(torch.nn.Sequential):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.add_module("conv", torch.nn.Conv2d(inputs, outputs, 3, padding=1))
        self.add_module("adn", Between(outputs))


class Unit(torch.nn.Module):
    """Two convolutions beside a shortcut, which is 1x1 where channels differ."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = torch.nn.Sequential()
        self.conv.add_module("unit0", Block(inputs, outputs))
        self.conv.add_module("unit1", Block(outputs, outputs))
        self.residual = torch.nn.Conv2d(inputs, outputs, 1) if inputs != outputs or inputs == 1 else torch.nn.Identity()

    def forward(self, x):
        return self.conv(x) + self.residual(x)


class Level(Unit):
    """Of the way up: a transposed convolution, concatenation with the way down, a unit."""

    def __init__(self, below, channels):
        super().__init__(2 * channels, channels)
        self.up = torch.nn.ConvTranspose2d(below, channels, 2, stride=2)

    def forward(self, skip, below):
        return super().forward(torch.cat([skip, self.up(below)], dim=1))


class Paper(torch.nn.Module):
    """The network of the paper's text: units at full resolution, max-pooling between them, a 1x1 convolution at the end."""

    def __init__(self, channels, classes):
        super().__init__()
        self.encoder = torch.nn.ModuleList(Unit(i, o) for i, o in zip([1, *channels], channels))
        self.decoder = torch.nn.ModuleList(Level(below, c) for c, below in zip(channels, channels[1:]))
        self.head = torch.nn.Conv2d(channels[0], classes, 1)

    def forward(self, x):
        values = []
        for level, unit in enumerate(self.encoder):
            x = unit(torch.nn.functional.max_pool2d(x, 2) if level else x)
            values.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](values[level], x)
        return self.head(x)


def unet(channels, classes, dropout=0.0, variant="monai"):
    if variant == "paper":
        return Paper(channels, classes)
    return UNet(spatial_dims=2, in_channels=1, out_channels=classes, channels=channels, strides=[2] * (len(channels) - 1),
                num_res_units=2, dropout=dropout, norm="batch")


def data(batch, size, classes, seed):
    """Images of soft blobs with noise, and the blobs' grey in steps as labels; every eighth pixel or so has none."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.random((batch, 1, 9, 9), dtype=np.float32))
    blobs = torch.nn.functional.interpolate(coarse, (size, size), mode="bicubic", align_corners=True).clamp(0, 0.999).numpy()
    x = (blobs + 0.05 * rng.standard_normal(blobs.shape)).astype(np.float32)
    y = np.floor(blobs[:, 0] * classes).astype(np.int16)
    y[rng.random(y.shape) < 0.125] = -1
    return x, y


def lively(net, seed):
    """Running statistics, slopes and scales that are not those of the beginning."""
    g = torch.Generator().manual_seed(seed)
    for name, p in net.state_dict().items():
        if name.endswith("running_mean"):
            p.copy_(0.1 * torch.randn(p.shape, generator=g))
        elif name.endswith("running_var"):
            p.copy_(0.5 + torch.rand(p.shape, generator=g))
        elif ".N.weight" in name:
            p.copy_(0.5 + torch.rand(p.shape, generator=g))
        elif ".N.bias" in name:
            p.copy_(0.1 * torch.randn(p.shape, generator=g))


def train(net, x, y, steps, bends=(), near=None):
    """Losses of some steps. `bends`: (step, layer, element) whose input takes the other side of its PReLU's bend; `near`: a list
    that gets the elements nearest to a bend, (distance, step, layer, element)."""
    net.train()
    at = [0]

    def watch(layer):
        def hook(_, inputs):
            v = inputs[0]
            for step, name, element in bends:
                if (step, name) == (at[0], layer):
                    moved = torch.zeros_like(v).reshape(-1)
                    moved[element] = -2 * v.detach().reshape(-1)[element]
                    v = v + moved.reshape(v.shape)
            if near is not None:
                nearest = torch.topk(v.detach().abs().reshape(-1), min(2, v.numel()), largest=False)
                near.extend((d.item(), at[0], layer, e.item()) for d, e in zip(nearest.values, nearest.indices))
            return (v,)
        return hook

    layers = [(name, m) for name, m in net.named_modules() if isinstance(m, torch.nn.PReLU)]
    hooks = [m.register_forward_pre_hook(watch(name)) for name, m in layers]
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4)
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=-1)
    losses = []
    for at[0] in range(steps):
        optimizer.zero_grad()
        loss = loss_of(net(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    for hook in hooks:
        hook.remove()
    return losses


def without_gradient(name):
    """Biases in front of a BatchNorm: their true gradient is zero, and Adam makes steps of its rounding."""
    before_norm = re.search(r"unit\d\.conv\.bias$|2\.0\.conv\.bias$", name)
    if not name.startswith("model"):
        return False  # In the text's order an activation stands between.
    return (before_norm and not re.fullmatch(r"model\.2\.1\.conv\.unit0\.conv\.bias", name)) or name.endswith("running_mean")


def run(*words):
    return subprocess.run([str(w) for w in words], check=True, capture_output=True, text=True).stdout


def compare(folder, program, channels, classes, variant, net, x, y, steps):
    path = lambda name: os.path.join(folder, name)
    save_file(net.state_dict(), path("w.safetensors"))
    torch.save(net.state_dict(), path("w.pt"))
    np.save(path("x.npy"), x)
    np.save(path("y.npy"), y)
    exact = unet(channels, classes, variant=variant).double()
    exact.load_state_dict({k: v.double() if v.is_floating_point() else v for k, v in net.state_dict().items()})
    with torch.no_grad():
        truth = exact.eval()(torch.from_numpy(x).double()).numpy()
        theirs = net.eval()(torch.from_numpy(x)).numpy()
    worst = 0.0
    for weights in ["w.safetensors", "w.pt"]:
        run(program, "net", "forward", "--weights", path(weights), "--input", path("x.npy"), "--output", path("l.npy"), "--overwrite")
        worst = max(worst, np.abs(np.load(path("l.npy")) - truth).max() / np.abs(truth).max())
    own = np.abs(theirs - truth).max() / np.abs(truth).max()
    print(f"logits        {worst:.2e} of the largest from torch f64 (torch f32 itself {own:.2e})")
    start, near = copy.deepcopy(exact), []
    x64, y64 = torch.from_numpy(x).double(), torch.from_numpy(y).long()
    losses = train(exact, x64, y64, steps, near=near)
    run(program, "net", "step", "--weights", path("w.safetensors"), "--input", path("x.npy"), "--labels", path("y.npy"), "--steps", steps,
        "--lr", "3e-4", "--dropout", "0", "--output-weights", path("w2.safetensors"), "--losses", path("losses.json"), "--overwrite")
    ours = json.load(open(path("losses.json")))["losses"]
    difference = max(abs(a - b) / abs(b) for a, b in zip(ours, losses))
    print(f"losses        {difference:.2e} relative after {steps} steps ({losses[0]:.6f} to {losses[-1]:.6f})")
    mine, reference = load_file(path("w2.safetensors")), exact.state_dict()
    assert list(sorted(mine)) == list(sorted(reference))
    gradients64 = gradients_of(start, x64, y64)

    def moved(name, difference):
        """Differences of what has a gradient: in the text's order a channel that is on one side of its bend everywhere has a bias
        without one, and the running mean behind takes it along."""
        g = gradients64.get(name.replace("adn.N.running_mean", "conv.bias"))
        return difference * (g.abs() > 1e-9) if name.endswith(("conv.bias", "running_mean")) and g is not None else difference

    def farthest(weights, reference=reference):
        far = {k: moved(k, (weights[k].double() - v.double()).abs()).max().item() / max(v.double().abs().max().item(), 1e-30)
               for k, v in reference.items() if not without_gradient(k)}
        name = max(far, key=far.get)
        return far[name], name
    weights, name = farthest(mine)
    print(f"weights       {weights:.2e} of the largest, {name}")
    bends = []
    for candidate in sorted(near)[:CANDIDATES] if weights > 1e-3 else []:
        net64 = copy.deepcopy(start)
        losses64 = train(net64, x64, y64, steps, bends=[*bends, candidate[1:]])
        nearer, name = farthest(mine, net64.state_dict())
        if nearer < weights / 2:
            bends.append(candidate[1:])
            weights = nearer
            difference = max(abs(a - b) / abs(b) for a, b in zip(ours, losses64))
            print(f"  {candidate[0]:.1e} from the bend, step {candidate[1]}, {candidate[2]}: on its other side weights {nearer:.2e}, losses {difference:.2e}")
        if weights <= 1e-3:
            break
    gradients = gradients_apart(folder, program, start, x64, y64)
    print(f"gradients     {gradients[0]:.2e} of the tensor's largest from torch autograd in f64, {gradients[1]}")
    losses32 = train(net, torch.from_numpy(x), torch.from_numpy(y).long(), steps)
    difference32 = max(abs(a - b) / abs(b) for a, b in zip(losses32, losses))
    weights32, name = farthest(net.state_dict())
    print(f"torch in f32  losses {difference32:.2e}, weights {weights32:.2e}, {name}")
    # What no single bend explains: twice torch's own distance in f32 is allowed.
    return worst <= 1e-5 and difference <= max(1e-5, 2 * difference32) and weights <= max(1e-3, 2 * weights32)


def gradients_of(net, x, y):
    """Torch's gradients of one step, by name."""
    net = copy.deepcopy(net).train()
    torch.nn.CrossEntropyLoss(ignore_index=-1)(net(x), y).backward()
    return {name: p.grad for name, p in net.named_parameters()}


def gradients_apart(folder, program, net, x, y):
    path = lambda name: os.path.join(folder, name)
    run(program, "net", "step", "--weights", path("w.safetensors"), "--input", path("x.npy"), "--labels", path("y.npy"),
        "--dropout", "0", "--gradients", path("g.safetensors"), "--overwrite")
    ours = load_file(path("g.safetensors"))
    far = {k: (ours[k].double() - g).abs().max().item() / max(g.abs().max().item(), 1e-30)
           for k, g in gradients_of(net, x, y).items() if not without_gradient(k)}
    name = max(far, key=far.get)
    return far[name], name


def check(a):
    channels = [int(c) for c in a.channels.split(",")]
    torch.manual_seed(a.seed)
    net = unet(channels, a.classes, variant=a.variant)
    with torch.no_grad():
        lively(net, a.seed)
    x, y = data(a.batch, a.size, a.classes, a.seed)
    with tempfile.TemporaryDirectory() as folder:
        if not compare(folder, a.program, channels, a.classes, a.variant, net, x, y, a.steps):
            sys.exit("beyond the bound")


def own_time(program, a, *more):
    out = run(program, "net", "bench", "--threads", a.threads, "--repeat", a.repeat, "--classes", a.classes, "--size", a.size,
              "--batch", a.batch, *more)
    return float(re.search(r"(?:inference|step) ([0-9.]+) s", out).group(1)), out


def time_both(a):
    torch.set_num_threads(a.threads)
    channels = [int(c) for c in CHANNELS.split(",")]
    torch.manual_seed(0)
    net = unet(channels, a.classes).to(memory_format=torch.channels_last)
    x, y = data(a.batch, a.size, a.classes, 0)
    x, y = torch.from_numpy(x).to(memory_format=torch.channels_last), torch.from_numpy(y).long()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4)
    loss_of = torch.nn.CrossEntropyLoss(ignore_index=-1)

    def infer():
        with torch.inference_mode():
            net(x)

    def step():
        optimizer.zero_grad()
        loss_of(net(x), y).backward()
        optimizer.step()

    net.train(a.train)
    peers = {f"torch {torch.__version__} channels-last f32": step if a.train else infer}
    if not a.train:
        peers |= others(a, net, x)
    for once in peers.values():
        once()
    fast = not a.train and subprocess.run([a.program, "net", "bench", "--fast", "--channels", "4,4", "--size", "8", "--repeat", "1"],
                                          capture_output=True).returncode == 0
    times = {name: [] for name in ["tomolith strict", *["tomolith fast (bf16)"] * fast, *peers]}
    for _ in range(a.rounds):
        for name, once in peers.items():
            passes = []
            for _ in range(a.repeat):
                start = time.perf_counter()
                once()
                passes.append(time.perf_counter() - start)
            times[name].append(statistics.median(passes))
        seconds, table = own_time(a.program, a, *(["--train"] if a.train else []))
        times["tomolith strict"].append(seconds)
        if fast:
            times["tomolith fast (bf16)"].append(own_time(a.program, a, "--fast")[0])
        print("   ".join(f"{name} {values[-1]:.4f} s" for name, values in times.items()), flush=True)
    print(table)
    print(f"{'training step' if a.train else 'inference'}, batch {a.batch}, {a.size}^2, {a.threads} threads; medians of {a.rounds} rounds, and ratios to ours by round")
    for name, values in times.items():
        ratios = sorted(v / o for v, o in zip(values, times["tomolith strict"]))
        print(f"{name:40} {statistics.median(values):.4f} s (least {min(values):.4f})   {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


def others(a, net, x):
    """Inference of torch in bf16, and of the same network in onnxruntime and OpenVINO, where they are installed."""
    import contextlib
    low = copy.deepcopy(net).to(torch.bfloat16)
    x16 = x.to(torch.bfloat16)

    def bf16():
        with torch.inference_mode():
            low(x16)

    found = {"torch channels-last bf16": bf16}
    folder = tempfile.mkdtemp()
    save_file(net.to(memory_format=torch.contiguous_format).state_dict(), os.path.join(folder, "w.safetensors"))
    net.to(memory_format=torch.channels_last)
    run(a.program, "net", "convert", os.path.join(folder, "w.safetensors"), "-o", os.path.join(folder, "w.onnx"))
    image = x.contiguous().numpy()
    with contextlib.suppress(ImportError):
        import onnxruntime
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = a.threads
        session = onnxruntime.InferenceSession(os.path.join(folder, "w.onnx"), options, providers=["CPUExecutionProvider"])
        found[f"onnxruntime {onnxruntime.__version__} f32"] = lambda: session.run(None, {"image": image})
    with contextlib.suppress(ImportError):
        import openvino
        for kind in ["f32", "bf16"]:
            model = openvino.Core().compile_model(os.path.join(folder, "w.onnx"), "CPU", {
                "INFERENCE_NUM_THREADS": a.threads, "INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"})
            request = model.create_infer_request()
            found[f"openvino {openvino.__version__.split('-')[0]} {kind}"] = lambda request=request: request.infer({"image": image})
    return found


def golden(a):
    """Three small networks, their inputs, torch's logits and gradients in f64, and its losses and weights after 10 steps."""
    os.makedirs(a.program, exist_ok=True)
    for name, channels, classes, variant in [("narrow", [4, 8, 12], 3, "monai"), ("deep", [4, 4, 8, 8, 8], 5, "monai"),
                                             ("paper", [4, 6, 8], 3, "paper")]:
        torch.manual_seed(1)
        net = unet(channels, classes, variant=variant)
        with torch.no_grad():
            lively(net, 1)
        x, y = data(2, 32, classes, 1)
        path = lambda what: os.path.join(a.program, f"{name}.{what}")
        save_file(net.state_dict(), path("safetensors"))
        np.save(path("x.npy"), x)
        np.save(path("y.npy"), y)
        exact = net.double()
        with torch.no_grad():
            np.save(path("logits.npy"), exact.eval()(torch.from_numpy(x).double()).numpy().astype(np.float32))
        of = gradients_of(exact, torch.from_numpy(x).double(), torch.from_numpy(y).long())
        save_file({k: g.float().contiguous() for k, g in of.items() if not without_gradient(k)}, path("gradients.safetensors"))
        losses = train(exact, torch.from_numpy(x).double(), torch.from_numpy(y).long(), 10)
        json.dump({"losses": losses}, open(path("losses.json"), "w"))
        after = {k: v.float().contiguous() if v.is_floating_point() else v for k, v in exact.state_dict().items()}
        save_file(after, path("after.safetensors"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["check", "time", "golden"])
    parser.add_argument("program", help="the program tomolith, or the folder of golden files")
    parser.add_argument("--variant", choices=["monai", "paper"], default="monai")
    parser.add_argument("--channels", default=CHANNELS)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--size", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--train", action="store_true")
    a = parser.parse_args()
    a.size = a.size or (512 if a.what == "time" else 64)
    a.batch = a.batch or (4 if a.train else 1 if a.what == "time" else 2)
    {"check": check, "time": time_both, "golden": golden}[a.what](a)


main()
