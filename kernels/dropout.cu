// Twin of src/kernels/dropout.rs: which numbers are dropped is a function of seed, layer, step and place.
//
//   factor(n, c, y, x) = 0 if bits < 2¹⁶·p else 1/(1 − p)
//   bits = 16 bits of the Philox block  ((n·groups + c/16)·h + y)·⌈w/8⌉ + x/8) · 16 + c%16:
//          of word (x%8)/2 the low half for even x, the high half for odd x
#ifndef DROPOUT
#define DROPOUT
#include "maps.cuh"

// Pixels that a block of random bits serves.
constexpr int RUN = 8;

struct Dropout {
    // 0: nothing is dropped, and factors are 1.
    u32 threshold;
    float keep;
    u32 key0, key1, stream, draw;
    // Samples of the batch in front of these.
    i64 before;
    // What is added to `draw`, where a device counts the steps.
    const u32 *counter;
};

// The dropout of this step.
DEVICE Dropout counted(Dropout d) {
    if (d.counter) d.draw += *d.counter;
    return d;
}

// The bits of a run of eight pixels from column x on, of one channel.
struct Bits {
    u32 word[4];
};

// Philox4x32-10 (Salmon et al. 2011): src/num/philox.rs.
DEVICE Bits philox(u32 c0, u32 c1, u32 c2, u32 c3, u32 k0, u32 k1) {
#pragma unroll
    for (int round = 0; round < 10; round++) {
        const u32 high0 = high_of_product(0xd2511f53u, c0), low0 = 0xd2511f53u * c0;
        const u32 high1 = high_of_product(0xcd9e8d57u, c2), low1 = 0xcd9e8d57u * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return Bits{{c0, c1, c2, c3}};
}

// Plane is n·groups + group, s the shape of the maps.
DEVICE Bits dropout_bits(const Dropout &d, Shape s, i64 plane, int y, int x, int lane) {
    if (!d.threshold) return Bits{{0, 0, 0, 0}};
    const u64 row = u64((d.before * groups_of(s) + plane) * s.h + y);
    const u64 index = (row * u64((s.w + RUN - 1) / RUN) + u64(x / RUN)) * LANES + u64(lane);
    return philox(u32(index), u32(index >> 32), d.stream, d.draw, d.key0, d.key1);
}

// The factor of pixel k of the run.
DEVICE float dropout_factor(const Dropout &d, const Bits &bits, int k) {
    if (!d.threshold) return 1.0f;
    const u32 half = bits.word[k / 2] >> (16 * (k % 2)) & 0xffffu;
    return half < d.threshold ? 0.0f : d.keep;
}
#endif
