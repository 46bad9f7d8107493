// Fast twin of src/kernels/conv.rs: convolution, and its gradient by x, of fp16 on tensor cores.
//
//   y = fp16( PReLU( b + Σ_taps Σ_channels w·x ) + r )           x, w, r of fp16; b, slope and sums of f32; one rounding
//
// An implicit matrix product of pixels × depth and depth × outputs, depth = taps · channels: chunks of 32 of the depth
// (four units of eight channels, each of its own tap and source) pass through shared memory in stages, copied behind the
// threads' backs while those before are multiplied. What lies outside the maps is zeros that nobody stores. The order of
// a sum depends on the depth alone, not on the tile.
#include "fast.cuh"

// Depth of a chunk, and its units.
constexpr int CHUNK = 32;
constexpr int CHUNK_UNITS = CHUNK / UNIT;

struct FastSource {
    const h16 *data;
    i32 units;
};

// One stencil of a convolution; src/kernels/cuda/fast.rs has the same fields.
struct FastConvolution {
    FastSource sources[2];
    // Of a source; channels are not looked at.
    Shape in;
    Shape out;
    i32 stride, step, phase_row, phase_column;
    i32 taps;
    // From the pixel itself: −1 … 1.
    i32 row[9], column[9];
    i32 chunks;
    // [output, whole units][chunks · CHUNK]
    const h16 *weights;
    // None is 0.
    const float *bias;
    i32 has_slope;
    float slope;
    // Added last: none, or maps of the output's shape, which may be y.
    const h16 *add;
    h16 *y;
};

template <int PIXELS, int CHANNELS, int STAGES> struct FastTile {
    static constexpr int STAGE = (PIXELS + CHANNELS) * CHUNK;
    // Rows of the finished tile: an odd number of units, so that eight rows lie in different banks.
    static constexpr int ROW = (CHANNELS / UNIT | 1) * UNIT;
    static constexpr int SIZE = STAGES * STAGE > PIXELS * ROW ? STAGES * STAGE : PIXELS * ROW;
    h16 of[SIZE];
};

