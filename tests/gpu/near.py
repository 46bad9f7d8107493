"""How far numbers are from others, and images to compute them of. Python alone is needed.

    python3 near.py image FILE.npy COUNT SIZE        images of numbers from 0 to 1
    python3 near.py STRICT.npy FAST.npy BOUND        the largest difference, relative to the largest number: at most BOUND
    python3 near.py losses BOUND STRICT.csv … -- FAST.csv …
                                                     last training losses: those of fast runs within the strict ones' range,
                                                     widened by its length and by BOUND of the loss

Strict logits are within some 10⁻⁶ of those in f64 (src/nn/golden_tests.rs), a thousandth of what is looked for here.
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


def image(path, count, size):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, 1, {size}, {size}), }}"
    header = header.ljust((10 + len(header)) // 64 * 64 + 64 - 11) + "\n"
    draw = random.Random(1)
    numbers = array.array("f", (draw.random() for _ in range(count * size * size)))
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + numbers.tobytes())


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
    low, high = min(strict), max(strict)
    margin = high - low + bound * high
    print(f"strict {strict}, fast {fast}: from {low - margin:.5f} to {high + margin:.5f}")
    return all(low - margin <= v <= high + margin for v in fast)


if sys.argv[1] == "image":
    image(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
elif sys.argv[1] == "losses":
    sys.exit(not losses(float(sys.argv[2]), sys.argv[3:]))
else:
    sys.exit(not near(sys.argv[1], sys.argv[2], float(sys.argv[3])))
