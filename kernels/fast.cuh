// What the fast kernels share: fp16 maps for tensor cores. src/kernels/cuda/fast.rs says what is near what, and how near.
//
//   maps     [sample][row][column][channel]      fp16, channels filled up with +0 to units of eight, no border
//   weights  [output][tap · channel]             fp16, one matrix of a stencil: see fast_filter.cu
//   logits   [sample][row][column][channel]      f32, channels as they are
//
// Sums are of f32, and every rounding outside the tensor cores is written, as in the strict kernels. No number depends on
// the order of threads, nor on how many there are.
#pragma once
#include "maps.cuh"

// Halves that are copied at once: 16 bytes.
constexpr int UNIT = 8;

DEVICE int units_of(int channels) { return (channels + UNIT - 1) / UNIT; }
// Numbers of a pixel.
DEVICE int width_of(Shape s) { return units_of(s.c) * UNIT; }
// The first number of pixel i of all samples.
DEVICE i64 pixel(Shape s, i64 i) { return i * width_of(s); }

// Eight halves as numbers, and back, each rounded once.
struct Eight {
    float v[UNIT];
};
DEVICE Eight widen(U4 u) {
    const u32 words[4] = {u.x, u.y, u.z, u.w};
    Eight e;
#pragma unroll
    for (int i = 0; i < UNIT; i++) e.v[i] = h2f(h16(words[i / 2] >> (16 * (i % 2))));
    return e;
}
DEVICE U4 narrow(const Eight &e) {
    return U4{pack2(e.v[0], e.v[1]), pack2(e.v[2], e.v[3]), pack2(e.v[4], e.v[5]), pack2(e.v[6], e.v[7])};
}
DEVICE Eight load_unit(const h16 *p) { return widen(*(const U4 *)p); }
DEVICE void store_unit(h16 *p, const Eight &e) { *(U4 *)p = narrow(e); }
// Eight numbers per channel.
DEVICE Eight load_eight(const float *p) {
    const F4 a = load4(p), b = load4(p + 4);
    return Eight{{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
}

// Where unit `unit` of row `row` of a tile of UNITS units a row lies in shared memory: turned so that the eight rows that
// ldmatrix reads at once lie in different banks.
template <int UNITS> DEVICE int turned(int row, int unit) {
    static_assert(UNITS == 4 || UNITS == 8 || UNITS == 16, "a row is half a line of banks, or whole lines");
    return (row * UNITS + (unit ^ (UNITS == 4 ? row / 2 % 4 : row % 8))) * UNIT;
}
