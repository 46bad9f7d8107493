"""The honest test's other side: MONAI's UNet in torch on the same patches and schedule, and a forest on filter features.

    python benches/peers/segment_peers.py unet about.json --seed 0 -o FOLDER
    python benches/peers/segment_peers.py forest about.json -o FOLDER

Started by tests/honest.rs, which writes about.json: scans, patch lists, splits, epochs, rates. Predictions of the test scans are
FOLDER/SCAN.npy, u8; the last line says the seconds of training. `unet` trains the architecture of `seg train` (MONAI's, with
as many input channels as slices are seen) with Adam, the same cosine and its own random numbers, keeps the last
epoch, and predicts with MONAI's sliding windows. `forest` learns from the same voxels as the last stage; its
leaves and depth are chosen on the validation cell, and it sees Gaussians, gradients, Laplacians, and eigenvalues of the Hessian and
of the structure tensor at four scales, in three dimensions. Needs torch, monai; numpy, scipy, scikit-learn.
"""

import argparse
import json
import pathlib
import time

import numpy as np

NONE = 255


def grey(name):
    return np.load(f"scans/{name}.npy", mmap_mode="r")


def labels(folder, name, shape):
    return np.fromfile(f"{folder}/{name}.raw", np.uint8).reshape(shape)


def patches(stage, about):
    """Images (N, channels, size, size), labels (N, size, size), and the numbers of the patches of each fold."""
    listed = json.load(open(stage["patches"]))
    folds = json.load(open(stage["split"]))["folds"]
    size, context = about["patch"], about["context"]
    low, high = about["grey"]
    volumes = [(grey(s["name"]), labels(stage["labels"], s["name"], s["dims_zyx"])) for s in listed["scans"]]
    images, classes = [], []
    for text in listed["patches"]:
        scan, plane, at, row, column, _ = text.split(" ")
        at, row, column = int(at), int(row), int(column)
        axis = {"xy": 0, "xz": 1, "yz": 2, "zy": 2}[plane]
        g, l = volumes[int(scan)]
        beside = [min(max(at + d, 0), g.shape[axis] - 1) for d in range(-context, context + 1)]
        cut = (slice(row, row + size), slice(column, column + size))
        # zy is yz with y as its rows.
        seen = (lambda s: s.T[cut]) if plane == "zy" else (lambda s: s[cut])
        images.append(np.stack([seen(g.take(b, axis) if axis else g[b]) for b in beside]))
        classes.append(seen(l.take(at, axis)))
    x = np.clip((np.stack(images) - low) / (high - low), 0, 1).astype(np.float32)
    return x, np.stack(classes), folds


def unet(about, seed, out):
    import torch
    from monai.inferers import sliding_window_inference
    from monai.networks.nets import UNet

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    channels, context = about["channels"], about["context"]
    gain, offset = about["gain"], about["offset"]
    net = UNet(spatial_dims=2, in_channels=2 * context + 1, out_channels=5, channels=channels, strides=[2] * (len(channels) - 1),
               num_res_units=2, dropout=0.1, norm="batch")
    trained = 0.0
    for stage in about["stages"]:
        x, y, folds = patches(stage, about)
        start = time.perf_counter()
        learn, check = (np.array(folds[name], int) for name in ("train", "validation"))
        target = torch.from_numpy(np.where(y == NONE, -1, y.astype(np.int64)))
        x = torch.from_numpy(x)
        weights = torch.tensor(about["class_weights"], dtype=torch.float32)
        loss_of = torch.nn.CrossEntropyLoss(weight=weights, ignore_index=-1)
        adam = torch.optim.Adam(net.parameters(), lr=stage["rate"])
        cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, int(stage["epochs"]), eta_min=0)
        for _ in range(int(stage["epochs"])):
            net.train()
            order = rng.permutation(learn)
            for batch in np.array_split(order, range(about["batch"], len(order), about["batch"])):
                image, label = x[batch].clone(), target[batch].clone()
                for i in range(len(batch)):
                    # As ours: from left to right alone.
                    if rng.random() < 0.5:
                        image[i], label[i] = image[i].flip(2), label[i].flip(1)
                    image[i] = image[i] * (1 + gain * rng.uniform(-1, 1)) + offset * rng.uniform(-1, 1)
                image.clamp_(0, 1)
                if not (label >= 0).any():
                    continue
                adam.zero_grad()
                loss_of(net(image), label).backward()
                adam.step()
            net.eval()
            with torch.no_grad():
                lost, n = 0.0, 0
                for i in check:
                    k = float(weights[target[i][target[i] >= 0]].sum())
                    if k:
                        lost, n = lost + float(loss_of(net(x[i:i + 1]), target[i:i + 1])) * k, n + k
            cosine.step()
        print(f"validation loss {lost / max(n, 1):.4f}")
        trained += time.perf_counter() - start
    net.eval()
    start = time.perf_counter()
    low, high = about["grey"]
    for name in about["test"]:
        g = np.clip((grey(name) - low) / (high - low), 0, 1).astype(np.float32)
        found = np.full(g.shape, NONE, np.uint8)
        for z in range(0, len(g), about["every"]):
            beside = [min(max(z + d, 0), len(g) - 1) for d in range(-context, context + 1)]
            with torch.no_grad():
                image = torch.from_numpy(g[beside])[None]
                logits = sliding_window_inference(image, (about["window"],) * 2, 4, net)
            found[z] = logits[0].argmax(0).numpy()
        np.save(out / f"{name}.npy", found)
    print(f"predicted {time.perf_counter() - start:.1f}")
    print(f"trained {trained:.1f}")


