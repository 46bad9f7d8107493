"""Makes the files of this folder with other people's writers, and checks those of ours with other people's readers.

    python make.py          writes *.pt, *.ckpt and *.safetensors
    python make.py check    reads *.onnx with onnx and onnxruntime, and compares what it computes with torch

Needs torch, monai, safetensors, numpy; to check also onnx, onnxruntime.
"""
import argparse
import collections
import fractions
import pathlib
import sys

import numpy
import torch
from monai.networks.nets import UNet
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent


def contiguous(tensors):
    """Copies, which share nothing and lie row-major."""
    return {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in tensors.items()}


def monai_net():
    """A residual U-Net of MONAI, as small as one with every kind of layer can be, its statistics those of training."""
    torch.manual_seed(1)
    net = UNet(spatial_dims=2, in_channels=1, out_channels=3, channels=(4, 8, 8), strides=(2, 2), num_res_units=2, norm="BATCH",
               dropout=0.2)
    with torch.no_grad():
        for _ in range(3):
            net(torch.randn(2, 1, 16, 16))
    return net.eval()


def monai():
    state = monai_net().state_dict()
    torch.save(state, HERE / "monai.pt")
    save_file(contiguous(state), HERE / "monai.safetensors")


class AttributeDict(dict):
    """As in Lightning: hyperparameters by attribute."""


class Opaque:
    """An object of a class that no reader knows."""

    def __init__(self):
        self.me, self.values = self, [1.5, None, {"k": b"bytes"}]


def lightning():
    """What a Lightning checkpoint holds beside its state dict, and odder things."""
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.PReLU())
    torch.manual_seed(2)
    adam = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 1, 8, 8)).square().mean().backward()
    adam.step()
    state = collections.OrderedDict(("model." + k, v) for k, v in net.state_dict().items())
    state["cross_entropy_loss.weight"] = torch.tensor([0.0, 1.0, 1.0])
    loop = []
    loop.append(loop)
    checkpoint = {
        "epoch": 99, "global_step": 300, "pytorch-lightning_version": "2.5.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 1}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_acc'}": {"best_model_score": torch.tensor(0.9),
                                                                "best_model_path": pathlib.PurePosixPath("/a/b.ckpt")}},
        "optimizer_states": [adam.state_dict()],
        "lr_schedulers": [{"best": float("inf"), "_last_lr": [3e-4]}],
        "hyper_parameters": AttributeDict(
            namespace=argparse.Namespace(gpus=-1, path=None), device=torch.device("cpu"), dtype=torch.float32,
            size=torch.Size([1, 2]), array=numpy.arange(3), scalar=numpy.float64(2.5), numbers={1, 2}, fixed=frozenset("ab"),
            whole=-2**80, negative=-2, wide=70000, function=torch.nn.functional.relu, complex=1j, slice=slice(1, 2),
            counts=collections.defaultdict(int, a=1), fraction=fractions.Fraction(1, 3), loop=loop, me=Opaque(),
            text="\u00b5m", data=bytearray(b"\x00\xff")),
    }
    torch.save(checkpoint, HERE / "lightning.ckpt")
    torch.save(checkpoint, HERE / "lightning5.ckpt", pickle_protocol=5)
    save_file(contiguous(state), HERE / "lightning.safetensors")


def strides():
    """Tensors of every type, and of every way to lie in a storage."""
    torch.manual_seed(3)
    base = torch.randn(3, 4, 5)
    small = torch.arange(-6, 6)
    tensors = collections.OrderedDict(
        whole=base, swapped=base.transpose(0, 2), part=base[1:, ::2, 1:4], row=base[2, 1], number=base[1, 2, 3],
        expanded=base[0, :1].expand(3, 5), nothing=torch.empty(0, 7), channels_last=torch.randn(2, 3, 4, 4).contiguous(
            memory_format=torch.channels_last), parameter=torch.nn.Parameter(base[0].t()), ones=base[:1, :, :1].permute(2, 1, 0),
        buffer=torch.nn.Buffer(base[:, 1]))
    for name, dtype in [("f64", torch.float64), ("f16", torch.float16), ("bf16", torch.bfloat16), ("i64", torch.int64),
                        ("i32", torch.int32), ("i16", torch.int16), ("i8", torch.int8), ("u8", torch.uint8),
                        ("bool", torch.bool)]:
        tensors[name] = small.to(dtype).reshape(3, 4).t()
    torch.save({"epoch": 1, "model": tensors, "rng": torch.get_rng_state()[:8]}, HERE / "strides.pt")
    save_file(contiguous(tensors), HERE / "strides.safetensors", metadata={"format": "pt"})


def refused():
    """What is told from a state dict."""
    net = torch.nn.Conv2d(1, 1, 1)
    torch.save(net, HERE / "module.pt")
    torch.save(net.state_dict(), HERE / "legacy.pt", _use_new_zipfile_serialization=False)
    torch.jit.script(net).save(HERE / "script.pt")
    torch.save({"a": torch.zeros(2).to_sparse()}, HERE / "sparse.pt")
    torch.save({"epoch": 1, "network": net.state_dict()}, HERE / "elsewhere.pt")
    torch.serialization.set_crc32_options(False)
    torch.save(net.state_dict(), HERE / "without_crc.pt")
    torch.serialization.set_crc32_options(True)


def check():
    import onnx
    import onnxruntime

    model = onnx.load(HERE / "monai.onnx")
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(str(HERE / "monai.onnx"), providers=["CPUExecutionProvider"])
    net = monai_net()
    net.load_state_dict(torch.load(HERE / "monai.pt", weights_only=True))
    for batch, height, width in [(1, 16, 16), (3, 32, 64)]:
        x = torch.randn(batch, 1, height, width, generator=torch.Generator().manual_seed(4))
        with torch.no_grad():
            truth = net.double()(x.double()).numpy()
        ours = session.run(None, {"image": x.numpy()})[0]
        error = numpy.abs(ours - truth).max() / numpy.abs(truth).max()
        print(f"monai.onnx at {tuple(x.shape)}: {ours.shape}, largest difference from torch in f64 {error:.1e} of the largest")
        assert ours.shape == truth.shape and error < 1e-6
    small = onnx.load(HERE / "pool.onnx")
    onnx.checker.check_model(small, full_check=True)
    session = onnxruntime.InferenceSession(str(HERE / "pool.onnx"), providers=["CPUExecutionProvider"])
    x = torch.randn(2, 2, 6, 8)
    ours = session.run(None, {"x": x.numpy()})[0]
    assert numpy.array_equal(ours, torch.nn.functional.max_pool2d(x, 2).numpy())
    print("pool.onnx: equal")


if __name__ == "__main__":
    if sys.argv[1:] == ["check"]:
        check()
    else:
        for make in (monai, lightning, strides, refused):
            make()
