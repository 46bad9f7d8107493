// Fast twin of src/kernels/narrow.rs: the two ends of the network, where tensor cores would idle: the convolution of the
// image, of f32, and that to the logits, which keep f32. Weights are those of the strict kernels, in f32.
//
//   maps    y = fp16( PReLU( b + Σ w·x ) + r )       x: the image, f32
//   logits  y = PReLU( b + Σ w·x ) + r               x, r: fp16; y of f32, [sample][row][column][class]
//
// Order. One f32 accumulator per output, begun with the bias; taps ascend, then the channels.
#include "conv.cuh"
#include "fast.cuh"

// A thread eight channels of a pixel: bound by what it writes. grid: (pixels · units / 128).
KERNEL(128) fast_convolve_image(Convolution c) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const int units = units_of(c.out.c), unit = int(i % units), rows = c.out.h, columns = c.out.w, planes = c.planes;
    const i64 p = i / units;
    if (p >= i64(c.out.n) * rows * columns) return;
    const i64 n = p / columns / rows;
    const int y = int(p / columns % rows), x = int(p % columns), pitch = pitch_of(c.in);
    const float *weights = c.weights + i64(unit / 2) * c.per_group * LANES + unit % 2 * UNIT;
    Eight sum = {{0, 0, 0, 0, 0, 0, 0, 0}};
    if (c.bias) sum = load_eight(c.bias + unit * UNIT);
    for (int tap = 0; tap < c.taps; tap++) {
        const i64 at = i64(c.stride * y + c.row[tap]) * pitch + c.stride * x + c.column[tap];
#pragma unroll 1
        for (int k = 0; k < planes; k++) {
            const float v = c.sources[0].data[(n * planes + k) * plane_of(c.in) + at];
            const Eight w = load_eight(weights + i64(c.weight[tap] * planes + k) * LANES);
#pragma unroll
            for (int o = 0; o < UNIT; o++) sum.v[o] = fma32(v, w.v[o], sum.v[o]);
        }
    }
    const i64 to = pixel(c.out, p) + unit * UNIT;
    Eight r = {{0, 0, 0, 0, 0, 0, 0, 0}};
    if (c.add) r = load_unit((const h16 *)c.add + to);
#pragma unroll
    for (int o = 0; o < UNIT; o++) sum.v[o] = finish(c, sum.v[o], r.v[o]);
    store_unit((h16 *)c.y + to, sum);
}

// Pixels of a thread: they share what is read of the weights.
constexpr int PAIR = 2;

// To logits of f32. Of a source `planes` counts units of eight channels. grid: (pixels / 256, outputs / 8), 128 threads.
KERNEL(128) fast_convolve_logits(Convolution c) {
    const int rows = extent(c.out.h, c.phase_row, c.step), columns = extent(c.out.w, c.phase_column, c.step);
    const int total = c.out.n * rows * columns, first = int(blockIdx.x) * PAIR * 128 + int(threadIdx.x);
    const int output = int(blockIdx.y) * UNIT;
    const int slots = groups_of({0, c.sources[0].channels, 0, 0}) + groups_of({0, c.sources[1].channels, 0, 0});
    int at[PAIR], y[PAIR], x[PAIR];
    Eight sums[PAIR];
    for (int i = 0; i < PAIR; i++) {
        const int p = first + 128 * i < total ? first + 128 * i : total - 1;
        y[i] = c.stride * (p / columns % rows) - BORDER;
        x[i] = c.stride * (p % columns) - BORDER;
        at[i] = (p / (rows * columns) * c.in.h + y[i]) * c.in.w + x[i];
        for (int o = 0; o < UNIT; o++) sums[i].v[o] = c.bias ? c.bias[output + o] : 0.0f;
    }
    const float *of_outputs = c.weights + i64(output / LANES) * c.per_group * LANES + output % LANES;
    for (int tap = 0; tap < c.taps; tap++)
        for (int source = 0; source < 2; source++) {
            const Source s = c.sources[source];
            const int slot = c.weight[tap] * slots + (source ? groups_of({0, c.sources[0].channels, 0, 0}) : 0);
            const int down = c.row[tap], right = c.column[tap];
            for (int unit = 0; unit < s.planes; unit++) {
                Eight v[PAIR];
#pragma unroll
                for (int i = 0; i < PAIR; i++) {
                    const int row = y[i] + down, column = x[i] + right;
                    const bool there = row >= 0 && row < c.in.h && column >= 0 && column < c.in.w;
                    const i64 from = i64(at[i] + down * c.in.w + right) * s.planes + unit;
                    v[i] = Eight{{0, 0, 0, 0, 0, 0, 0, 0}};
                    if (there) v[i] = load_unit((const h16 *)s.data + from * UNIT);
                }
                const float *weights = of_outputs + (i64(slot) * LANES + unit * UNIT) * LANES;
                const int left = s.channels - unit * UNIT;
#pragma unroll
                for (int k = 0; k < UNIT; k++) {
                    if (k >= left) break;
                    const Eight w = load_eight(weights + k * LANES);
#pragma unroll
                    for (int i = 0; i < PAIR; i++)
#pragma unroll
                        for (int o = 0; o < UNIT; o++) sums[i].v[o] = fma32(v[i].v[k], w.v[o], sums[i].v[o]);
                }
            }
        }
    for (int i = 0; i < PAIR; i++) {
        const int p = first + 128 * i;
        if (p >= total) continue;
        const int row = c.step * (p / columns % rows) + c.phase_row, column = c.step * (p % columns) + c.phase_column;
        const i64 to = (i64(p / (rows * columns)) * c.out.h + row) * c.out.w + column;
        for (int o = 0; o < UNIT && output + o < c.out.c; o++) {
            const float r = c.add ? h2f(((const h16 *)c.add)[pixel(c.out, to) + output + o]) : 0.0f;
            c.y[to * c.out.c + output + o] = finish(c, sums[i].v[o], r);
        }
    }
}
