// Twin of src/kernels/step.rs: what a training step computes between its passes over pixels, for each channel in f64 and
// rounded once; and Adam that waits for nobody: what differs from step to step, it reads from the dial.
//
//   scale = γ/√(var + ε),  shift = β − mean·scale
//   dβ = Σ g,  dγ = Σ g·(x − mean)/√(var + ε),  da = Σ over channels, ascending
//   by_x = −scale/(var + ε)·Σ g·(x − mean)/n,  constant = −scale·Σ g/n
//   running ← 0.9·running + 0.1·batch
//
// A gradient that is not finite sets `stop`, and what follows changes nothing.
#include "maps.cuh"

struct Dial {
    // Of dropout.
    u32 draw;
    // Adam's, and what a gradient of the scaled loss is multiplied by.
    float step, root, back;
    u32 stop;
};

// Count, mean and sum of squares about the mean.
struct Moments {
    double n, mean, m2;
};

constexpr double EPSILON = 1e-5, MOMENTUM = 0.1;
constexpr int THREADS = 256;

DEVICE i64 thread() { return i64(blockIdx.x) * blockDim.x + threadIdx.x; }

// Scale, shift and mean of each channel, one after the other; +0 in idle lanes. grid: (lanes / 64).
KERNEL(64) step_normalise(const Moments *moments, const float *gamma, const float *beta, i32 channels, i32 lanes,
                          float *numbers) {
    const int c = int(thread());
    if (c >= lanes) return;
    float scale = 0.0f, shift = 0.0f, mean = 0.0f;
    if (c < channels) {
        const Moments m = moments[c];
        const double s = double(gamma[c]) / sqrt64(m.m2 / m.n + EPSILON);
        scale = float(s);
        shift = float(double(beta[c]) - m.mean * s);
        mean = float(m.mean);
    }
    numbers[c] = scale;
    numbers[lanes + c] = shift;
    numbers[2 * lanes + c] = mean;
}

// Three sums of each channel, `rows` apart, to what dx takes (by_x, then constant) and the gradients by β and γ, if there
// are moments; and that by the slope, if it has one. grid: (1).
KERNEL(256) step_gradients(const double *sums, i32 rows, const Moments *moments, const float *scales, i32 channels,
                           i32 lanes, float *by_x, float *beta, float *gamma, float *slope) {
    __shared__ double terms[THREADS];
    const int t = int(threadIdx.x);
    double total = 0.0;
    for (int first = 0; first < lanes; first += THREADS) {
        const int c = first + t;
        if (moments && c < lanes) {
            float by = 0.0f, constant = 0.0f, of_beta = 0.0f, of_gamma = 0.0f;
            if (c < channels) {
                const Moments m = moments[c];
                const double variance = m.m2 / m.n, minus = -double(scales[c]), g = sums[c], of_x = sums[rows + c];
                by = float(minus * of_x / (m.n * (variance + EPSILON)));
                constant = float(minus * g / m.n);
                of_beta = float(g);
                of_gamma = float(of_x / sqrt64(variance + EPSILON));
            }
            by_x[c] = by;
            by_x[lanes + c] = constant;
            beta[c] = of_beta;
            gamma[c] = of_gamma;
        }
        terms[t] = c < channels ? sums[2 * rows + c] : 0.0;
        __syncthreads();
        const int count = channels - first < THREADS ? channels - first : THREADS;
        if (t == 0)
            for (int k = 0; k < count; k++) total = total + terms[k];
        __syncthreads();
    }
    if (slope && t < LANES) slope[t] = t == 0 ? float(total) : 0.0f;
}

// Sums of channels, rounded; +0 in idle lanes. grid: (lanes / 64).
KERNEL(64) step_bias(const double *sums, i32 channels, i32 lanes, float *to) {
    const int c = int(thread());
    if (c < lanes) to[c] = c < channels ? float(sums[c]) : 0.0f;
}

// Running mean and variance after a batch. grid: (channels / 64).
KERNEL(64) step_track(const Dial *dial, const Moments *moments, i32 channels, float *mean, float *variance) {
    const int c = int(thread());
    if (c >= channels || dial->stop) return;
    const Moments m = moments[c];
    const double unbiased = m.m2 / (m.n - 1.0 > 1.0 ? m.n - 1.0 : 1.0);
    mean[c] = float((1.0 - MOMENTUM) * double(mean[c]) + MOMENTUM * m.mean);
    variance[c] = float((1.0 - MOMENTUM) * double(variance[c]) + MOMENTUM * unbiased);
}

struct Betas {
    // 1 − β₁, 1 − β₂, β₂, ε.
    float one_minus_beta1, one_minus_beta2, beta2, epsilon;
};

// g ← back·g, then Adam as in adam.cu. grid: (count / 256).
KERNEL(256) step_adam(const Dial *dial, Betas b, float *p, float *g, float *m, float *v, i64 count) {
    const i64 i = thread();
    const Dial d = *dial;
    if (i >= count || d.stop) return;
    const float gradient = d.back * g[i];
    const float m1 = b.one_minus_beta1 * (gradient - m[i]) + m[i];
    const float v1 = (b.one_minus_beta2 * gradient) * gradient + b.beta2 * v[i];
    p[i] = p[i] - d.step * (m1 / (sqrt32(v1) / d.root + b.epsilon));
    g[i] = gradient;
    m[i] = m1;
    v[i] = v1;
}

// Both |= 1 where a number is not finite; `stop` may be none. grid: any.
KERNEL(256) step_watch(const float *x, i64 count, u32 *found, u32 *stop) {
    const u32 exponent = 0x7f800000u;
    bool bad = false;
    for (i64 i = thread(); i < count; i += i64(gridDim.x) * blockDim.x)
        bad = bad || (bits_of(x[i]) & exponent) == exponent;
    if (!bad) return;
    atomic_or(found, 1u);
    if (stop) atomic_or(stop, 1u);
}

// x ← +0. grid: (count / 256).
KERNEL(256) step_clear(float *x, i64 count) {
    const i64 i = thread();
    if (i < count) x[i] = 0.0f;
}
