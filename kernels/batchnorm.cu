// Twin of src/kernels/batchnorm.rs: batch normalisation, its dropout, its activation and a residual.
//
//   v = scale·x + shift,  u = m·v,  z = (u < 0 ? a·u : u) + r
//   g = (u > 0 ? 1 : a)·m·dz,  da = Σ (u > 0 ? 0 : u)·dz,  dx = scale·g + (by_x·(x − mean) + constant)
//
// Order. A row of a channel is summed in f32, x ascending; rows of a band of eight are added in f64, y ascending; bands in
// the order of samples and rows.
//
// Fast version. A block takes a band of sixteen channels: a thread a row of a channel, so that what sixteen threads read
// lies side by side; its second pass finds the band in the cache. What has no sums: a thread eight pixels of a channel,
// which share a block of random bits.
#include "dropout.cu"
#include "maps.cuh"

// Rows of a band.
constexpr int ROWS = 8;

struct Activation {
    // Per channel, sixteen by sixteen.
    const float *scale, *shift, *mean;
    float slope;
    Dropout dropout;
};

// Count, mean and sum of squares about the mean.
struct Moments {
    double n, mean, m2;
};

// Where a thread of a band stands: block = (n·groups + group)·bands + band.
struct Place {
    i64 plane;
    int lane, row, rows;
};
DEVICE Place place_in_band(Shape s) {
    const int bands = (s.h + ROWS - 1) / ROWS, band = int(blockIdx.x) % bands, t = int(threadIdx.x);
    const int first = band * ROWS, rows = s.h - first < ROWS ? s.h - first : ROWS;
    return Place{i64(blockIdx.x) / bands, t % LANES, first + t / LANES, rows};
}

// Rows of a band, in f64, y ascending: what each thread of a channel gets.
DEVICE double add_rows(double (&of_rows)[ROWS][LANES], Place p, float row) {
    __syncthreads();
    of_rows[threadIdx.x / LANES][p.lane] = double(row);
    __syncthreads();
    double sum = 0.0;
    for (int r = 0; r < p.rows; r++) sum = sum + of_rows[r][p.lane];
    return sum;
}

// Σ x of each band and channel. grid: (planes · bands), 128 threads.
KERNEL(128) band_sums(const float *x, Shape s, double *bands) {
    __shared__ double of_rows[ROWS][LANES];
    const Place p = place_in_band(s);
    float row = 0.0f;
    if (p.row < s.h) {
        const float *from = x + inside(s, p.plane, p.row, 0) + p.lane;
#pragma unroll 8
        for (int i = 0; i < s.w; i++) row = row + from[i64(i) * LANES];
    }
    const double sum = add_rows(of_rows, p, row);
    if (threadIdx.x < LANES) bands[i64(blockIdx.x) * LANES + p.lane] = sum;
}

// Moments of each band and channel. grid: (planes · bands), 128 threads.
KERNEL(128) band_moments(const float *x, Shape s, Moments *bands) {
    __shared__ double of_rows[ROWS][LANES];
    const Place p = place_in_band(s);
    const float *from = x + inside(s, p.plane, p.row < s.h ? p.row : 0, 0) + p.lane;
    float row = 0.0f;
    if (p.row < s.h) {
#pragma unroll 8
        for (int i = 0; i < s.w; i++) row = row + from[i64(i) * LANES];
    }
    const double n = double(i64(p.rows) * s.w), mean = add_rows(of_rows, p, row) / n;
    const float about = float(mean);
    row = 0.0f;
    if (p.row < s.h) {
#pragma unroll 8
        for (int i = 0; i < s.w; i++) {
            const float d = from[i64(i) * LANES] - about;
            row = fma32(d, d, row);
        }
    }
    const double squares = add_rows(of_rows, p, row), off = mean - double(about);
    // No less than 0; what is no number becomes 0, too, as the definition's maximum makes it.
    const double m2 = squares - n * off * off;
    if (threadIdx.x < LANES) bands[i64(blockIdx.x) * LANES + p.lane] = Moments{n, mean, m2 > 0.0 ? m2 : 0.0};
}

