// Twin of src/kernels/adam.rs: Adam (Kingma, Ba 2015), every number by itself.
//
//   m ← m + (1 − β₁)(g − m)
//   v ← β₂ v + (1 − β₂) g²
//   p ← p − step · m / (√v/root + ε)            step = lr/(1 − β₁ᵗ), root = √(1 − β₂ᵗ)
#include "device.cuh"

struct Adam {
    // 1 − β₁, 1 − β₂, β₂, ε.
    float one_minus_beta1, one_minus_beta2, beta2, epsilon;
    float step, root;
};

// A thread each number. grid: (count / 256).
KERNEL(256) adam(Adam a, float *p, const float *g, float *m, float *v, i64 count) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const float gradient = g[i];
    const float m1 = a.one_minus_beta1 * (gradient - m[i]) + m[i];
    const float v1 = (a.one_minus_beta2 * gradient) * gradient + a.beta2 * v[i];
    p[i] = p[i] - a.step * (m1 / (sqrt32(v1) / a.root + a.epsilon));
    m[i] = m1;
    v[i] = v1;
}

// sum ← sum + x: gradients of leaves. grid: (count / 256).
KERNEL(256) accumulate(float *sum, const float *x, i64 count) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) sum[i] = sum[i] + x[i];
}

// x ← factor·x: gradients of a loss that was scaled. grid: (count / 256).
KERNEL(256) scale(float *x, float factor, i64 count) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i < count) x[i] = factor * x[i];
}

// *found |= 1 where a number is not finite: its exponent is all ones. grid: any.
KERNEL(256) find_not_finite(const float *x, i64 count, u32 *found) {
    const u32 exponent = 0x7f800000u;
    bool bad = false;
    for (i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += i64(gridDim.x) * blockDim.x)
        bad = bad || (bits_of(x[i]) & exponent) == exponent;
    if (bad) atomic_or(found, 1u);
}
