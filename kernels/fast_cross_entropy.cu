// Fast twin of src/kernels/cross_entropy.rs: the same numbers of logits of f32, whose gradient is stored as fp16. Weights
// and factors hold the loss's scale, which keeps small gradients above what fp16 resolves: src/nn/scale.rs. Rows of losses
// are summed by row_losses of cross_entropy.cu.
#include "elementary.cuh"
#include "fast.cuh"

// A thread each pixel; weights and factors w/W per class. grid: (pixels / 128).
KERNEL(128) fast_cross_entropy(const float *logits, const i16 *labels, const float *weights, const float *factors,
                               i32 classes, Shape s, h16 *gradient, float *losses, u32 *correct) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= i64(s.n) * s.h * s.w) return;
    const float *l = logits + i * classes;
    float most = l[0];
    for (int k = 1; k < classes; k++) most = most < l[k] ? l[k] : most;
    float sum = 0.0f;
    for (int k = 0; k < classes; k++) sum = sum + exp_f32(l[k] - most);
    const int label = labels[i], t = label < 0 ? 0 : label;
    const float factor = label < 0 ? 0.0f : factors[t], of_label = l[t];
    bool right = true;
    for (int first = 0; first < classes; first += UNIT) {
        Eight d;
#pragma unroll
        for (int j = 0; j < UNIT; j++) {
            const int k = first + j;
            d.v[j] = 0.0f;
            if (k >= classes) continue;
            const float v = l[k], p = exp_f32(v - most) / sum - (k == t ? 1.0f : 0.0f);
            d.v[j] = 0.0f < factor ? p * factor : 0.0f;
            right = right && !(v > of_label || (v == of_label && k < t));
        }
        store_unit(gradient + pixel(s, i) + first, d);
    }
    losses[i] = label < 0 ? 0.0f : weights[t] * (most + ln_f32(sum) - of_label);
    if (label >= 0 && right) atomic_add(correct, 1u);
}
