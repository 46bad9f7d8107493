// Twin of src/kernels/conv.rs: convolution, and its gradient by x; plain, strided, transposed.
//
//   y[n, co, p]     = b[co] + Σ_taps Σ_slots w[co, tap, slot] · x[n, slot, p ∘ tap]
//   y               ← y < 0 ? slope · y : y           if there is a slope
//   y               ← y + r   or   y + what was there
//
// Order. One f32 accumulator per output, begun with the bias, one fused multiply-add per term; taps ascend, then the
// channels of all sources; idle lanes are passed over.
//
// Fast version. An implicit matrix product: a block makes PIXELS × 16·GROUPS outputs; for each tap and each group of
// sixteen input channels, the pixels' channels and the weights are copied to shared memory while those before are
// multiplied. A thread keeps a tile of outputs in registers and reads four channels of a pixel at once. Pixels lie 20
// floats apart in shared memory, so that eight threads read eight different banks.
#include "conv.cuh"

// Floats from a pixel to the next in shared memory.
constexpr int STRIDE = 20;

template <int PIXELS, int GROUPS> struct ConvolutionTile {
    float x[2][PIXELS][STRIDE];
    float w[2][LANES][LANES * GROUPS];
};

template <int PIXELS, int GROUPS, int TILE_PIXELS, int TILE_CHANNELS>
DEVICE void convolve(const Convolution &c, ConvolutionTile<PIXELS, GROUPS> &tile) {
    constexpr int CHANNEL_THREADS = LANES * GROUPS / TILE_CHANNELS, PIXEL_THREADS = PIXELS / TILE_PIXELS;
    constexpr int THREADS = CHANNEL_THREADS * PIXEL_THREADS, LOADS = PIXELS * 4 / THREADS;
    constexpr int QUADS = TILE_CHANNELS / 4;
    static_assert(LOADS * THREADS == PIXELS * 4, "every thread loads as much");
    const int t = int(threadIdx.x), quarter = t % 4;
    const int rows = extent(c.out.h, c.phase_row, c.step), columns = extent(c.out.w, c.phase_column, c.step);
    const int total = c.out.n * rows * columns, first = int(blockIdx.x) * PIXELS, group = int(blockIdx.y) * GROUPS;
    const int groups = groups_of(c.out), pitch = pitch_of(c.in), slots = c.planes * LANES;
    const i64 plane = plane_of(c.in);

    // Where the pixels that this thread copies stand at a tap of offset 0; beyond the last, the last.
    int sample[LOADS], at[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        int p = first + t / 4 + i * (THREADS / 4);
        p = p < total ? p : total - 1;
        sample[i] = p / (rows * columns);
        at[i] = c.stride * (p / columns % rows) * pitch + c.stride * (p % columns);
    }
    // Step s is tap s / planes, plane s % planes.
    const auto load = [&](int s, int stage) {
        const int tap = s / c.planes, g = s % c.planes;
        const bool second = g >= c.sources[0].planes;
        const Source source = c.sources[second];
        const int in_source = second ? g - c.sources[0].planes : g;
        const int offset = c.row[tap] * pitch + c.column[tap];
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const i64 from = (i64(sample[i]) * source.planes + in_source) * plane + at[i] + offset;
            cp16(&tile.x[stage][t / 4 + i * (THREADS / 4)][4 * quarter], source.data + from * LANES + 4 * quarter);
        }
        for (int i = t; i < LANES * GROUPS * 4; i += THREADS) {
            const int slot = i / (GROUPS * 4), column = i % (GROUPS * 4), of = group + column / 4;
            const bool there = of < groups;
            const i64 from = i64(there ? of : group) * c.per_group + i64(c.weight[tap]) * slots + g * LANES + slot;
            cp16_or_zero(&tile.w[stage][slot][4 * column], c.weights + from * LANES + 4 * (column % 4), there);
        }
        cp_commit();
    };

    // Channels of this thread: four at 4·ct, four more half the width on.
    const int ct = t % CHANNEL_THREADS, pt = t / CHANNEL_THREADS;
    float sums[TILE_PIXELS][TILE_CHANNELS];
