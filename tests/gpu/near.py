"""How far numbers are from others, and images to compute them of. Python alone is needed.

    python3 near.py image FILE.npy COUNT SIZE        images of numbers from 0 to 1
    python3 near.py STRICT.npy FAST.npy BOUND        the largest difference, relative to the largest number: at most BOUND
    python3 near.py volume FILE.npy COUNT SIZE       a volume of so many slices of u16
    python3 near.py losses BOUND STRICT.csv … -- FAST.csv …
                                                     last training losses: those of three fast runs where another seed's would
                                                     be 19 of 20 times, as three strict ones tell, widened by BOUND of the loss

Strict logits are within some 10⁻⁶ of those in f64, a thousandth of what is looked for here: the tests compare whole networks, strict and
fast, with f64 (tests/cuda/exact.rs).
"""

import array
import random
import struct
import sys


def read(path):
    data = open(path, "rb").read()
    length = struct.unpack("<H", data[8:10])[0]
    assert data[:8] == b"\x93NUMPY\x01\x00" and b"'<f4'" in data[10 : 10 + length], path
    numbers = array.array("f")
    numbers.frombytes(data[10 + length :])
    return numbers


def header(kind, shape):
    """What stands before the numbers of a .npy."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust((10 + len(text)) // 64 * 64 + 64 - 11) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def image(path, count, size):
    draw = random.Random(1)
    numbers = array.array("f", (draw.random() for _ in range(count * size * size)))
    with open(path, "wb") as f:
        f.write(header("<f4", (count, 1, size, size)) + numbers.tobytes())


def volume(path, count, size):
    draw = random.Random(1)
    with open(path, "wb") as f:
        f.write(header("<u2", (count, size, size)))
        for _ in range(count):
            f.write(draw.randbytes(2 * size * size))


def near(a, b, bound):
    strict, fast = read(a), read(b)
    assert len(strict) == len(fast) > 0
    largest = max(abs(v) for v in strict)
    far = [abs(v - w) for v, w in zip(strict, fast)]
    error, mean = max(far) / largest, sum(far) / len(far) / largest
    print(f"{len(fast)} logits of up to {largest:.4g}: {error:.3e} of that off at most, {mean:.3e} in the mean; bound {bound}")
    return 0 < error <= bound


def last_loss(path):
    return float(open(path).read().strip().splitlines()[-1].split(",")[3])


def losses(bound, names):
    split = names.index("--")
    strict, fast = [[last_loss(name) for name in part] for part in (names[:split], names[split + 1 :])]
    assert len(strict) == 3 == len(fast)
    mean = sum(strict) / 3
    # One more of the same: Student's t of two degrees of freedom, of a deviation and a mean that three have told.
    margin = 4.303 * (sum((v - mean) ** 2 for v in strict) / 2 * (1 + 1 / 3)) ** 0.5 + bound * mean
    print(f"strict {strict}, fast {fast}: from {mean - margin:.5f} to {mean + margin:.5f}")
    return all(abs(v - mean) <= margin for v in fast)


if sys.argv[1] in ("image", "volume"):
    (image if sys.argv[1] == "image" else volume)(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
elif sys.argv[1] == "losses":
    sys.exit(not losses(float(sys.argv[2]), sys.argv[3:]))
else:
    sys.exit(not near(sys.argv[1], sys.argv[2], float(sys.argv[3])))
