"""Times MONAI's residual U-Net in PyTorch on a GPU: f32 without TF32, fp16 autocast, then each compiled.

    python3 torch_peer.py RESULT.json [PARAMETERS]

Batch 16 of 512 x 512, channels last, cudnn.benchmark; medians of CUDA events after a warm-up, milliseconds. The network is
written out here, so that torch alone is needed; it has the layers of MONAI's UNet(num_res_units=2), whose parameters PARAMETERS
counts (checked). RESULT.json is written after every variant: what is stopped keeps what was timed.
"""

import json
import statistics
import sys

import torch
from torch import nn

CHANNELS = [32, 64, 128, 256, 512, 512, 512]
CLASSES, BATCH, SIZE, ROUNDS = 5, 16, 512, 10


def between(c):
    return nn.Sequential(nn.BatchNorm2d(c), nn.PReLU())


class Unit(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1), between(outputs), nn.Conv2d(outputs, outputs, 3, 1, 1), between(outputs)
        )
        if stride != 1:
            self.residual = nn.Conv2d(inputs, outputs, 3, stride, 1)
        else:
            self.residual = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()

    def forward(self, x):
        return self.conv(x) + self.residual(x)


class Up(nn.Module):
    """Transposed convolution, then a convolution beside its input."""

    def __init__(self, inputs, outputs, last):
        super().__init__()
        self.up = nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 3, 2, 1, 1), between(outputs))
        conv = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.conv = conv if last else nn.Sequential(conv, between(outputs))

    def forward(self, x):
        x = self.up(x)
        return self.conv(x) + x


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        c, last = CHANNELS, len(CHANNELS) - 1
        self.down = nn.ModuleList(Unit(1 if l == 0 else c[l - 1], c[l], 2) for l in range(last))
        self.bottom = Unit(c[last - 1], c[last], 1)
        below = [c[l + 1] if l == last - 1 else c[l] for l in range(last)]
        self.up = nn.ModuleList(Up(c[l] + below[l], CLASSES if l == 0 else c[l - 1], l == 0) for l in range(last))

    def forward(self, x):
        skips = []
        for unit in self.down:
            x = unit(x)
            skips.append(x)
        x = self.bottom(x)
        for l in reversed(range(len(self.up))):
            x = self.up[l](torch.cat([skips[l], x], 1))
        return x


def milliseconds(work):
    """The median of ROUNDS calls."""
    for _ in range(3):
        work()
    times = []
    for _ in range(ROUNDS):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        work()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last))
    return statistics.median(times)


def ceilings():
    """Copy bandwidth in GB/s and dense fp16 and f32 products in TFLOP/s, as this device has them."""
    n, large = 8192, torch.empty(1 << 28, device="cuda")
    copy = milliseconds(lambda: large.clone())
    found = {"copy_GB_per_s": 2 * large.numel() * 4 / copy / 1e6}
    del large
    for name, dtype in [("fp16", torch.float16), ("f32", torch.float32)]:
        a, b = (torch.randn(n, n, device="cuda", dtype=dtype) for _ in range(2))
        found[f"{name}_TFLOP_per_s"] = 2 * n**3 / milliseconds(lambda: a @ b) / 1e9
    return found


def main():
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(0)
    x = torch.rand(BATCH, 1, SIZE, SIZE, device="cuda").to(memory_format=torch.channels_last)
    y = torch.randint(0, CLASSES, (BATCH, SIZE, SIZE), device="cuda")
    result = {"device": torch.cuda.get_device_name(), "torch": torch.__version__, "ceilings": ceilings()}
    result["parameters"] = sum(p.numel() for p in UNet().parameters())
    expected = sys.argv[2] if len(sys.argv) > 2 else ""
    if expected and int(expected) != result["parameters"]:
        sys.exit(f"{result['parameters']} parameters, the program's network has {expected}: not the same network")
    # What is compared first comes first: time may be short.
    for half in [True, False]:
        for compiled in [False, True]:
            net = UNet().cuda().to(memory_format=torch.channels_last)
            run = torch.compile(net) if compiled else net
            adam, scaler = torch.optim.Adam(net.parameters(), 3e-4), torch.amp.GradScaler(enabled=half)
            loss = nn.CrossEntropyLoss()

            def infer():
                with torch.inference_mode(), torch.autocast("cuda", torch.float16, enabled=half):
                    run(x)

            def step():
                adam.zero_grad(set_to_none=True)
                with torch.autocast("cuda", torch.float16, enabled=half):
                    value = loss(run(x), y)
                scaler.scale(value).backward()
                scaler.step(adam)
                scaler.update()

            name = ("fp16" if half else "f32") + (" compiled" if compiled else "")
            try:
                net.eval()
                infer_ms = milliseconds(infer)
                net.train()
                result[name] = {"inference_ms": infer_ms, "step_ms": milliseconds(step)}
            except Exception as e:  # a compiler that the machine lacks is told, not hidden
                result[name] = {"failed": str(e).splitlines()[0][:200]}
            torch.cuda.empty_cache()
            with open(sys.argv[1], "w") as f:
                json.dump(result, f, indent=1)


if __name__ == "__main__":
    main()
