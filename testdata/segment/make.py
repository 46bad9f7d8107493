"""Golden files for segmentation: sliding windows and affine augmentation by MONAI.

    python testdata/segment/make.py testdata/segment testdata/net

torch 2.15.0, monai 1.6.1, numpy, safetensors. Images and predictors are formulas that the tests repeat.
"""

import sys

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from monai.networks.nets import UNet
from monai.transforms import Affine
from safetensors.torch import load_file

out, net = sys.argv[1:3]


def image(h, w):
    i = np.arange(h * w, dtype=np.int64)
    return ((i * 7919 % 1009) / 1009).astype(np.float32).reshape(h, w)


def ramp(x):
    """Logits that depend on the place in the window, so that blending shows."""
    n, _, h, w = x.shape
    y, c = torch.meshgrid(torch.arange(h, dtype=torch.float32), torch.arange(w, dtype=torch.float32), indexing="ij")
    return torch.cat([x * (k + 1) + k * 0.125 * y - 0.0625 * c for k in range(3)], dim=1)


cases = [("constant", 40, 57, 16, 0.25, "constant"), ("gaussian", 40, 57, 16, 0.25, "gaussian"),
         ("half", 33, 16, 16, 0.5, "gaussian"), ("small", 10, 41, 16, 0.25, "constant")]
for name, h, w, roi, overlap, mode in cases:
    x = torch.from_numpy(image(h, w))[None, None]
    y = sliding_window_inference(x, (roi, roi), 1, ramp, overlap=overlap, mode=mode)
    np.save(f"{out}/windows.{name}.npy", y[0].numpy())

model = UNet(spatial_dims=2, in_channels=1, out_channels=3, channels=(4, 8, 12), strides=(2, 2), kernel_size=3,
             up_kernel_size=3, num_res_units=2, dropout=0.2, norm="BATCH")
model.load_state_dict(load_file(f"{net}/narrow.safetensors"))
model.eval()
with torch.no_grad():
    x = torch.from_numpy(image(40, 57))[None, None]
    np.save(f"{out}/windows.network.npy", sliding_window_inference(x, (32, 32), 1, model, overlap=0.25)[0].numpy())

# The matrix as MONAI made it when the authors used it (1.0 to 1.5); 1.6 composes the two shears one after the other.
c, s = np.cos(0.12), np.sin(0.12)
matrix = (np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0.2, 0], [-0.1, 1, 0], [0, 0, 1]])
          @ np.array([[1, 0, 2.5], [0, 1, -3.25], [0, 0, 1]]) @ np.diag([1.2, 0.85, 1]))
x = torch.from_numpy(image(21, 26))[None]
labels = torch.from_numpy((np.arange(21 * 26) // 5 % 4 + 1).astype(np.float32).reshape(1, 21, 26))
for name, source, mode in [("image", x, "bilinear"), ("labels", labels, "nearest")]:
    warp = Affine(affine=matrix, mode=mode, padding_mode="zeros", dtype=np.float64, image_only=True)
    np.save(f"{out}/affine.{name}.npy", warp(source).numpy()[0].astype(np.float32))
