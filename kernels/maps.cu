// Twin of src/kernels/maps.rs: maps get their border before something is written inside.
#include "maps.cuh"

// Borders of all planes are +0; a thread each position and quarter of its lanes. grid: (positions of a border · 4, planes).
KERNEL(256) clear_borders(float *data, Shape s, i32 planes) {
    const int i = int(blockIdx.x * blockDim.x + threadIdx.x), quarter = i % 4, at = i / 4;
    const int pitch = pitch_of(s), rows = s.h + 2 * BORDER;
    // Top, bottom, left, right.
    const int ends = 2 * pitch, all = ends + 2 * s.h;
    if (at >= all) return;
    int y, x;
    if (at < ends) {
        y = at < pitch ? 0 : rows - 1;
        x = at % pitch;
    } else {
        y = 1 + (at - ends) / 2;
        x = (at - ends) % 2 ? pitch - 1 : 0;
    }
    for (int plane = int(blockIdx.y); plane < planes; plane += int(gridDim.y))
        store4(data + (plane * plane_of(s) + i64(y) * pitch + x) * LANES + 4 * quarter, F4{0, 0, 0, 0});
}
