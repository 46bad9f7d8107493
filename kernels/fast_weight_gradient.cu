// Fast twin of src/kernels/weight_gradient.rs: the gradient of a convolution by its weights, of fp16 on tensor cores.
//
//   dw[co, tap, ci] = Σ_chunks ( Σ_pixels dy[n, co, o] · x[n, ci, s·o + offset(tap)] )         sums of f32
//
// In a transposed convolution x is taken at o and dy at 2·o + offset.
//
// A matrix product of outputs × pixels and pixels × slots for each tap. Pixels of all samples are cut into chunks, as many
// as the problem's size says (never the device's), of 4096 pixels at most, because a tensor core cuts off what it adds to a
// long sum; what chunks make is kept side by side and added in order by add_chunks
// of weight_gradient.cu. Pixels lie in rows in shared memory, so both matrices are read transposed.
#include "fast.cuh"

// One of the two maps, taken at step·o + offset: −1 … 1; zeros outside.
struct FastWalk {
    const h16 *data;
    i32 units, h, w, step;
    i32 row[9], column[9];
};

// src/kernels/cuda/fast.rs has the same fields.
struct FastGradient {
    FastWalk x[2];
    FastWalk dy;
    // Samples, rows and columns of the coarser maps; pixels of a chunk.
    i32 n, h, w, chunk;
    i32 taps, slots, groups;
    // Slots of the first source.
    i32 first_slots;
    // [chunk][group][tap][slot][output % 16]
    float *parts;
};

// Pixels that are in shared memory at a time.
constexpr int PASS = 32;

template <int SIDE, int STAGES> struct FastGradientTile {
    h16 dy[STAGES][PASS * SIDE];
    h16 x[STAGES][PASS * SIDE];
};

// SIDE outputs × SIDE slots; a warp makes WIDE outputs × HIGH slots.
template <int SIDE, int WIDE, int HIGH, int STAGES>
DEVICE void fast_chunk_gradient(const FastGradient &p, FastGradientTile<SIDE, STAGES> &tile) {
    constexpr int WARPS_HIGH = SIDE / HIGH, THREADS = 32 * (SIDE / WIDE) * WARPS_HIGH, UNITS = SIDE / UNIT;
    constexpr int ROWS = THREADS / UNITS, LOADS = PASS / ROWS, M = WIDE / 16, N = HIGH / 8;
    static_assert(LOADS * ROWS == PASS && M * 16 == WIDE && N % 2 == 0, "whole loads");
    const int slot_tiles = (p.slots + SIDE - 1) / SIDE, block = int(blockIdx.x), tap = block / slot_tiles % p.taps;
    const int slot = block % slot_tiles * SIDE, output = block / slot_tiles / p.taps * SIDE;
    const int first = int(blockIdx.y) * p.chunk, all = p.n * p.h * p.w;
    const int last = first + p.chunk < all ? first + p.chunk : all, passes = (last - first + PASS - 1) / PASS;
    const int t = int(threadIdx.x), lane = t % 32, warp = t / 32;

    // The unit that this thread copies of each pixel, of dy and of x.
    const int unit = t % UNITS, row = t / UNITS;
    const int of_dy = output / UNIT + unit;
    const bool second = slot + unit * UNIT >= p.first_slots;
    const FastWalk &x = p.x[second];
    const int of_x = (slot - (second ? p.first_slots : 0)) / UNIT + unit;
    const bool any_dy = of_dy < p.dy.units, any_x = of_x < x.units;
    const int dy_row = p.dy.row[tap], dy_column = p.dy.column[tap], x_row = x.row[tap], x_column = x.column[tap];
    // Sample, row and column of the pixels of the next pass.
    int at_n[LOADS], at_y[LOADS], at_x[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int at = first + row + i * ROWS;
        at_n[i] = at / p.w / p.h;
        at_y[i] = at / p.w % p.h;
        at_x[i] = at % p.w;
    }
    const int right = PASS % p.w, down = PASS / p.w;
    const auto load = [&](int pass) {
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const int k = row + i * ROWS;
            const bool inside = first + pass * PASS + k < last;
            const auto copy = [&](h16 *to, const FastWalk &walk, bool any, int of, int by_row, int by_column) {
                const int v = walk.step * at_y[i] + by_row, u = walk.step * at_x[i] + by_column;
                const bool there = inside && any && u32(v) < u32(walk.h) && u32(u) < u32(walk.w);
                // Units are counted in 32 bits, as in fast_conv.cu.
                const int from = there ? ((at_n[i] * walk.h + v) * walk.w + u) * walk.units + of : 0;
                cp16_or_zero(to + turned<UNITS>(k, unit), walk.data + i64(from) * UNIT, there);
            };
            copy(tile.dy[pass % STAGES], p.dy, any_dy, of_dy, dy_row, dy_column);
            copy(tile.x[pass % STAGES], x, any_x, of_x, x_row, x_column);
            at_x[i] += right;
            at_y[i] += down;
            if (at_x[i] >= p.w) {
                at_x[i] -= p.w;
                at_y[i]++;
            }
            while (at_y[i] >= p.h) {
                at_y[i] -= p.h;
                at_n[i]++;
            }
        }
    };

    const int wide = warp / WARPS_HIGH * WIDE, high = warp % WARPS_HIGH * HIGH;
    float sums[M][N][4];
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int k = 0; k < 4; k++) sums[i][j][k] = 0.0f;
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < passes) load(s);
        cp_commit();
    }
    for (int pass = 0; pass < passes; pass++) {
        cp_wait<STAGES - 2>();
        __syncthreads();
        if (pass + STAGES - 1 < passes) load(pass + STAGES - 1);
        cp_commit();
        const h16 *dy = tile.dy[pass % STAGES], *from = tile.x[pass % STAGES];
#pragma unroll
        for (int k = 0; k < PASS; k += 16) {
            u32 a[M][4];
#pragma unroll
            for (int i = 0; i < M; i++)
                ldsm4t(a[i], dy + turned<UNITS>(k + lane % 8 + lane / 16 * 8, (wide + 16 * i) / UNIT + lane / 8 % 2));
#pragma unroll
            for (int j = 0; j < N; j += 2) {
                u32 b[4];
                ldsm4t(b, from + turned<UNITS>(k + lane % 16, (high + 8 * j) / UNIT + lane / 16));
#pragma unroll
                for (int i = 0; i < M; i++) {
                    mma(sums[i][j], a[i], b[0], b[1]);
                    mma(sums[i][j + 1], a[i], b[2], b[3]);
                }
            }
        }
    }
    float *parts = p.parts + i64(blockIdx.y) * p.groups * p.taps * p.slots * LANES;
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int j = 0; j < N; j++)
#pragma unroll
            for (int k = 0; k < 4; k++) {
                const int co = output + wide + 16 * i + 8 * (k / 2) + lane / 4;
                const int ci = slot + high + 8 * j + 2 * (lane % 4) + k % 2;
                if (co >= p.groups * LANES || ci >= p.slots) continue;
                parts[((i64(co / LANES) * p.taps + tap) * p.slots + ci) * LANES + co % LANES] = sums[i][j][k];
            }
}

