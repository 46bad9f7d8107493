// Twin of src/kernels/weight_gradient.rs: the gradient of a convolution by its weights.
//
//   dw[co, tap, ci] = Σ_chunks ( Σ_pixels dy[n, co, o] · x[n, ci, s·o + offset(tap)] )
//
// In a transposed convolution x is taken at o and dy at 2·o + offset.
//
// Order. A chunk is 4096 pixels of one sample (whole rows, at least one) in row order, begun with 0, one fused
// multiply-add per pixel; chunks are added to 0 in the order of samples and rows.
//
// Fast version. A block makes 16·PLANES slots × 16·GROUPS outputs of one tap and one chunk: pixels pass through shared
// memory, sums stay in registers. What chunks make is kept side by side and added in order by add_chunks, some chunks at a
// time, so that the memory for it has a bound.
#include "maps.cuh"

// One of the two maps: planes of sixteen channels (of one, in the image), taken at step·o + offset.
struct Walk {
    const float *data;
    Shape shape;
    i32 planes, step;
    i32 row[9], column[9];
};

struct Gradient {
    // The sources of x; their shapes differ in channels alone.
    Walk x[2];
    Walk dy;
    // Rows and columns of the coarser maps, rows of a chunk, chunks of a sample.
    i32 h, w, chunk_rows, chunks;
    i32 taps, slots, groups;
    // The first chunk of this launch, of all samples.
    i32 first_chunk;
    // [chunk of this launch][group][tap][slot][output % 16]
    float *parts;
};

// Pixels that are in shared memory at a time.
constexpr int PASS = 32;

template <int PLANES, int GROUPS> struct GradientTile {
    float x[2][PASS][PLANES * LANES];
    float dy[2][PASS][GROUPS * LANES];
};

// Threads of a block: 8 × 8, each of 2·PLANES slots and 2·GROUPS outputs.
constexpr int SIDE = 8;

template <int PLANES, int GROUPS> DEVICE void chunk_gradient(const Gradient &p, GradientTile<PLANES, GROUPS> &tile) {
    constexpr int THREADS = SIDE * SIDE, SLOTS = 2 * PLANES, OUTPUTS = 2 * GROUPS;
    const int planes = p.slots / LANES, plane_tiles = (planes + PLANES - 1) / PLANES;
    const int block = int(blockIdx.x), plane = block % plane_tiles * PLANES, tap = block / plane_tiles % p.taps;
    const int group = block / plane_tiles / p.taps * GROUPS;
    const int chunk = p.first_chunk + int(blockIdx.y), n = chunk / p.chunks, top = chunk % p.chunks * p.chunk_rows;
    const int rows = p.h - top < p.chunk_rows ? p.h - top : p.chunk_rows, pixels = rows * p.w;
    const int t = int(threadIdx.x), tx = t % SIDE, ty = t / SIDE;

    // Sixteen bytes at a time; beyond the last pixel, plane or group, zeros that nobody uses.
    const auto load = [&](int first, int stage) {
        for (int i = t; i < PASS * PLANES * 4; i += THREADS) {
            const int pixel = i / (PLANES * 4), quad = i % (PLANES * 4), g = plane + quad / 4, at = first + pixel;
            const bool there = at < pixels && g < planes;
            const bool second = there && g >= p.x[0].planes;
            const Walk &x = p.x[second];
            const int of = there ? (second ? g - p.x[0].planes : g) : 0;
            const int y = top + (there ? at / p.w : 0), column = there ? at % p.w : 0;
            const i64 from = (i64(n) * x.planes + of) * plane_of(x.shape) +
                             i64(x.step * y + x.row[tap]) * pitch_of(x.shape) + x.step * column + x.column[tap];
            cp16_or_zero(&tile.x[stage][pixel][4 * quad], x.data + from * LANES + 4 * (quad % 4), there);
        }
        for (int i = t; i < PASS * GROUPS * 4; i += THREADS) {
            const int pixel = i / (GROUPS * 4), quad = i % (GROUPS * 4), g = group + quad / 4, at = first + pixel;
            const bool there = at < pixels && g < p.groups;
            const Walk &d = p.dy;
            const int y = top + (there ? at / p.w : 0), column = there ? at % p.w : 0;
            const i64 from = (i64(n) * d.planes + (there ? g : 0)) * plane_of(d.shape) +
                             i64(d.step * y + d.row[tap]) * pitch_of(d.shape) + d.step * column + d.column[tap];
            cp16_or_zero(&tile.dy[stage][pixel][4 * quad], d.data + from * LANES + 4 * (quad % 4), there);
        }
        cp_commit();
    };

    float sums[SLOTS][OUTPUTS];
#pragma unroll
    for (int i = 0; i < SLOTS; i++)
#pragma unroll
        for (int j = 0; j < OUTPUTS; j++) sums[i][j] = 0.0f;
    load(0, 0);
    for (int first = 0, stage = 0; first < pixels; first += PASS, stage = 1 - stage) {
        if (first + PASS < pixels) load(first + PASS, 1 - stage);
        else cp_commit();
        cp_wait<1>();
        __syncthreads();
        const int count = pixels - first < PASS ? pixels - first : PASS;
        const auto multiply = [&](int k) {
            // Slots 2·tx and the next of each pair of planes' eighths: neighbours read neighbouring banks.
            float x[SLOTS], d[OUTPUTS];
#pragma unroll
            for (int i = 0; i < SLOTS; i++) x[i] = tile.x[stage][k][tx + i * SIDE];
#pragma unroll
            for (int j = 0; j < OUTPUTS; j++) d[j] = tile.dy[stage][k][ty + j * SIDE];
#pragma unroll
            for (int i = 0; i < SLOTS; i++)
#pragma unroll
                for (int j = 0; j < OUTPUTS; j++) sums[i][j] = fma32(x[i], d[j], sums[i][j]);
        };
        if (count == PASS) {
#pragma unroll 4
            for (int k = 0; k < PASS; k++) multiply(k);
        } else {
            for (int k = 0; k < count; k++) multiply(k);
        }
        __syncthreads();
    }
    cp_wait<0>();
    const i64 size = i64(p.groups) * p.taps * p.slots * LANES;
#pragma unroll
    for (int i = 0; i < SLOTS; i++)
#pragma unroll
        for (int j = 0; j < OUTPUTS; j++) {
            const int slot = plane * LANES + tx + i * SIDE, output = group * LANES + ty + j * SIDE;
            if (slot >= p.slots || output / LANES >= p.groups) continue;
            const i64 to = ((i64(output / LANES) * p.taps + tap) * p.slots + slot) * LANES + output % LANES;
            p.parts[i64(blockIdx.y) * size + to] = sums[i][j];
        }
}

