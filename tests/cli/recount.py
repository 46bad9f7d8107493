"""Numbers of a synthetic cell, counted once more from its label volumes with NumPy, SciPy and scikit-image.

    tomolith phantom cell -o cell --preset tiny --mode labels --seed 2
    pip install numpy==2.4.6 scipy==1.17.1 scikit-image==0.26.0
    python tests/cli/recount.py cell > testdata/recount.csv

Written from the definitions alone (`definitions` of results.json, the formulas at the head of the analysis' files): another
language, other libraries, whole volumes in memory. Every line is definition;of;step;value.
"""

import sys
from pathlib import Path

import numpy as np
from scipy import ndimage, optimize, stats
from skimage import measure

NZ, NY, NX, V = 48, 288, 64, 1.33
BACKGROUND, DENDRITE, PIT, DEPOSITED, PLATING, REDEPOSITED, STRIPPING = range(7)
NAMES = ["background", "dendrite", "pit", "deposited", "plating electrode", "redeposited", "stripping electrode"]
LITHIUM = [DENDRITE, DEPOSITED, PLATING, REDEPOSITED, STRIPPING]
SIDES = {"plating side": [PLATING, DEPOSITED], "stripping side": [STRIPPING, REDEPOSITED]}
COLUMNS, TURN, LAST, LEAST = NZ * NX, 12, 24, 8
# Lithium: g/cm³, mAh/g; the electrodes' area, cm².
DENSITY, CAPACITY, AREA = 0.534, 3860.0, 0.5
FULL = np.ones((3, 3, 3), bool)


def cut(labels, k):
    """Dendrites of the last two scans cut along the depth, by one voxel, two and three: parts hang by less and less."""
    if k >= LAST - 1:
        y, x = np.arange(NY)[None, :, None], np.arange(NX)[None, None, :]
        gap = 1 + 3 * x // NX
        labels[(labels == DENDRITE) & (y % 8 < gap)] = BACKGROUND
    return labels


def of(mask_classes, labels):
    return np.isin(labels, mask_classes)


def counts(labels, classes):
    """Voxels of classes per column, [z][x]."""
    return of(classes, labels).sum(axis=1)


def pairs(labels):
    """Neighbours along each axis."""
    for axis in range(3):
        yield np.moveaxis(labels, axis, 0)[:-1], np.moveaxis(labels, axis, 0)[1:]


def last(mask):
    """Last y of a mask in each column, -1 where there is none."""
    y = np.arange(NY)[None, :, None]
    return np.where(mask, y, -1).max(axis=1)


def first(mask):
    y = np.arange(NY)[None, :, None]
    return np.where(mask, y, NY).min(axis=1)


def roughness(height):
    """Sa, Sq, Ssk, Sku, Sdr of heights in µm, less the best plane."""
    z, x = np.mgrid[:NZ, :NX]
    design = np.stack([np.ones(COLUMNS), x.ravel(), z.ravel()], axis=1)
    plane = np.linalg.lstsq(design, height.ravel(), rcond=None)[0]
    h = height - (design @ plane).reshape(NZ, NX)
    sq = np.sqrt((h**2).mean())
    hx, hz = (h[:-1, 1:] - h[:-1, :-1]) / V, (h[1:, :-1] - h[:-1, :-1]) / V
    developed = (np.sqrt(1 + hx**2 + hz**2) - 1).mean()
    return np.abs(h).mean(), sq, stats.skew(h.ravel()), stats.kurtosis(h.ravel(), fisher=False), developed


def alike(height):
    """Columns until the autocorrelation along x or z, the longer, is below 1/e; at most a quarter of the shorter side."""
    d = height - height.mean()
    most = min(NX, NZ) // 4
    of_x = lambda n: (d[:, :-n] * d[:, n:]).mean() / (d**2).mean()
    of_z = lambda n: (d[:-n] * d[n:]).mean() / (d**2).mean()
    return max(next((n for n in range(1, most) if r(n) < np.exp(-1)), most) for r in (of_x, of_z))


