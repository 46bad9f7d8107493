// Fast twin of src/kernels/batchnorm.rs: batch normalisation, its dropout, its activation and a residual, of fp16. What is
// computed of a number is as there, in f32, and rounded once when it is stored; which numbers are dropped is the same.
//
// Order. A run is eight pixels of a row, as of dropout; a thread sums a run of eight channels in f32, x ascending. A block
// of 256 threads adds its runs in f64, halves of the block onto each other; blocks are added in f64 by 32 lanes, lane l
// those of l, l + 32 …, then lanes in halves. How many runs a block has depends on the channels alone. Moments are about
// a block's own mean, and joined as there.
//
// Forward reads x once for its moments and once to normalise it; backward x and dz as often.
#include "dropout.cu"
#include "fast.cuh"

// Threads of a block of sums, and of one that joins blocks: so many lanes a number.
constexpr int THREADS = 256;
constexpr int JOINING = 128;
constexpr int JOINERS = 32;

struct Activation {
    // Per channel, sixteen by sixteen.
    const float *scale, *shift, *mean;
    // One number.
    const float *slope;
    Dropout dropout;
};

// Count, mean and sum of squares about the mean.
struct Moments {
    double n, mean, m2;
};

DEVICE int runs_of_a_row(Shape s) { return (s.w + RUN - 1) / RUN; }

// A thread's run of pixels and unit of channels.
struct Run {
    // Pixels; none where there is no such run or unit.
    int count;
    int channel, row, first;
    i64 n, at;
};
DEVICE Run run_of(Shape s, i64 run, int unit) {
    const int runs = runs_of_a_row(s);
    Run r;
    r.first = int(run % runs) * RUN;
    r.row = int(run / runs % s.h);
    r.n = run / runs / s.h;
    r.count = r.n < s.n && unit < units_of(s.c) ? (s.w - r.first < RUN ? s.w - r.first : RUN) : 0;
    r.channel = r.count ? unit * UNIT : 0;
    r.at = r.count ? pixel(s, (r.n * s.h + r.row) * s.w + r.first) + r.channel : 0;
    return r;
}
// Of a block of sums, `units` side by side, a power of two. grid: (blocks of runs, blocks of units).
DEVICE Run run_in_block(Shape s, int units) {
    const int t = int(threadIdx.x);
    return run_of(s, i64(blockIdx.x) * (THREADS / units) + t / units, int(blockIdx.y) * units + t % units);
}
// Of all threads one after another. grid: (runs · units / 128), 128 threads.
DEVICE Run run_of_thread(Shape s) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    return run_of(s, i / units_of(s.c), int(i % units_of(s.c)));
}

// The pixels of a run, two channels a word; zeros beyond its end.
struct Pixels {
    u32 word[RUN][UNIT / 2];
};
DEVICE Pixels load_run(const h16 *from, Shape s, const Run &r) {
    Pixels p;
#pragma unroll
    for (int k = 0; k < RUN; k++) {
        U4 u = {0, 0, 0, 0};
        if (k < r.count) u = *(const U4 *)(from + r.at + k * width_of(s));
        p.word[k][0] = u.x;
        p.word[k][1] = u.y;
        p.word[k][2] = u.z;
        p.word[k][3] = u.w;
    }
    return p;
}
DEVICE void store_run(h16 *to, Shape s, const Run &r, const Pixels &p) {
#pragma unroll
    for (int k = 0; k < RUN; k++)
        if (k < r.count)
            *(U4 *)(to + r.at + k * width_of(s)) = U4{p.word[k][0], p.word[k][1], p.word[k][2], p.word[k][3]};
}
DEVICE float number(const Pixels &p, int k, int i) { return h2f(h16(p.word[k][i / 2] >> (16 * (i % 2)))); }

// What a channel of a run takes.
struct Channel {
    float scale, shift, mean;
    Bits bits;
};
DEVICE Channel channel_of(const Activation &a, Shape s, const Run &r, int i) {
    const int c = r.channel + i;
    const i64 plane = r.n * groups_of(s) + c / LANES;
    return Channel{a.scale[c], a.shift[c], a.mean[c], dropout_bits(a.dropout, s, plane, r.row, r.first, c % LANES)};
}