// A warp makes WIDE pixels × HIGH outputs.
template <int PIXELS, int CHANNELS, int WIDE, int HIGH, int STAGES>
DEVICE void fast_convolve(const FastConvolution &c, FastTile<PIXELS, CHANNELS, STAGES> &tile) {
    constexpr int WARPS_HIGH = CHANNELS / HIGH, THREADS = 32 * (PIXELS / WIDE) * WARPS_HIGH;
    constexpr int ROWS = THREADS / CHUNK_UNITS, LOADS = PIXELS / ROWS, WEIGHT_LOADS = (CHANNELS + ROWS - 1) / ROWS;
    constexpr int M = WIDE / 16, N = HIGH / 8, STAGE = FastTile<PIXELS, CHANNELS, STAGES>::STAGE;
    constexpr int ROW = FastTile<PIXELS, CHANNELS, STAGES>::ROW;
    static_assert(LOADS * ROWS == PIXELS && M * 16 == WIDE && N * 8 == HIGH && (N == 1 || N % 2 == 0), "whole loads");
    const int t = int(threadIdx.x), lane = t % 32, warp = t / 32;
    const int rows = (c.out.h - c.phase_row + c.step - 1) / c.step;
    const int columns = (c.out.w - c.phase_column + c.step - 1) / c.step;
    const int total = c.out.n * rows * columns, first = int(blockIdx.x) * PIXELS;
    const int outputs = width_of(c.out), output = int(blockIdx.y) * CHANNELS;

    // The pixels whose units this thread copies, and the unit's place in the depth: tap, unit of the tap. Units of a map are
    // counted in 32 bits, which is 32 GB.
    const int quarter = t % CHUNK_UNITS, row = t / CHUNK_UNITS;
    int y[LOADS], x[LOADS], at[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) {
        const int p = first + row + i * ROWS, n = p / (rows * columns);
        // Beyond the last pixel: outside, whatever the tap.
        y[i] = p < total ? c.stride * (p / columns % rows) : -4;
        x[i] = c.stride * (p % columns);
        at[i] = (n * c.in.h + y[i]) * c.in.w + x[i];
    }
    const int units = c.sources[0].units, per_tap = units + c.sources[1].units;
    int tap = 0, unit = quarter;
    // The next chunk's weights; of outputs that there are none of, the first output's, and not there.
    const h16 *from_weights[WEIGHT_LOADS];
    bool weights_there[WEIGHT_LOADS];
#pragma unroll
    for (int i = 0; i < WEIGHT_LOADS; i++) {
        weights_there[i] = output + row + i * ROWS < outputs;
        from_weights[i] = c.weights + quarter * UNIT;
        if (weights_there[i]) from_weights[i] += i64(output + row + i * ROWS) * c.chunks * CHUNK;
    }
    int stage = 0;
    const auto load = [&] {
        h16 *to = tile.of + stage * STAGE;
        stage = stage + 1 < STAGES ? stage + 1 : 0;
        while (unit >= per_tap) {
            unit -= per_tap;
            tap++;
        }
        const bool any = tap < c.taps, second = unit >= units;
        const FastSource source = c.sources[second];
        const int of = second ? unit - units : unit;
        const int down = any ? c.row[tap] : 0, right = any ? c.column[tap] : 0, by = down * c.in.w + right;
#pragma unroll
        for (int i = 0; i < LOADS; i++) {
            const bool there = any && u32(y[i] + down) < u32(c.in.h) && u32(x[i] + right) < u32(c.in.w);
            const int from = there ? (at[i] + by) * source.units + of : 0;
            cp16_or_zero(to + turned<CHUNK_UNITS>(row + i * ROWS, quarter), source.data + i64(from) * UNIT, there);
        }
        to += PIXELS * CHUNK;
#pragma unroll
        for (int i = 0; i < WEIGHT_LOADS; i++) {
            const int k = row + i * ROWS;
            if (CHANNELS % ROWS && k >= CHANNELS) break;
            cp16_or_zero(to + turned<CHUNK_UNITS>(k, quarter), from_weights[i], weights_there[i]);
            from_weights[i] += CHUNK;
        }
        unit += CHUNK_UNITS;
    };

    // Sums begin with the bias. A lane has two neighbouring outputs of two rows of each product: emulation.h has the
    // layout.
    const int wide = warp / WARPS_HIGH * WIDE, high = warp % WARPS_HIGH * HIGH, pair = 2 * (lane % 4);
    float sums[M][N][4];
#pragma unroll
    for (int j = 0; j < N; j++)
#pragma unroll
        for (int k = 0; k < 2; k++) {
            const int channel = output + high + 8 * j + pair + k;
            const float begin = c.bias && channel < outputs ? c.bias[channel] : 0.0f;
#pragma unroll
            for (int i = 0; i < M; i++) sums[i][j][k] = sums[i][j][2 + k] = begin;
        }
#pragma unroll
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < c.chunks) load();
        cp_commit();
    }
    const h16 *pixels = tile.of;
    for (int chunk = 0; chunk < c.chunks; chunk++) {
        cp_wait<STAGES - 2>();
        // The chunk is there for all threads, and the one before has been read by all: its stage is free.
        __syncthreads();
        if (chunk + STAGES - 1 < c.chunks) load();
        cp_commit();
        const h16 *weights = pixels + PIXELS * CHUNK;
#pragma unroll
        for (int k = 0; k < CHUNK_UNITS; k += 2) {
            u32 a[M][4];
#pragma unroll
            for (int i = 0; i < M; i++)
                ldsm4(a[i], pixels + turned<CHUNK_UNITS>(wide + 16 * i + lane % 16, k + lane / 16));
            if constexpr (N == 1) {
                u32 b[2];
                ldsm2(b, weights + turned<CHUNK_UNITS>(high + lane % 8, k + lane / 8 % 2));
#pragma unroll
                for (int i = 0; i < M; i++) mma(sums[i][0], a[i], b[0], b[1]);
            } else {
#pragma unroll
                for (int j = 0; j < N; j += 2) {
                    u32 b[4];
                    ldsm4(b, weights + turned<CHUNK_UNITS>(high + 8 * j + lane % 8 + lane / 16 * 8, k + lane / 8 % 2));
#pragma unroll
                    for (int i = 0; i < M; i++) {
                        mma(sums[i][j], a[i], b[0], b[1]);
                        mma(sums[i][j + 1], a[i], b[2], b[3]);
                    }
                }
            }
        }
        pixels = pixels + STAGE < tile.of + STAGES * STAGE ? pixels + STAGE : tile.of;
    }
    // No copy is under way: the last groups are empty.
    __syncthreads();

    // Where a pixel of the tile is in y.
    const auto place = [&](int p) {
        const int down = c.step * (p / columns % rows) + c.phase_row, right = c.step * (p % columns) + c.phase_column;
        return pixel(c.out, (i64(p / (rows * columns)) * c.out.h + down) * c.out.w + right);
    };