// Outputs and slots of a block; grid: (tiles of slots · taps · tiles of outputs, chunks).
KERNEL(256) fast_weight_gradient_128(FastGradient p) {
    __shared__ ALIGNED(128) FastGradientTile<128, 3> tile;
    fast_chunk_gradient<128, 64, 32, 3>(p, tile);
}
KERNEL(128) fast_weight_gradient_64(FastGradient p) {
    __shared__ ALIGNED(128) FastGradientTile<64, 4> tile;
    fast_chunk_gradient<64, 32, 32, 4>(p, tile);
}
KERNEL(128) fast_weight_gradient_32(FastGradient p) {
    __shared__ ALIGNED(128) FastGradientTile<32, 4> tile;
    fast_chunk_gradient<32, 16, 16, 4>(p, tile);
}

// Pixels of the image in shared memory at a time.
constexpr int IMAGE_PASS = 64;

// The image's: x[0].data is f32, planes with a border (maps.cuh), and so are its offsets, from the border's corner. A
// thread a tap and an output channel; chunks as above. grid: (slots · groups, chunks), 144 threads.
KERNEL(144) fast_weight_gradient_image(FastGradient p) {
    __shared__ float x[9][IMAGE_PASS];
    __shared__ float dy[IMAGE_PASS][LANES];
    const int slot = int(blockIdx.x) % p.slots, group = int(blockIdx.x) / p.slots, t = int(threadIdx.x);
    const int tap = t / LANES, lane = t % LANES, first = int(blockIdx.y) * p.chunk, all = p.n * p.h * p.w;
    const int last = first + p.chunk < all ? first + p.chunk : all;
    const float *image = (const float *)p.x[0].data;
    const Shape s = {p.n, p.slots, p.x[0].h, p.x[0].w};
    float sum = 0.0f;
    for (int begin = first; begin < last; begin += IMAGE_PASS) {
        const int count = last - begin < IMAGE_PASS ? last - begin : IMAGE_PASS;
        __syncthreads();
        for (int i = t; i < count * p.taps; i += 144) {
            const int k = i % count, of = i / count, at = begin + k, y = at / p.w % p.h, column = at % p.w;
            x[of][k] = image[(i64(at / p.w / p.h) * p.slots + slot) * plane_of(s) +
                             i64(p.x[0].step * y + p.x[0].row[of]) * pitch_of(s) + p.x[0].step * column + p.x[0].column[of]];
        }
        for (int i = t; i < count * LANES; i += 144) {
            const int channel = group * LANES + i % LANES;
            const bool there = channel < p.dy.units * UNIT;
            dy[i / LANES][i % LANES] = there ? h2f(p.dy.data[i64(begin + i / LANES) * p.dy.units * UNIT + channel]) : 0.0f;
        }
        __syncthreads();
        if (tap < p.taps)
            for (int k = 0; k < count; k++) sum = fma32(x[tap][k], dy[k][lane], sum);
    }
    const i64 size = i64(p.groups) * p.taps * p.slots * LANES;
    if (tap < p.taps)
        p.parts[i64(blockIdx.y) * size + ((i64(group) * p.taps + tap) * p.slots + slot) * LANES + lane] = sum;
}