#pragma unroll
    for (int j = 0; j < TILE_CHANNELS; j++) {
        const int channel = 4 * (ct + j / 4 * CHANNEL_THREADS) + j % 4;
        const float begin = c.bias && group + channel / LANES < groups ? c.bias[group * LANES + channel] : 0.0f;
#pragma unroll
        for (int i = 0; i < TILE_PIXELS; i++) sums[i][j] = begin;
    }
    const int steps = c.taps * c.planes;
    load(0, 0);
    for (int s = 0; s < steps; s++) {
        const int stage = s % 2, g = s % c.planes;
        if (s + 1 < steps) load(s + 1, 1 - stage);
        else cp_commit();
        cp_wait<1>();
        __syncthreads();
        const bool second = g >= c.sources[0].planes;
        const int left = c.sources[second].channels - LANES * (second ? g - c.sources[0].planes : g);
        const auto multiply = [&](int k, int wide) {
            F4 x[TILE_PIXELS];
#pragma unroll
            for (int i = 0; i < TILE_PIXELS; i++) x[i] = load4(&tile.x[stage][pt + i * PIXEL_THREADS][k]);
#pragma unroll
            for (int q = 0; q < 4; q++) {
                if (q >= wide) break;
                F4 w[QUADS];
#pragma unroll
                for (int j = 0; j < QUADS; j++) w[j] = load4(&tile.w[stage][k + q][4 * (ct + j * CHANNEL_THREADS)]);
#pragma unroll
                for (int i = 0; i < TILE_PIXELS; i++)
#pragma unroll
                    for (int j = 0; j < TILE_CHANNELS; j++)
                        sums[i][j] = fma32(part(x[i], q), part(w[j / 4], j % 4), sums[i][j]);
            }
        };
        if (left >= LANES) {
#pragma unroll
            for (int k = 0; k < LANES; k += 4) multiply(k, 4);
        } else {
            for (int k = 0; k < left; k += 4) multiply(k, left - k);
        }
        __syncthreads();
    }
    cp_wait<0>();
#pragma unroll
    for (int i = 0; i < TILE_PIXELS; i++) {
        const int p = first + pt + i * PIXEL_THREADS;
        if (p >= total) continue;
        const int y = c.step * (p / columns % rows) + c.phase_row, x = c.step * (p % columns) + c.phase_column;
#pragma unroll
        for (int j = 0; j < QUADS; j++) {
            const int channel = 4 * (ct + j * CHANNEL_THREADS), of = group + channel / LANES;
            if (of >= groups) continue;
            const i64 to = inside(c.out, i64(p / (rows * columns)) * groups + of, y, x) + channel % LANES;
            F4 r = {0, 0, 0, 0};
            if (c.add) r = load4(c.add + to);
            F4 v;
            v.x = finish(c, sums[i][4 * j], r.x);
            v.y = finish(c, sums[i][4 * j + 1], r.y);
            v.z = finish(c, sums[i][4 * j + 2], r.z);
            v.w = finish(c, sums[i][4 * j + 3], r.w);
            store4(c.y + to, v);
        }
    }
}

// Pixels × groups of a block; grid: (pixels / PIXELS, groups / GROUPS).
KERNEL(128) convolve_128x4(Convolution c) {
    __shared__ ALIGNED(16) ConvolutionTile<128, 4> tile;
    convolve<128, 4, 8, 8>(c, tile);
}
KERNEL(128) convolve_128x2(Convolution c) {
    __shared__ ALIGNED(16) ConvolutionTile<128, 2> tile;
    convolve<128, 2, 8, 4>(c, tile);
}
KERNEL(128) convolve_128x1(Convolution c) {
    __shared__ ALIGNED(16) ConvolutionTile<128, 1> tile;
    convolve<128, 1, 4, 4>(c, tile);
}
// Few pixels: more blocks.
KERNEL(64) convolve_32x2(Convolution c) {
    __shared__ ALIGNED(16) ConvolutionTile<32, 2> tile;
    convolve<32, 2, 4, 4>(c, tile);
}

// The grey image: sources[0] has its channels as planes of single numbers. A thread makes four channels of a pixel: bound
// by what it writes. grid: (pixels / 32, groups).
KERNEL(128) convolve_image(Convolution c) {
    const int t = int(threadIdx.x), quarter = t % 4, group = int(blockIdx.y), groups = groups_of(c.out);
    const int p = int(blockIdx.x) * 32 + t / 4, rows = c.out.h, columns = c.out.w, planes = c.planes;
    if (p >= c.out.n * rows * columns) return;
    const int n = p / (rows * columns), y = p / columns % rows, x = p % columns, pitch = pitch_of(c.in);
    F4 sum = {0, 0, 0, 0};
    if (c.bias) sum = load4(c.bias + group * LANES + 4 * quarter);
    for (int tap = 0; tap < c.taps; tap++) {
        const i64 at = i64(c.stride * y + c.row[tap]) * pitch + c.stride * x + c.column[tap];
#pragma unroll 1
        for (int k = 0; k < planes; k++) {
            const float v = c.sources[0].data[(i64(n) * planes + k) * plane_of(c.in) + at];
            const i64 slot = i64(group) * c.per_group + c.weight[tap] * planes + k;
            const F4 w = load4(c.weights + slot * LANES + 4 * quarter);
            sum.x = fma32(v, w.x, sum.x);
            sum.y = fma32(v, w.y, sum.y);
            sum.z = fma32(v, w.z, sum.z);
            sum.w = fma32(v, w.w, sum.w);
        }
    }
    const i64 to = inside(c.out, i64(n) * groups + group, y, x) + 4 * quarter;
    F4 r = {0, 0, 0, 0};
    if (c.add) r = load4(c.add + to);
    sum.x = finish(c, sum.x, r.x);
    sum.y = finish(c, sum.y, r.y);
    sum.z = finish(c, sum.z, r.z);
    sum.w = finish(c, sum.w, r.w);
    store4(c.y + to, sum);
}