def hanging(labels, gap, six=False):
    """Lithium that hangs on an electrode, with gaps of so many voxels closed."""
    lithium, seeds = of(LITHIUM, labels), of([PLATING, STRIPPING], labels)
    parts, n = ndimage.label(lithium, None if six else FULL)
    reached = np.zeros(n + 1, bool)
    reached[np.unique(parts[seeds])] = True
    reached[0] = False
    while gap:
        near = ndimage.distance_transform_cdt(~reached[parts], "chessboard") <= gap + 1
        new = np.unique(parts[near & lithium])
        if reached[new].all():
            break
        reached[new] = True
    return reached[parts]


def grades(labels):
    """Masks of dendrites by how they hang: connected, fragile, bridged 1, bridged 2, isolated."""
    before, out = np.zeros(labels.shape, bool), []
    for gap, six in [(0, True), (0, False), (1, False), (2, False)]:
        now = hanging(labels, gap, six) | before
        out.append(now & ~before & (labels == DENDRITE))
        before = now
    return [*out, ~before & (labels == DENDRITE)]


def dendrites(labels):
    """Components at 26 neighbours of the least size or more, numbered."""
    parts = measure.label(labels == DENDRITE, connectivity=3)
    sizes = np.bincount(parts.ravel())
    keep = [i for i in range(1, len(sizes)) if sizes[i] >= LEAST]
    return parts, keep


def top(parts, keep):
    """The dendrite at the end of each column, 0 for none."""
    kept = np.where(np.isin(parts, keep), parts, 0)
    y = last(kept > 0)
    z, x = np.mgrid[:NZ, :NX]
    return np.where(y >= 0, kept[z, np.maximum(y, 0), x], 0)


def local_thickness(mask):
    """2 D - 1 voxels at each voxel, D the greatest of the balls that contain it."""
    # Beyond the box nothing is known: distances are to voxels inside of it.
    square = np.rint(ndimage.distance_transform_edt(mask) ** 2).astype(int)
    best = np.zeros(mask.shape, int)
    for d2 in np.unique(square[mask]):
        centres = square == d2
        far = np.rint(ndimage.distance_transform_edt(~centres) ** 2).astype(int)
        best[far < d2] = d2  # ascending: the greatest stays
    return V * (2 * np.sqrt(best[mask]) - 1)


def coloc2(a, b):
    """Line, thresholds, r below and above, M1, M2, tM1, tM2, ICQ of whole numbers, as Fiji's Coloc 2 computes them."""
    cov = np.cov(a, b)
    (s1, c), (_, s2) = cov
    m = (s2 - s1 + np.sqrt((s2 - s1) ** 2 + 4 * c * c)) / (2 * c)
    line = [m, b.mean() - m * a.mean()]

    def r(keep):
        x, y = a[keep], b[keep]
        return None if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0 else float(np.corrcoef(x, y)[0, 1])

    def away(v):  # halves away from zero
        return int(np.floor(abs(v) + 0.5)) * (1 if v >= 0 else -1)

    walks_a = abs(m) <= 1
    t, before = int((a if walks_a else b).max()), np.inf
    while True:
        other = max(0, away(m * t + line[1] if walks_a else (t - line[1]) / m))
        t1, t2 = (t, other) if walks_a else (other, t)
        if t < 1:
            t1, t2 = kept
            break
        kept = (t1, t2)
        now = r((a < t1) | (b < t2))
        if now is None or now < 1e-4 or now > before:
            break
        t, before = t - 1, now
    below, above = r((a < t1) | (b < t2)), r((a > t1) | (b > t2))
    m1, m2 = measure.manders_coloc_coeff(a, b > 0), measure.manders_coloc_coeff(b, a > 0)
    tm1, tm2 = measure.manders_coloc_coeff(a, b >= t2), measure.manders_coloc_coeff(b, a >= t1)
    icq = ((a.mean() - a) * (b.mean() - b) >= 0).mean() - 0.5
    names = ["slope", "intercept", "threshold1", "threshold2", "below", "above", "m1", "m2", "tm1", "tm2", "icq"]
    return dict(zip(names, [*line, t1, t2, below, above, m1, m2, tm1, tm2, icq]))