// Σ of a channel over the runs of a block: what every thread of the unit gets.
DEVICE double add_runs(double (&shared)[THREADS], float mine, int units) {
    const int t = int(threadIdx.x);
    __syncthreads();
    shared[t] = double(mine);
    for (int half = THREADS / 2; half >= units; half /= 2) {
        __syncthreads();
        if (t < half) shared[t] = shared[t] + shared[t + half];
    }
    __syncthreads();
    return shared[t % units];
}
// Where the thread that writes a channel of the block puts it: [channel][block]; −1 for the others.
DEVICE i64 part_of(Shape s, int units, int i) {
    const int unit = int(blockIdx.y) * units + int(threadIdx.x);
    if (int(threadIdx.x) >= units || unit >= units_of(s.c)) return -1;
    return i64(unit * UNIT + i) * gridDim.x + blockIdx.x;
}

// Pixels of the runs before one.
DEVICE i64 pixels_before(Shape s, i64 run) {
    const int runs = runs_of_a_row(s);
    const i64 all = i64(s.n) * s.h * runs, to = run < all ? run : all;
    return to / runs * s.w + to % runs * RUN;
}

// Moments of each block and channel. 256 threads.
KERNEL(256) fast_moments(const h16 *x, Shape s, i32 units, Moments *parts) {
    __shared__ double shared[THREADS];
    const Run r = run_in_block(s, units);
    const Pixels p = load_run(x, s, r);
    const i64 per = THREADS / units;
    const int count = int(pixels_before(s, (blockIdx.x + 1) * per) - pixels_before(s, blockIdx.x * per));
#pragma unroll
    for (int i = 0; i < UNIT; i++) {
        float sum = 0.0f;
#pragma unroll
        for (int k = 0; k < RUN; k++) sum = sum + number(p, k, i);
        const double n = double(count), mean = add_runs(shared, sum, units) / n;
        const float about = float(mean);
        sum = 0.0f;
#pragma unroll
        for (int k = 0; k < RUN; k++) {
            const float d = number(p, k, i) - about;
            if (k < r.count) sum = fma32(d, d, sum);
        }
        const double squares = add_runs(shared, sum, units), off = mean - double(about), m2 = squares - n * off * off;
        const i64 to = part_of(s, units, i);
        if (to >= 0) parts[to] = Moments{n, mean, m2 > 0.0 ? m2 : 0.0};
    }
}

// Σ x of each block and channel. 256 threads.
KERNEL(256) fast_sums(const h16 *x, Shape s, i32 units, double *parts) {
    __shared__ double shared[THREADS];
    const Run r = run_in_block(s, units);
    const Pixels p = load_run(x, s, r);
#pragma unroll
    for (int i = 0; i < UNIT; i++) {
        float sum = 0.0f;
#pragma unroll
        for (int k = 0; k < RUN; k++) sum = sum + number(p, k, i);
        const double total = add_runs(shared, sum, units);
        const i64 to = part_of(s, units, i);
        if (to >= 0) parts[to] = total;
    }
}

// Σ g, Σ g·(x − mean), Σ (u > 0 ? 0 : u)·dz of each block and channel: three times [channel][block]. 256 threads.
KERNEL(256) fast_gradient_sums(Activation a, const h16 *x, const h16 *dz, Shape s, i32 units, double *parts) {
    __shared__ double shared[THREADS];
    const Run r = run_in_block(s, units);
    const Pixels p = load_run(x, s, r), q = load_run(dz, s, r);
    const float slope = *a.slope;
    a.dropout = counted(a.dropout);
    const i64 next = i64(width_of(s)) * gridDim.x;
#pragma unroll
    for (int i = 0; i < UNIT; i++) {
        const Channel c = channel_of(a, s, r, i);
        float sums[3] = {0.0f, 0.0f, 0.0f};
#pragma unroll
        for (int k = 0; k < RUN; k++) {
            if (k >= r.count) break;
            const float m = dropout_factor(a.dropout, c.bits, k), v = number(p, k, i), d = number(q, k, i);
            const float u = fma32(v, c.scale, c.shift) * m, g = (u > 0.0f ? 1.0f : slope) * m * d;
            sums[0] = sums[0] + g;
            sums[1] = fma32(g, v - c.mean, sums[1]);
            sums[2] = sums[2] + (u > 0.0f ? 0.0f : u) * d;
        }
        const i64 to = part_of(s, units, i);
#pragma unroll
        for (int k = 0; k < 3; k++) {
            const double total = add_runs(shared, sums[k], units);
            if (to >= 0) parts[k * next + to] = total;
        }
    }
}

