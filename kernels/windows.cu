// Twin of src/kernels/windows.rs: windows are cut from an image, their logits added up, and the sums become what is told.
//
//   cut      pixels of the image, zeros around
//   add      sum_k + l_k·w, and w behind the classes; windows ascending, product and sum rounded apart
//   finish   sum_k / sum_K of rows that no later window holds; then they are 0 again
//
// A thread owns a number of the sums, or all of a pixel; launches stand in the order of the windows.
#include "maps.cuh"
#include "uncertainty.cuh"

// Windows of an image: rows, then columns.
struct Grid {
    // The image, and a window.
    i32 size[2], roi[2];
    // From a window to the next, start of the last, zeros before the image.
    i32 interval[2], last[2], before[2];
    // Windows in a row of them; numbers of a pixel beside its weight.
    i32 columns, classes;
};

DEVICE int start(const Grid &g, int axis, int d) {
    const i64 at = i64(d) * g.interval[axis];
    return at < g.last[axis] ? int(at) : g.last[axis];
}
// Columns of the padded image.
DEVICE int padded_of(const Grid &g) { return g.last[1] + g.roi[1]; }
// The sums of a pixel of the padded image: in a ring of rows.
DEVICE i64 sums_of(const Grid &g, int y, int x) {
    return (i64(y % g.roi[0]) * padded_of(g) + x) * (g.classes + 1);
}

// Windows `first` and on become the samples of `to`. grid: (positions with their border / 256, planes).
KERNEL(256) windows_cut(const float *image, Grid g, i32 first, Shape s, float *to) {
    const i64 positions = plane_of(s), i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= positions) return;
    const int y = int(i / pitch_of(s)) - BORDER, x = int(i % pitch_of(s)) - BORDER;
    const bool in_window = y >= 0 && x >= 0 && y < s.h && x < s.w;
    for (int plane = int(blockIdx.y); plane < s.n * s.c; plane += int(gridDim.y)) {
        const int window = first + plane / s.c;
        const int row = start(g, 0, window / g.columns) + y - g.before[0];
        const int column = start(g, 1, window % g.columns) + x - g.before[1];
        const bool there = in_window && row >= 0 && column >= 0 && row < g.size[0] && column < g.size[1];
        to[plane * positions + i] = there ? image[(i64(plane % s.c) * g.size[0] + row) * g.size[1] + column] : 0.0f;
    }
}

// Logits of windows: numbers from a sample, row, column and group of sixteen channels to the next; `first` is the number of
// a pixel's that channel 0 is added to.
struct Logits {
    const float *data;
    i64 sample, row, column, group;
    i32 channels, first;
};

// Windows `window` and on, of one row of them. A thread each number of the pixels that they hold: channels, and the weight
// with the first of them.
KERNEL(256) windows_add(Logits l, const float *weights, Grid g, i32 window, i32 count, float *sums) {
    const int numbers = l.channels + (l.first == 0 ? 1 : 0), d = window % g.columns;
    const int from = start(g, 1, d), span = start(g, 1, d + count - 1) + g.roi[1] - from;
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= i64(g.roi[0]) * span * numbers) return;
    const int k = int(i % numbers), x = from + int(i / numbers % span), y = int(i / numbers / span);
    const bool is_weight = k == l.channels;
    float *to = sums + sums_of(g, start(g, 0, window / g.columns) + y, x) + (is_weight ? g.classes : l.first + k);
    const float *logit = l.data + y * l.row + k / LANES * l.group + k % LANES;
    float sum = *to;
    for (int n = 0; n < count; n++) {
        const int column = x - start(g, 1, d + n);
        if (column < 0 || column >= g.roi[1]) continue;
        const float w = weights[i64(y) * g.roi[1] + column];
        sum = sum + (is_weight ? w : logit[n * l.sample + column * l.column] * w);
    }
    *to = sum;
}

// The mean over passes: sums in their order, one quotient.
KERNEL(256) windows_mean(const float *x, i64 count, i32 pass, i32 passes, float *mean) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float sum = (pass ? mean[i] : 0.0f) + x[i];
    mean[i] = pass + 1 == passes ? sum / float(passes) : sum;
}

// Number of a pixel of the padded image among the image's pixels of rows that end with `top` and on; −1 outside.
DEVICE i64 pixel_from(const Grid &g, int top, int y, int x) {
    const int row = y - g.before[0], column = x - g.before[1], first = top < g.before[0] ? 0 : top - g.before[0];
    if (row < 0 || column < 0 || row >= g.size[0] || column >= g.size[1]) return -1;
    return i64(row - first) * g.size[1] + column;
}

// Logits of rows `top` to `end` of the padded image, a thread each pixel.
KERNEL(256) windows_finish(float *sums, Grid g, i32 top, i32 end, float *to) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= i64(end - top) * padded_of(g)) return;
    const int x = int(i % padded_of(g)), y = top + int(i / padded_of(g));
    float *of = sums + sums_of(g, y, x);
    const float weight = of[g.classes];
    const i64 pixel = pixel_from(g, top, y, x);
    for (int k = 0; k <= g.classes; k++) {
        if (pixel >= 0 && k < g.classes) to[pixel * g.classes + k] = of[k] / weight;
        of[k] = 0.0f;
    }
}

// The same, but what is told of each pixel: its class, then `maps` others, four bits of `which` each.
KERNEL(256) windows_tell(float *sums, Grid g, i32 top, i32 end, i32 passes, i32 maps, i32 which, u8 *to) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= i64(end - top) * padded_of(g)) return;
    const int x = int(i % padded_of(g)), y = top + int(i / padded_of(g));
    float *of = sums + sums_of(g, y, x);
    const i64 pixel = pixel_from(g, top, y, x);
    if (pixel >= 0) {
        const float weight = of[g.classes];
        for (int k = 0; k < g.classes; k++) of[k] = of[k] / weight;
        const int classes = g.classes / passes;
        const Told t = passes > 1 ? pixel_of_passes(of, classes, passes) : maps ? pixel_of(of, classes) : class_of(of, classes);
        u8 *codes = to + pixel * (maps + 1);
        codes[0] = code_of(t, 0);
        for (int m = 0; m < maps; m++) codes[m + 1] = t.finite ? code_of(t, which >> 4 * m & 15) : u8(0);
    }
    for (int k = 0; k <= g.classes; k++) of[k] = 0.0f;
}
