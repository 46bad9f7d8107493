// Fast twin of src/kernels/pool.rs: max-pooling 2×2, stride 2, of fp16. Nothing is rounded.
#include "fast.cuh"

// Where a thread's unit of y stands, and the corner of its four of x; s is the shape of y.
struct Pooled {
    bool there;
    i64 at, corner;
    int right, down;
};
DEVICE Pooled pooled(Shape s) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x, p = i / units_of(s.c);
    const int unit = int(i % units_of(s.c)) * UNIT, width = width_of(s);
    const i64 row = p / s.w, column = p % s.w;
    return Pooled{p < i64(s.n) * s.h * s.w, pixel(s, p) + unit, (2 * row * 2 * s.w + 2 * column) * width + unit, width,
                  2 * s.w * width};
}

// A thread each unit of y. grid: (units / 256).
KERNEL(256) fast_max_pool(const h16 *x, h16 *y, Shape s) {
    const Pooled p = pooled(s);
    if (!p.there) return;
    Eight most = load_unit(x + p.corner);
    for (int k = 1; k < 4; k++) {
        const Eight v = load_unit(x + p.corner + (k & 1) * p.right + (k >> 1) * p.down);
#pragma unroll
        for (int i = 0; i < UNIT; i++) most.v[i] = most.v[i] < v.v[i] ? v.v[i] : most.v[i];
    }
    store_unit(y + p.at, most);
}

// A thread each unit of dy, four of dx. grid: (units / 256).
KERNEL(256) fast_max_pool_gradient(const h16 *x, const h16 *dy, h16 *dx, Shape s) {
    const Pooled p = pooled(s);
    if (!p.there) return;
    int first[UNIT] = {0, 0, 0, 0, 0, 0, 0, 0};
    Eight most = load_unit(x + p.corner);
    for (int k = 1; k < 4; k++) {
        const Eight v = load_unit(x + p.corner + (k & 1) * p.right + (k >> 1) * p.down);
#pragma unroll
        for (int i = 0; i < UNIT; i++)
            if (most.v[i] < v.v[i]) {
                most.v[i] = v.v[i];
                first[i] = k;
            }
    }
    const Eight gradient = load_unit(dy + p.at);
    for (int k = 0; k < 4; k++) {
        Eight d;
#pragma unroll
        for (int i = 0; i < UNIT; i++) d.v[i] = first[i] == k ? gradient.v[i] : 0.0f;
        store_unit(dx + p.corner + (k & 1) * p.right + (k >> 1) * p.down, d);
    }
}