// Blocks to one number of each row of `blocks`. grid: (rows / 4), 128 threads.
KERNEL(128) fast_join_sums(const double *parts, i32 rows, i32 blocks, double *sums) {
    __shared__ double shared[JOINING];
    const int t = int(threadIdx.x), lane = t % JOINERS, row = int(blockIdx.x) * (JOINING / JOINERS) + t / JOINERS;
    double sum = 0.0;
    if (row < rows)
        for (int b = lane; b < blocks; b += JOINERS) sum = sum + parts[i64(row) * blocks + b];
    shared[t] = sum;
    for (int half = JOINERS / 2; half; half /= 2) {
        __syncthreads();
        if (lane < half) shared[t] = shared[t] + shared[t + half];
    }
    if (lane == 0 && row < rows) sums[row] = shared[t];
}

DEVICE Moments join(Moments a, Moments b) {
    if (b.n == 0.0) return a;
    if (a.n == 0.0) return b;
    const double n = a.n + b.n, delta = b.mean - a.mean;
    return Moments{n, a.mean + delta * (b.n / n), a.m2 + b.m2 + delta * delta * (a.n * b.n / n)};
}

// The same of moments.
KERNEL(128) fast_join_moments(const Moments *parts, i32 rows, i32 blocks, Moments *moments) {
    __shared__ Moments shared[JOINING];
    const int t = int(threadIdx.x), lane = t % JOINERS, row = int(blockIdx.x) * (JOINING / JOINERS) + t / JOINERS;
    Moments all = {0.0, 0.0, 0.0};
    if (row < rows)
        for (int b = lane; b < blocks; b += JOINERS) all = join(all, parts[i64(row) * blocks + b]);
    shared[t] = all;
    for (int half = JOINERS / 2; half; half /= 2) {
        __syncthreads();
        if (lane < half) shared[t] = join(shared[t], shared[t + half]);
    }
    if (lane == 0 && row < rows) moments[row] = shared[t];
}

// z of x, and a residual or none.
KERNEL(128) fast_activate(Activation a, const h16 *x, const h16 *residual, h16 *z, Shape s) {
    const Run r = run_of_thread(s);
    if (!r.count) return;
    const float slope = *a.slope;
    a.dropout = counted(a.dropout);
    Pixels p = load_run(x, s, r), q = p;
    if (residual) q = load_run(residual, s, r);
#pragma unroll
    for (int i = 0; i < UNIT; i += 2) {
        const Channel c[2] = {channel_of(a, s, r, i), channel_of(a, s, r, i + 1)};
#pragma unroll
        for (int k = 0; k < RUN; k++) {
            float v[2];
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const float u = fma32(number(p, k, i + j), c[j].scale, c[j].shift) * dropout_factor(a.dropout, c[j].bits, k);
                v[j] = u < 0.0f ? slope * u : u;
                if (residual) v[j] = v[j] + number(q, k, i + j);
            }
            p.word[k][i / 2] = pack2(v[0], v[1]);
        }
    }
    store_run(z, s, r, p);
}

// dx of dz; by_x and constant per channel.
KERNEL(128) fast_activation_gradient(Activation a, const float *by_x, const float *constant, const h16 *x, const h16 *dz,
                                     h16 *dx, Shape s) {
    const Run r = run_of_thread(s);
    if (!r.count) return;
    const float slope = *a.slope;
    a.dropout = counted(a.dropout);
    Pixels p = load_run(x, s, r);
    const Pixels q = load_run(dz, s, r);
#pragma unroll
    for (int i = 0; i < UNIT; i += 2) {
        const Channel c[2] = {channel_of(a, s, r, i), channel_of(a, s, r, i + 1)};
        const float slopes[2] = {by_x[r.channel + i], by_x[r.channel + i + 1]};
        const float constants[2] = {constant[r.channel + i], constant[r.channel + i + 1]};
#pragma unroll
        for (int k = 0; k < RUN; k++) {
            float d[2];
#pragma unroll
            for (int j = 0; j < 2; j++) {
                const float m = dropout_factor(a.dropout, c[j].bits, k), v = number(p, k, i + j);
                const float u = fma32(v, c[j].scale, c[j].shift) * m;
                const float g = (u > 0.0f ? 1.0f : slope) * m * number(q, k, i + j);
                d[j] = fma32(g, c[j].scale, fma32(v - c[j].mean, slopes[j], constants[j]));
            }
            p.word[k][i / 2] = pack2(d[0], d[1]);
        }
    }
    store_run(dx, s, r, p);
}
