// Twin of src/kernels/pool.rs: max-pooling 2×2, stride 2.
//
//   y[n, c, i, j] = max of x[n, c, 2i + a, 2j + b],  a, b in 0, 1
//   dx = dy at the first maximum in row order, 0 elsewhere
#include "maps.cuh"

// A thread each number of y, whose shape is s. grid: (numbers / 256).
KERNEL(256) max_pool(const float *x, float *y, Shape s) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const int lane = int(i % LANES), column = int(i / LANES % s.w), row = int(i / LANES / s.w % s.h);
    const i64 plane = i / LANES / s.w / s.h;
    if (plane >= i64(s.n) * groups_of(s)) return;
    const Shape fine = {s.n, s.c, 2 * s.h, 2 * s.w};
    const float *from = x + inside(fine, plane, 2 * row, 2 * column) + lane;
    float most = from[0];
    for (int k = 1; k < 4; k++) {
        const float v = from[((k >> 1) * pitch_of(fine) + (k & 1)) * LANES];
        most = most < v ? v : most;
    }
    y[inside(s, plane, row, column) + lane] = most;
}

// A thread each number of dy, four of dx. grid: (numbers / 256).
KERNEL(256) max_pool_gradient(const float *x, const float *dy, float *dx, Shape s) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    const int lane = int(i % LANES), column = int(i / LANES % s.w), row = int(i / LANES / s.w % s.h);
    const i64 plane = i / LANES / s.w / s.h;
    if (plane >= i64(s.n) * groups_of(s)) return;
    const Shape fine = {s.n, s.c, 2 * s.h, 2 * s.w};
    const i64 corner = inside(fine, plane, 2 * row, 2 * column) + lane;
    int first = 0;
    float most = x[corner];
    for (int k = 1; k < 4; k++) {
        const float v = x[corner + ((k >> 1) * pitch_of(fine) + (k & 1)) * LANES];
        if (most < v) {
            most = v;
            first = k;
        }
    }
    const float gradient = dy[inside(s, plane, row, column) + lane];
    for (int k = 0; k < 4; k++)
        dx[corner + ((k >> 1) * pitch_of(fine) + (k & 1)) * LANES] = k == first ? gradient : 0.0f;
}
