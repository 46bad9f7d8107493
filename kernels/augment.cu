// Twin of src/kernels/augment.rs: patches that the device keeps become a batch. What happens to each was drawn on the CPU.
//
//   placed     flips, then M: bilinear, 0 outside
//   blurred    along rows, then along columns, where a patch is
//   finished   gain·v + offset, rings, noise, clipped, inside a border of zeros
//
// in f64, every result rounded to f32 once. Between them are planes without a border.
#include "dropout.cu"
#include "elementary.cuh"

constexpr u32 NOISE = 0x61756702u;

// What happens to a patch.
struct Disturbed {
    // M, two rows.
    double m[6];
    double gain, offset;
    // Row and column of the rings' centre.
    double centre[2];
    // σ of the noise.
    double noise;
    // Its place among the patches.
    i64 patch;
    u32 key0, key1;
    i32 flip_rows, flip_columns;
    // Whether M is applied; whether values end in 0 … 1.
    i32 warped, clipped;
    // Taps to each side, and the first of them in the table; 0: no blur.
    i32 reach, taps;
    // The profile of the rings in the table, −1: none; and the distance of its first number.
    i32 profile, least;
};

// Pixel of a plane that M looks at; 0 outside.
DEVICE double seen(const Disturbed &d, Shape s, const float *plane, i64 y, i64 x) {
    if (y < 0 || x < 0 || y >= s.h || x >= s.w) return 0.0;
    if (d.flip_rows) y = s.h - 1 - y;
    if (d.flip_columns) x = s.w - 1 - x;
    return double(plane[y * s.w + x]);
}

struct Place {
    double y, x;
};

// Where a pixel comes from by M.
DEVICE Place source(const Disturbed &d, Shape s, i64 row, i64 column) {
    const double middle_y = double(s.h - 1) / 2.0, middle_x = double(s.w - 1) / 2.0;
    const double y = double(row) - middle_y, x = double(column) - middle_x;
    return {d.m[0] * y + d.m[1] * x + d.m[2] + middle_y, d.m[3] * y + d.m[4] * x + d.m[5] + middle_x};
}

// grid: (pixels / 256, planes). Plane is sample·channels + channel.
KERNEL(256) augment_place(const float *patches, const Disturbed *all, Shape s, float *to) {
    const i64 pixels = i64(s.h) * s.w, i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    for (int plane = int(blockIdx.y); plane < s.n * s.c; plane += int(gridDim.y)) {
        const Disturbed d = all[plane / s.c];
        const float *from = patches + (d.patch * s.c + plane % s.c) * pixels;
        const i64 row = i / s.w, column = i % s.w;
        double v;
        if (d.warped) {
            const Place at = source(d, s, row, column);
            const double low_y = floor64(at.y), low_x = floor64(at.x), fy = at.y - low_y, fx = at.x - low_x;
            const i64 y0 = i64(low_y), x0 = i64(low_x);
            const double upper = (1.0 - fx) * seen(d, s, from, y0, x0) + fx * seen(d, s, from, y0, x0 + 1);
            const double lower = (1.0 - fx) * seen(d, s, from, y0 + 1, x0) + fx * seen(d, s, from, y0 + 1, x0 + 1);
            v = (1.0 - fy) * upper + fy * lower;
        } else {
            v = seen(d, s, from, row, column);
        }
        to[plane * pixels + i] = float(v);
    }
}

// Along rows or along columns. grid: (pixels / 256, planes).
KERNEL(256) augment_blur(const float *from, const Disturbed *all, const double *table, Shape s, i32 columns, float *to) {
    const i64 pixels = i64(s.h) * s.w, i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= pixels) return;
    for (int plane = int(blockIdx.y); plane < s.n * s.c; plane += int(gridDim.y)) {
        const Disturbed *d = all + plane / s.c;
        const float *in = from + plane * pixels;
        float v = in[i];
        if (d->reach) {
            const int reach = d->reach, last = (columns ? s.h : s.w) - 1;
            const int at = int(columns ? i / s.w : i % s.w);
            const i64 step = columns ? s.w : 1, start = i - at * step;
            const double *taps = table + d->taps;
            double sum = 0.0;
            for (int t = 0; t <= 2 * reach; t++) {
                const int near = at + t - reach, inside = near < 0 ? 0 : near > last ? last : near;
                sum += taps[t] * double(in[start + inside * step]);
            }
            v = float(sum);
        }
        to[plane * pixels + i] = v;
    }
}

