// Twin of src/kernels/narrow.rs: convolutions of few outputs. In conv.cu threads share a pixel's sixteen outputs; with
// five classes eleven would idle. Here a thread makes eight outputs of two pixels. Every output is the same sum in the same
// order.
#include "conv.cuh"

// Outputs of a thread, and pixels.
constexpr int FEW = 8;
constexpr int PAIR = 2;

// out.c is at most 8. grid: (pixels / 256), 128 threads.
KERNEL(128) convolve_narrow(Convolution c) {
    const int rows = extent(c.out.h, c.phase_row, c.step), columns = extent(c.out.w, c.phase_column, c.step);
    const int total = c.out.n * rows * columns;
    const int first = int(blockIdx.x) * PAIR * 128 + int(threadIdx.x), pitch = pitch_of(c.in);
    i64 sample[PAIR], at[PAIR];
    float sums[PAIR][FEW];
    for (int i = 0; i < PAIR; i++) {
        const int p = first + 128 * i < total ? first + 128 * i : total - 1;
        sample[i] = p / (rows * columns);
        at[i] = i64(c.stride) * (p / columns % rows) * pitch + c.stride * (p % columns);
        for (int k = 0; k < FEW; k++) sums[i][k] = c.bias ? c.bias[k] : 0.0f;
    }
    for (int tap = 0; tap < c.taps; tap++) {
        const i64 offset = i64(c.row[tap]) * pitch + c.column[tap];
        for (int g = 0; g < c.planes; g++) {
            const bool second = g >= c.sources[0].planes;
            const Source s = c.sources[second];
            const int of = second ? g - c.sources[0].planes : g, left = s.channels - of * LANES;
            const float *weights = c.weights + (i64(c.weight[tap]) * c.planes + g) * LANES * LANES;
            const float *x[PAIR];
#pragma unroll
            for (int i = 0; i < PAIR; i++)
                x[i] = s.data + ((sample[i] * s.planes + of) * plane_of(c.in) + at[i] + offset) * LANES;
#pragma unroll 4
            for (int k = 0; k < LANES; k++) {
                if (k >= left) break;
                const F4 low = load4(weights + k * LANES), high = load4(weights + k * LANES + 4);
#pragma unroll
                for (int i = 0; i < PAIR; i++) {
                    const float v = x[i][k];
#pragma unroll
                    for (int o = 0; o < FEW; o++)
                        sums[i][o] = fma32(v, o < 4 ? part(low, o) : part(high, o - 4), sums[i][o]);
                }
            }
        }
    }
    for (int i = 0; i < PAIR; i++) {
        const int p = first + 128 * i;
        if (p >= total) continue;
        const int y = c.step * (p / columns % rows) + c.phase_row, column = c.step * (p % columns) + c.phase_column;
        const i64 to = inside(c.out, p / (rows * columns), y, column);
        for (int o = 0; o < LANES; o++) c.y[to + o] = finish(c, o < FEW ? sums[i][o] : 0.0f, c.add ? c.add[to + o] : 0.0f);
    }
}
