// A convolution to be done: what conv.cu and narrow.cu are given. src/kernels/cuda/arguments.rs has the same fields.
#pragma once
#include "maps.cuh"

struct Source {
    const float *data;
    // Channels that are not idle, and groups of sixteen.
    i32 channels, planes;
};

// One stencil of it.
struct Convolution {
    Source sources[2];
    // Of a source; samples and channels are not looked at.
    Shape in;
    Shape out;
    i32 planes;
    i32 stride, step, phase_row, phase_column;
    i32 taps;
    i32 weight[9], row[9], column[9];
    // Lanes of a group of output channels.
    i32 per_group;
    const float *weights;
    // None is 0.
    const float *bias;
    i32 has_slope;
    float slope;
    // Added last: none, or maps of the output's shape; y itself for what is there.
    const float *add;
    float *y;
};

// Rows and columns of outputs that a stencil makes, and their number.
DEVICE int extent(int size, int phase, int step) { return (size - phase + step - 1) / step; }

// What follows the sum; `add` counts where there is something to add.
DEVICE float finish(const Convolution &c, float sum, float add) {
    if (c.has_slope) sum = sum < 0.0f ? c.slope * sum : sum;
    return c.add ? sum + add : sum;
}
