// Twin of src/kernels/filter.rs: a filter with inputs and outputs exchanged, for the gradient by x.
#include "maps.cuh"

// to [slot / 16][tap][output channel][slot % 16] of from [output channel / 16][tap][slot][output channel % 16]; a thread
// each number of `to`. grid: (count / 256).
KERNEL(256) swap_filter(float *to, const float *from, i32 taps, i32 slots, i32 groups, i64 count) {
    const i64 i = i64(blockIdx.x) * blockDim.x + threadIdx.x;
    if (i >= count) return;
    const int lane = int(i % LANES), outputs = groups * LANES;
    const i64 row = i / LANES;
    const int output = int(row % outputs), tap = int(row / outputs % taps), group = int(row / outputs / taps);
    const i64 slot = i64(group) * LANES + lane;
    to[i] = from[((i64(output / LANES) * taps + tap) * slots + slot) * LANES + output % LANES];
}