// Groups of slots × groups of outputs; grid: (tiles of slots · taps · tiles of outputs, chunks).
KERNEL(64) weight_gradient_4x4(Gradient p) {
    __shared__ ALIGNED(16) GradientTile<4, 4> tile;
    chunk_gradient<4, 4>(p, tile);
}
KERNEL(64) weight_gradient_2x2(Gradient p) {
    __shared__ ALIGNED(16) GradientTile<2, 2> tile;
    chunk_gradient<2, 2>(p, tile);
}
KERNEL(64) weight_gradient_1x1(Gradient p) {
    __shared__ ALIGNED(16) GradientTile<1, 1> tile;
    chunk_gradient<1, 1>(p, tile);
}

// Pixels of the image in shared memory at a time.
constexpr int IMAGE_PASS = 64;

// The image's: planes of single numbers. A thread a tap and an output channel. grid: (slots · groups, chunks), 144 threads.
KERNEL(144) weight_gradient_image(Gradient p) {
    __shared__ float x[9][IMAGE_PASS];
    __shared__ float dy[IMAGE_PASS][LANES];
    const int slot = int(blockIdx.x) % p.slots, group = int(blockIdx.x) / p.slots, t = int(threadIdx.x);
    const int tap = t / LANES, lane = t % LANES;
    const int chunk = p.first_chunk + int(blockIdx.y), n = chunk / p.chunks, top = chunk % p.chunks * p.chunk_rows;
    const int rows = p.h - top < p.chunk_rows ? p.h - top : p.chunk_rows, pixels = rows * p.w;
    const Walk &a = p.x[0], &d = p.dy;
    float sum = 0.0f;
    for (int first = 0; first < pixels; first += IMAGE_PASS) {
        const int count = pixels - first < IMAGE_PASS ? pixels - first : IMAGE_PASS;
        __syncthreads();
        for (int i = t; i < count * p.taps; i += 144) {
            const int k = i % count, of = i / count, y = top + (first + k) / p.w, column = (first + k) % p.w;
            x[of][k] = a.data[(i64(n) * p.slots + slot) * plane_of(a.shape) +
                              i64(a.step * y + a.row[of]) * pitch_of(a.shape) + a.step * column + a.column[of]];
        }
        for (int i = t; i < count * LANES; i += 144) {
            const int k = i / LANES, y = top + (first + k) / p.w, column = (first + k) % p.w;
            // A convolution's dy is taken at its own pixel, whatever the tap.
            dy[k][i % LANES] = d.data[((i64(n) * d.planes + group) * plane_of(d.shape) +
                                       i64(y + d.row[0]) * pitch_of(d.shape) + column + d.column[0]) * LANES + i % LANES];
        }
        __syncthreads();
        if (tap < p.taps)
            for (int k = 0; k < count; k++) sum = fma32(x[tap][k], dy[k][lane], sum);
    }
    const i64 size = i64(p.groups) * p.taps * p.slots * LANES;
    if (tap < p.taps)
        p.parts[i64(blockIdx.y) * size + ((i64(group) * p.taps + tap) * p.slots + slot) * LANES + lane] = sum;
}

// dw ← (first ? 0 : dw) + parts, chunks ascending; a thread each number. grid: (count / 256).
KERNEL(256) add_chunks(float *dw, const float *parts, i64 count, i32 chunks, i32 first) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    float total = first ? 0.0f : dw[i];
#pragma unroll 4
    for (int k = 0; k < chunks; k++) total = total + parts[k * count + i];
    dw[i] = total;
}