SCALES = (1.0, 2.0, 4.0, 8.0)
# Voxels of a class that are learnt from, at most.
MOST = 8000
TREES = 60


def eigenvalues(m):
    """Of symmetric 3 x 3 matrices, m[i][j] arrays with i <= j, ascending: the trigonometric solution of the cubic."""
    q = (m[0][0] + m[1][1] + m[2][2]) / 3
    d = [m[i][i] - q for i in range(3)]
    a, b, c = m[0][1], m[0][2], m[1][2]
    p = np.sqrt((d[0] ** 2 + d[1] ** 2 + d[2] ** 2 + 2 * (a * a + b * b + c * c)) / 6) + np.float32(1e-20)
    half = (d[0] * (d[1] * d[2] - c * c) - a * (a * d[2] - b * c) + b * (a * c - b * d[1])) / (2 * p ** 3)
    phi = np.arccos(np.clip(half, -1, 1)) / 3
    high, low = q + 2 * p * np.cos(phi), q + 2 * p * np.cos(phi + 2 * np.pi / 3)
    return [low, 3 * q - high - low, high]


def features(volume, rows):
    """Features of the voxels of some slices, (rows, y, x, feature); slices around them are seen."""
    from scipy import ndimage as nd

    margin = int(3 * SCALES[-1]) + 2
    low, high = max(rows[0] - margin, 0), min(rows[-1] + margin + 1, len(volume))
    v = np.asarray(volume[low:high], np.float32)
    at = [r - low for r in rows]
    out = [v[at]]
    for sigma in SCALES:
        g = nd.gaussian_filter(v, sigma, truncate=3)
        d = np.gradient(g)
        out += [g[at], np.sqrt(sum(a * a for a in d))[at], nd.laplace(g)[at]]
        if sigma <= 4:
            pairs = [(i, j) for i in range(3) for j in range(i, 3)]
            hessian = {(i, j): np.gradient(d[i], axis=j)[at] for i, j in pairs}
            structure = {(i, j): nd.gaussian_filter(d[i] * d[j], sigma, truncate=2)[at] for i, j in pairs}
            for matrix in (hessian, structure):
                out += eigenvalues([[matrix[min(i, j), max(i, j)] for j in range(3)] for i in range(3)])
    return np.stack(out, -1)


def sampled(folder, names, rng):
    """Features and classes of labelled voxels, drawn evenly over scans and classes."""
    xs, ys = [], []
    for name in names:
        g = grey(name)
        l = labels(folder, name, g.shape)
        wanted = np.zeros(l.shape, bool)
        for k in range(5):
            places = np.flatnonzero(l == k)
            wanted.flat[rng.choice(places, min(len(places), MOST // len(names)), replace=False)] = True
        for z in range(0, len(g), 64):
            rows = [r for r in range(z, min(z + 64, len(g))) if wanted[r].any()]
            if rows:
                f = features(g, rows)
                xs.append(f[wanted[rows]])
                ys.append(l[rows][wanted[rows]])
    return np.concatenate(xs), np.concatenate(ys)


def forest(about, out):
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import jaccard_score

    rng = np.random.default_rng(0)
    folder = about["stages"][-1]["labels"]
    start = time.perf_counter()
    x, y = sampled(folder, about["train"], rng)
    cx, cy = sampled(folder, about["validate"], rng)
    best = (-1.0, None, None)
    for depth in (12, None):
        for leaf in (1, 5, 20):
            model = RandomForestClassifier(TREES, max_depth=depth, min_samples_leaf=leaf, class_weight="balanced_subsample", n_jobs=-1,
                                           random_state=0).fit(x, y)
            score = jaccard_score(cy, model.predict(cx), average="macro")
            if score > best[0]:
                best = (score, (depth, leaf), model)
    trained = time.perf_counter() - start
    print(f"depth {best[1][0]}, leaf {best[1][1]}: mean IoU {best[0]:.3f} of validation voxels; {len(y)} voxels, {x.shape[1]} features")
    for name in about["test"]:
        g = grey(name)
        found = np.full(g.shape, NONE, np.uint8)
        for z in range(0, len(g), 64):
            rows = [r for r in range(z, min(z + 64, len(g))) if r % about["every"] == 0]
            f = features(g, rows)
            found[rows] = best[2].predict(f.reshape(-1, f.shape[-1])).reshape(f.shape[:-1])
        np.save(out / f"{name}.npy", found)
    print(f"trained {trained:.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["unet", "forest"])
    parser.add_argument("about")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    a = parser.parse_args()
    a.output.mkdir(parents=True, exist_ok=True)
    about = json.load(open(a.about))
    if a.what == "unet":
        unet(about, a.seed, a.output)
    else:
        forest(about, a.output)


if __name__ == "__main__":
    main()
