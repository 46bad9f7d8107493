// Twin of src/kernels/cross_entropy.rs: softmax cross-entropy with class weights and pixels without a label.
//
//   m = max_k l_k,  s = Σ_k e^(l_k − m),  p_k = e^(l_k − m)/s
//   loss of a pixel = w_t·(m + ln s − l_t),  dl_k = w_t/W · (p_k − δ_kt)          0 where the label is −1
//
// Order. s: k ascending. The losses of a row: sixteen lanes per 4096 pixels, folded 8-4-2-1 (src/num/sum.rs); rows are
// added by who reads them.
#include "elementary.cuh"
#include "maps.cuh"

// A thread each pixel; weights and factors w/W per class. grid: (pixels / 128).
KERNEL(128) cross_entropy(const float *logits, const i16 *labels, const float *weights, const float *factors, i32 classes,
                          Shape s, float *gradient, float *losses, u32 *correct) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= i64(s.n) * s.h * s.w) return;
    const int x = int(i % s.w), y = int(i / s.w % s.h), groups = groups_of(s);
    const i64 n = i / s.w / s.h, first = inside(s, n * groups, y, x), next = plane_of(s) * LANES;
    const auto l = [&](int k) { return logits[first + k / LANES * next + k % LANES]; };
    float most = l(0);
    for (int k = 1; k < classes; k++) most = most < l(k) ? l(k) : most;
    float sum = 0.0f;
    for (int k = 0; k < classes; k++) sum = sum + exp_f32(l(k) - most);
    const int label = labels[i], t = label < 0 ? 0 : label;
    const float factor = label < 0 ? 0.0f : factors[t], of_label = l(t);
    bool right = true;
    for (int k = 0; k < groups * LANES; k++) {
        float d = 0.0f;
        if (k < classes) {
            const float v = l(k), p = exp_f32(v - most) / sum - (k == t ? 1.0f : 0.0f);
            d = 0.0f < factor ? p * factor : 0.0f;
            right = right && !(v > of_label || (v == of_label && k < t));
        }
        gradient[first + k / LANES * next + k % LANES] = d;
    }
    losses[i] = label < 0 ? 0.0f : weights[t] * (most + ln_f32(sum) - of_label);
    if (label >= 0 && right) atomic_add(correct, 1u);
}

// Pixels of a block of the sum.
constexpr int BLOCK = 4096;

// Σ of each row of `w` losses. grid: (rows / 8), 128 threads: a row sixteen.
KERNEL(128) row_losses(const float *losses, i32 rows, i32 w, float *sums) {
    __shared__ float lanes[8][LANES];
    const int r = int(threadIdx.x) / LANES, lane = int(threadIdx.x) % LANES, row = int(blockIdx.x) * 8 + r;
    float total = 0.0f;
    for (int first = 0; first < w; first += BLOCK) {
        const int last = first + BLOCK < w ? first + BLOCK : w;
        float sum = 0.0f;
        if (row < rows)
            for (int x = first + lane; x < last; x += LANES) sum = sum + losses[i64(row) * w + x];
        lanes[r][lane] = sum;
        for (int half = LANES / 2; half; half /= 2) {
            __syncthreads();
            if (lane < half) lanes[r][lane] = lanes[r][lane] + lanes[r][lane + half];
        }
        if (lane == 0) total = total + lanes[r][0];
        __syncthreads();
    }
    if (lane == 0 && row < rows) sums[row] = total;
}