#pragma unroll
    for (int i = 0; i < M; i++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const int in_tile = wide + 16 * i + 8 * half + lane / 4, p = first + in_tile;
            const bool there = c.add && p < total;
            const i64 from = there ? place(p) + output + high + pair : 0;
#pragma unroll
            for (int j = 0; j < N; j++) {
                float v[2];
                u32 r = 0;
                if (there && output + high + 8 * j < outputs) r = *(const u32 *)(c.add + from + 8 * j);
#pragma unroll
                for (int k = 0; k < 2; k++) {
                    v[k] = sums[i][j][2 * half + k];
                    if (c.has_slope) v[k] = v[k] < 0.0f ? c.slope * v[k] : v[k];
                    if (c.add) v[k] = v[k] + h2f(h16(r >> (16 * k)));
                }
                *(u32 *)(tile.of + in_tile * ROW + high + 8 * j + pair) = pack2(v[0], v[1]);
            }
        }
    __syncthreads();
    // Sixteen bytes of a pixel at a time.
    for (int i = t; i < PIXELS * CHANNELS / UNIT; i += THREADS) {
        const int in_tile = i / (CHANNELS / UNIT), channel = i % (CHANNELS / UNIT) * UNIT, p = first + in_tile;
        if (p < total && output + channel < outputs)
            *(U4 *)(c.y + place(p) + output + channel) = *(const U4 *)(tile.of + in_tile * ROW + channel);
    }
}

// Pixels × outputs of a block; grid: (pixels / PIXELS, outputs / CHANNELS). Stages fill the 48 KB that need no asking for.
KERNEL(256) fast_convolve_128x128(FastConvolution c) {
    __shared__ ALIGNED(128) FastTile<128, 128, 3> tile;
    fast_convolve<128, 128, 64, 32, 3>(c, tile);
}
KERNEL(128) fast_convolve_128x64(FastConvolution c) {
    __shared__ ALIGNED(128) FastTile<128, 64, 4> tile;
    fast_convolve<128, 64, 64, 32, 4>(c, tile);
}
KERNEL(128) fast_convolve_128x32(FastConvolution c) {
    __shared__ ALIGNED(128) FastTile<128, 32, 4> tile;
    fast_convolve<128, 32, 32, 32, 4>(c, tile);
}
// At most eight outputs.
KERNEL(128) fast_convolve_128x8(FastConvolution c) {
    __shared__ ALIGNED(128) FastTile<128, 8, 4> tile;
    fast_convolve<128, 8, 32, 8, 4>(c, tile);
}
// Few pixels: more blocks.
KERNEL(128) fast_convolve_64x64(FastConvolution c) {
    __shared__ ALIGNED(128) FastTile<64, 64, 4> tile;
    fast_convolve<64, 64, 32, 32, 4>(c, tile);
}