def main(folder):
    def put(definition, of, step, value):
        if value is not None:
            print(definition, of, "" if step is None else step, repr(float(value)), sep=";")

    files = [folder / f"truth/step_{k:02}/label.raw" for k in range(25)]
    volumes = [cut(np.fromfile(file, np.uint8).reshape(NZ, NY, NX), k) for k, file in enumerate(files)]
    thick = {c: np.array([(v == c).sum() for v in volumes]) * V / COLUMNS for c in range(7)}
    side = {name: sum(thick[c] for c in classes) for name, classes in SIDES.items()}
    total = sum(thick[c] for c in LITHIUM)
    put("variation_lithium", "lithium", None, np.ptp(total))

    # Rates, and decays, of the thickness over steps.
    for name, y in side.items():
        for half, part in [("charge", slice(0, TURN + 1)), ("discharge", slice(TURN, LAST + 1))]:
            x = np.arange(25)[part]
            put("rate.fitted", f"{name}, {half}", None, stats.linregress(x, y[part]).slope)
            put("rate.end_points", f"{name}, {half}", None, (y[part][-1] - y[part][0]) / 12)
    for c in [DEPOSITED, DENDRITE]:
        x, y = np.arange(13.0), thick[c][TURN:]
        model = lambda x, rest, amplitude, time: rest + amplitude * np.exp(-x / time)
        fit = optimize.curve_fit(model, x, y, [0, y[0], 3], ftol=1e-15, xtol=1e-15, gtol=1e-15)[0]
        for name, value in zip(["rest", "amplitude", "time"], fit):
            put(f"decay.{name}", NAMES[c], None, value)

    log = np.loadtxt(folder / "potentiostat.csv", delimiter=",", skiprows=1, usecols=(0, 1, 2))
    field = COLUMNS * V * V
    for k in [6, 12, 13, 18, 24]:
        l, before = volumes[k], volumes[k - 1]
        put("volume.lithium", "lithium", k, of(LITHIUM, l).sum() * V**3)
        put("net_lithium", "lithium", k, total[k] - total[0])
        for c, name in enumerate(NAMES):
            faces = sum(((a == c) != (b == c)).sum() for a, b in pairs(l))
            put("surface_faces", name, k, faces * V * V)
        for a, b in [(DEPOSITED, PLATING), (REDEPOSITED, STRIPPING), (DENDRITE, DEPOSITED), (DENDRITE, PLATING), (PIT, STRIPPING)]:
            faces = sum(((p == a) & (q == b)).sum() + ((p == b) & (q == a)).sum() for p, q in pairs(l))
            put("contact.faces", f"{NAMES[a]} - {NAMES[b]}", k, faces * V * V)
            put("contact.isotropic", f"{NAMES[a]} - {NAMES[b]}", k, faces * V * V * 2 / 3)
        inner = [(first(v == STRIPPING) - last(v == PLATING) - 1).mean() * V for v in (l, volumes[0])]
        put("swelling.inner", "electrodes", k, inner[0] - inner[1])
        for name, height in [
            ("plating side", last(of(SIDES["plating side"], l))),
            ("stripping side", first(of(SIDES["stripping side"], l))),
        ]:
            for part, value in zip(["sa", "sq", "skew", "kurtosis", "developed"], roughness(height * V)):
                put(f"roughness.{part}", name, k, value)
            put("roughness.correlation", name, k, alike(height) * V)

        # Which maps go together.
        for b in [DEPOSITED, DENDRITE]:
            x, y = counts(l, [PIT]), counts(l, [b])
            name = f"pit - {NAMES[b]}"
            put("pearson", name, k, measure.pearson_corr_coeff(x, y)[0])
            put("spearman", name, k, stats.spearmanr(x.ravel(), y.ravel()).statistic)
            for part, value in coloc2(x.ravel(), y.ravel()).items():
                put(f"coloc2.{part}", name, k, value)

        # Dendrites and how they hang.
        hang, hung = grades(l), grades(before)
        for name, mask in zip(["connected", "fragile", "bridged 1", "bridged 2", "isolated"], hang):
            put("grade.volume", name, k, mask.sum() * V**3)
            put("grade.part", name, k, mask.sum() / (l == DENDRITE).sum())
        dead, was = (sum(h[2:]).astype(bool) for h in (hang, hung))
        put("dead.volume", "dendrite", k, dead.sum() * V**3)
        put("dead.persistent", "dendrite", k, (dead & was).sum() * V**3)
        parts, _ = ndimage.label(of(LITHIUM, l), FULL)
        both = np.intersect1d(parts[l == PLATING], parts[l == STRIPPING])
        put("short_circuits", "electrodes", k, len(both))
        parts, keep = dendrites(l)
        ground = last(of(SIDES["plating side"], l))
        heights = [V * (last(parts == i) - ground)[last(parts == i) >= 0].max() for i in keep]
        put("dendrites", "dendrite", k, len(keep))
        put("dendrite.height", "greatest", k, max(heights))
        put("dendrite.height", "median", k, np.median(heights))
        now, then = top(parts, keep), top(*dendrites(before))
        put("dendrite.matched", "dendrite", k, sum(then[now == i].any() for i in keep) / len(keep))
        if k in (TURN, LAST):
            for c in [DENDRITE, DEPOSITED]:
                t = local_thickness(l == c)
                put("local_thickness.mean", NAMES[c], k, t.mean())
                put("local_thickness.p95", NAMES[c], k, np.quantile(t, 0.95))

        # Current that thickened the side that grows, in 10 minutes.
        name = list(SIDES)[k > TURN]
        grown = (counts(l, SIDES[name]) - counts(before, SIDES[name])) * V
        j = grown * 1e-4 * DENSITY * CAPACITY / (10 / 60)
        put("current.mean", name, k, j.mean())
        put("current.hotspot", name, k, np.quantile(j, 0.99) / j.mean() if j.mean() > 0 else None)

        # Between the starts of two scans, by the log's clock.
        start = [60 * (20 + 30 * (k - 1) + 15) if k else 0 for k in (k - 1, k)]
        volts = log[(log[:, 0] >= start[0]) & (log[:, 0] <= start[1]), 2]
        put("voltage.low", "cell", k, volts.min())
        put("voltage.high", "cell", k, volts.max())

        # Charge: 0.125 mAh a segment, up to the turn and back.
        plus, minus = 0.125 * min(k, TURN), 0.125 * max(k - TURN, 0)
        net = plus - minus
        put("charge.net", "cell", k, net)
        put("faraday.mass", "cell", k, net / CAPACITY)
        put("faraday.volume", "cell", k, net / CAPACITY / DENSITY * 1e12)
        thickness = lambda charge: charge / AREA / CAPACITY / DENSITY * 1e4
        seen = {}
        if k <= TURN:
            seen["plated"] = (side["plating side"][k] - side["plating side"][0], plus)
            with_dendrites = side["plating side"] + thick[DENDRITE]
            seen["plated + dendrites"] = (with_dendrites[k] - with_dendrites[0], plus)
            seen["stripped"] = (side["stripping side"][0] - side["stripping side"][k], plus)
            layer = (DEPOSITED, plus)
        else:
            seen["redeposited"] = (side["stripping side"][k] - side["stripping side"][TURN], minus)
            seen["net"] = (side["stripping side"][k] - side["stripping side"][0], minus)
            layer = (REDEPOSITED, minus)
        for name, (gained, charge) in seen.items():
            put("ratio.per_area", name, k, gained / thickness(charge))
            put("ratio.whole_cell", name, k, gained * field / (charge / CAPACITY / DENSITY * 1e12))
        put("apparent_porosity", NAMES[layer[0]], k, 1 - thickness(layer[1]) / thick[layer[0]][k])

        if k > TURN:
            turn = volumes[TURN]
            void = ((turn == PIT) & (l != REDEPOSITED)).sum(axis=1) * V
            put("void.thickness", "pits", k, void.mean())
            grown = [DEPOSITED, DENDRITE]
            decrease = np.maximum(0, counts(turn, grown) - counts(l, grown)) * V
            increase = np.maximum(0, counts(l, [REDEPOSITED]) - counts(turn, [REDEPOSITED])) * V
            put("decrease", "plating side", k, decrease.mean())
            put("increase", "stripping side", k, increase.mean())
            put("change_correlation", "decrease - increase", k, measure.pearson_corr_coeff(decrease, increase)[0])


main(Path(sys.argv[1]))