// Normal number i of a patch: src/kernels/augment.rs.
DEVICE double normal(const Disturbed &d, u64 i) {
    const Bits bits = philox(u32(i / 4), u32(i / 4 >> 32), NOISE, 0, d.key0, d.key1);
    const u32 first = i % 4 < 2 ? bits.word[0] : bits.word[2], second = i % 4 < 2 ? bits.word[1] : bits.word[3];
    const float u = float((first >> 8) + 1) * (1.0f / 16777216.0f);
    const double radius = double(sqrt32(-2.0f * ln_f32(u)));
    const SineCosine turn = sincos_pi(2.0 * (double(second) * (1.0 / 4294967296.0)));
    return radius * (i % 2 ? turn.sine : turn.cosine);
}

// grid: (positions with their border / 256, planes).
KERNEL(256) augment_finish(const float *from, const Disturbed *all, const double *table, Shape s, float *image) {
    const i64 positions = plane_of(s), i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= positions) return;
    const int y = int(i / pitch_of(s)) - BORDER, x = int(i % pitch_of(s)) - BORDER;
    const bool is_inside = y >= 0 && x >= 0 && y < s.h && x < s.w;
    for (int plane = int(blockIdx.y); plane < s.n * s.c; plane += int(gridDim.y)) {
        float v = 0.0f;
        if (is_inside) {
            const Disturbed d = all[plane / s.c];
            const i64 number = (i64(plane % s.c) * s.h + y) * s.w + x;
            v = from[(i64(plane) * s.h + y) * s.w + x];
            if (d.gain != 1.0 || d.offset != 0.0) v = float(d.gain * double(v) + d.offset);
            if (d.profile >= 0) {
                const double dy = double(y) - d.centre[0], dx = double(x) - d.centre[1];
                const double r = sqrt64(dy * dy + dx * dx), low = floor64(r), part = r - low;
                const double *k = table + d.profile + (i64(low) - d.least);
                v += float(k[0] + part * (k[1] - k[0]));
            }
            if (d.noise > 0.0) v += float(d.noise * normal(d, u64(number)));
            if (d.clipped) v = v < 0.0f ? 0.0f : v > 1.0f ? 1.0f : v;
        }
        image[plane * positions + i] = v;
    }
}

// Labels of a batch: the nearest, −1 outside; and how many pixels of each sample carry each class, behind them those that
// carry none that there is. grid: (any, samples); fewer than 256 classes.
KERNEL(256) augment_labels(const i16 *labels, const Disturbed *all, Shape s, i32 classes, i16 *to, u32 *counts) {
    __shared__ u32 sums[256];
    const i64 pixels = i64(s.h) * s.w, step = i64(gridDim.x) * blockDim.x;
    const int slot = int(threadIdx.x);
    for (int n = int(blockIdx.y); n < s.n; n += int(gridDim.y)) {
        const Disturbed d = all[n];
        sums[slot] = 0;
        __syncthreads();
        for (i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x; i < pixels; i += step) {
            i64 row = i / s.w, column = i % s.w;
            bool inside = true;
            if (d.warped) {
                const Place at = source(d, s, row, column);
                const double y = nearest64(at.y), x = nearest64(at.x);
                inside = y >= 0.0 && x >= 0.0 && y < double(s.h) && x < double(s.w);
                row = inside ? i64(y) : 0;
                column = inside ? i64(x) : 0;
            }
            if (d.flip_rows) row = s.h - 1 - row;
            if (d.flip_columns) column = s.w - 1 - column;
            const int label = inside ? int(labels[d.patch * pixels + row * s.w + column]) : -1;
            to[n * pixels + i] = i16(label);
            if (label != -1) atomic_add(&sums[label < 0 || label >= classes ? classes : label], 1u);
        }
        __syncthreads();
        if (slot <= classes && sums[slot]) atomic_add(&counts[i64(n) * (classes + 1) + slot], sums[slot]);
        __syncthreads();
    }
}

// Labels, as they are. grid: (count / 256).
KERNEL(256) augment_copy_labels(const i16 *from, i64 count, i16 *to) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) to[i] = from[i];
}

// Some planes of an image.
KERNEL(256) augment_copy(const float *from, i64 count, float *to) {
    const i64 step = i64(gridDim.x) * blockDim.x;
    for (i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) to[i] = from[i];
}
