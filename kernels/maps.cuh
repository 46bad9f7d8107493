// How feature maps lie in memory: see src/kernels/maps.rs. Sixteen channels side by side, a border of one pixel of zeros.
#pragma once
#include "device.cuh"

constexpr int LANES = 16;
constexpr int BORDER = 1;

// Samples, channels, rows, columns.
struct Shape {
    i32 n, c, h, w;
};

// Groups of sixteen channels.
DEVICE int groups_of(Shape s) { return (s.c + LANES - 1) / LANES; }
// Positions from a row to the next.
DEVICE int pitch_of(Shape s) { return s.w + 2 * BORDER; }
// Positions of a plane.
DEVICE i64 plane_of(Shape s) { return i64(s.h + 2 * BORDER) * pitch_of(s); }
// The first number of position (y, x) inside plane `plane` = n·groups + group.
DEVICE i64 inside(Shape s, i64 plane, int y, int x) {
    return (plane * plane_of(s) + i64(y + BORDER) * pitch_of(s) + x + BORDER) * LANES;
}

DEVICE F4 load4(const float *p) { return *(const F4 *)p; }
DEVICE void store4(float *p, F4 v) { *(F4 *)p = v; }
// The k-th number.
DEVICE float part(const F4 &v, int k) { return k == 0 ? v.x : k == 1 ? v.y : k == 2 ? v.z : v.w; }