// Σ g, Σ g·(x − mean), Σ (u > 0 ? 0 : u)·dz of each band and channel, sums side by side. grid: (planes · bands), 128
// threads.
KERNEL(128) band_gradient_sums(Activation a, const float *x, const float *dz, Shape s, double *bands) {
    __shared__ double of_rows[ROWS][LANES];
    const Place p = place_in_band(s);
    float sums[3] = {0.0f, 0.0f, 0.0f};
    if (p.row < s.h) {
        const i64 from = inside(s, p.plane, p.row, 0) + p.lane;
        const int channel = int(p.plane % groups_of(s)) * LANES + p.lane;
        const float scale = a.scale[channel], shift = a.shift[channel], mean = a.mean[channel];
        for (int first = 0; first < s.w; first += RUN) {
            const Bits bits = dropout_bits(a.dropout, s, p.plane, p.row, first, p.lane);
#pragma unroll
            for (int k = 0; k < RUN; k++) {
                if (first + k >= s.w) break;
                const i64 at = from + i64(first + k) * LANES;
                const float m = dropout_factor(a.dropout, bits, k), v = x[at], d = dz[at];
                const float u = fma32(v, scale, shift) * m, g = (u > 0.0f ? 1.0f : a.slope) * m * d;
                sums[0] = sums[0] + g;
                sums[1] = fma32(g, v - mean, sums[1]);
                sums[2] = sums[2] + (u > 0.0f ? 0.0f : u) * d;
            }
        }
    }
    for (int k = 0; k < 3; k++) {
        const double sum = add_rows(of_rows, p, sums[k]);
        if (threadIdx.x < LANES) bands[(i64(blockIdx.x) * LANES + p.lane) * 3 + k] = sum;
    }
}

// The k-th band of a channel, samples and rows ascending.
DEVICE i64 band_of(Shape s, int channel, int k, int bands) {
    const i64 plane = i64(k / bands) * groups_of(s) + channel / LANES;
    return (plane * bands + k % bands) * LANES + channel % LANES;
}

// Bands to channels: `count` sums side by side. grid: (channels · count / 64).
KERNEL(64) join_sums(const double *bands, Shape s, i32 count, double *sums) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x), per = (s.h + ROWS - 1) / ROWS;
    if (i >= s.c * count) return;
    double total = 0.0;
#pragma unroll 8
    for (int k = 0; k < s.n * per; k++) total = total + bands[band_of(s, i / count, k, per) * count + i % count];
    sums[i] = total;
}

// Moments of bands to those of channels. grid: (channels / 64).
KERNEL(64) join_moments(const Moments *bands, Shape s, Moments *moments) {
    const int channel = int(blockIdx.x * blockDim.x + threadIdx.x), per = (s.h + ROWS - 1) / ROWS;
    if (channel >= s.c) return;
    Moments a = bands[band_of(s, channel, 0, per)];
    for (int k = 1; k < s.n * per; k++) {
        const Moments b = bands[band_of(s, channel, k, per)];
        const double n = a.n + b.n, delta = b.mean - a.mean;
        a = Moments{n, a.mean + delta * (b.n / n), a.m2 + b.m2 + delta * delta * (a.n * b.n / n)};
    }
    moments[channel] = a;
}

// A thread's eight pixels of a channel.
struct Eight {
    i64 plane, at;
    int lane, row, first, channel;
    bool there;
};
DEVICE Eight eight_pixels(Shape s) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const int runs = (s.w + RUN - 1) / RUN;
    Eight e;
    e.lane = int(i % LANES);
    e.first = int(i / LANES % runs) * RUN;
    e.row = int(i / LANES / runs % s.h);
    e.plane = i / LANES / runs / s.h;
    e.there = e.plane < i64(s.n) * groups_of(s);
    e.channel = int(e.plane % groups_of(s)) * LANES + e.lane;
    e.at = e.there ? inside(s, e.plane, e.row, e.first) + e.lane : 0;
    return e;
}

// z of x, and a residual or none. grid: (planes · rows · runs · 16 / 256).
KERNEL(256) activate(Activation a, const float *x, const float *residual, float *z, Shape s) {
    const Eight e = eight_pixels(s);
    if (!e.there) return;
    const float scale = a.scale[e.channel], shift = a.shift[e.channel];
    const Bits bits = dropout_bits(a.dropout, s, e.plane, e.row, e.first, e.lane);
#pragma unroll
    for (int k = 0; k < RUN; k++) {
        if (e.first + k >= s.w) break;
        const i64 at = e.at + i64(k) * LANES;
        const float u = fma32(x[at], scale, shift) * dropout_factor(a.dropout, bits, k);
        const float v = u < 0.0f ? a.slope * u : u;
        z[at] = residual ? v + residual[at] : v;
    }
}

// dx of dz; by_x and constant per channel. grid: as activate.
KERNEL(256) activation_gradient(Activation a, const float *by_x, const float *constant, const float *x, const float *dz,
                                float *dx, Shape s) {
    const Eight e = eight_pixels(s);
    if (!e.there) return;
    const float scale = a.scale[e.channel], shift = a.shift[e.channel], mean = a.mean[e.channel];
    const Bits bits = dropout_bits(a.dropout, s, e.plane, e.row, e.first, e.lane);
#pragma unroll
    for (int k = 0; k < RUN; k++) {
        if (e.first + k >= s.w) break;
        const i64 at = e.at + i64(k) * LANES;
        const float m = dropout_factor(a.dropout, bits, k), v = x[at], u = fma32(v, scale, shift) * m;
        const float g = (u > 0.0f ? 1.0f : a.slope) * m * dz[at];
        dx[at] = fma32(g, scale, fma32(v - mean, by_x[e.channel], constant[e.channel]));
    }
}
