// Fast twin of src/kernels/filter.rs: the weights of a stencil as the matrix that fast_conv.cu multiplies with.
//
//   [group of sixteen outputs][tap][slot][output % 16], f32     →     [output][unit of the depth][channel % 8], fp16
//
// The depth is the taps of the stencil, in its order, each with the units of eight channels of the first source, then of
// the second, filled up with zeros to whole chunks; outputs to whole groups.
#include "fast.cuh"

struct FastFilter {
    const float *weights;
    h16 *to;
    i32 taps;
    i32 weight[9];
    // Lanes of a group, input slots of a tap, channels of the two sources.
    i32 per_group, slots, first, second;
    i32 groups, depth;
};

// A thread sixteen outputs of a number of the depth. grid: (depth / 256, groups).
KERNEL(256) fast_filter(FastFilter f) {
    const int k = int(blockIdx.x * blockDim.x + threadIdx.x), group = int(blockIdx.y);
    if (k >= f.depth) return;
    const int units = units_of(f.first), per_tap = units + units_of(f.second);
    const int tap = k / UNIT / per_tap, unit = k / UNIT % per_tap;
    const bool second = unit >= units;
    const int channel = (second ? unit - units : unit) * UNIT + k % UNIT;
    const bool there = tap < f.taps && channel < (second ? f.second : f.first);
    const int slot = (second ? (f.first + LANES - 1) / LANES * LANES : 0) + channel;
    int weight = 0;
#pragma unroll
    for (int i = 0; i < 9; i++) weight = i == tap ? f.weight[i] : weight;
    const i64 from = there ? (i64(group) * f.per_group + i64(weight) * f.slots + slot) * LANES : 0;
#pragma unroll
    for (int half = 0; half < 2; half++) {
        const Eight w = load_eight(f.weights + from + UNIT * half);
#pragma unroll
        for (int i = 0; i < UNIT; i++)
            f.to[(i64(group) * LANES + UNIT * half + i) * f.depth + k] = there ? f2h(w.v[i]) : h16(0);
    }
}
