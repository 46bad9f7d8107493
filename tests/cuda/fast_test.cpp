// The fast kernels on the emulation, as they are and with errors planted in their text (tests/cuda.rs): `fast_test NAME`
// runs the variant NAME of planted.inc in all orders of threads, and says "same" where all give the same bits within the
// bound of the exact result, else "differs".
//
// The exact result is of f64 from the very halves that are multiplied; a sum of n terms may err by 9/8·n·2⁻²³ of the sum of
// their magnitudes (src/kernels/cuda/fast.rs), what is stored by 2⁻¹¹ of itself and 2⁻²⁵ (half the smallest step of fp16).
#include "conv.cuh"
#include "dropout.cu"
#include "elementary.cuh"
#include "fast.cuh"
#include <algorithm>
#include <string>

// A name for each variant of a kernel, in its namespace.
#undef KERNEL
#define KERNEL(threads) static void __attribute__((unused))
#include "planted.inc"

static float value() { return float(emulation::random_number() % 2001) / 1000.0f - 1.0f; }
static std::vector<h16> halves(size_t n) {
    std::vector<h16> h(n);
    std::generate(h.begin(), h.end(), [] { return f2h(value()); });
    return h;
}

// Runs in all orders; false where bits differ or `wrong` finds an error.
template <class Run, class Wrong> static bool fine(size_t bytes, void *to, Run run, Wrong wrong) {
    std::vector<char> first;
    for (int order = 0; order < 3; order++) {
        std::memset(to, emulation::POISON, bytes);
        run(emulation::Order(order));
        const std::vector<char> now((char *)to, (char *)to + bytes);
        if (order == 0) first = now;
        if (first != now || wrong()) return false;
    }
    return true;
}
static bool beyond(double found, double exact, double sum, int terms, bool stored) {
    const double bound = 1.125 * terms * 0x1p-23 * sum + (stored ? 0x1p-11 * std::fabs(exact) * 1.01 + 0x1p-25 : 0);
    return !(std::fabs(found - exact) <= bound);
}

// 3×3 of two sources of 21 and 8 channels, whose units are not full, to 20 outputs; odd sizes.
template <class C> static bool convolution(void (*kernel)(C), dim3 block, int pixels, int channels) {
    const int n = 2, h = 5, w = 33, inputs[2] = {21, 8}, units[2] = {3, 1}, outputs = 20, padded = 24;
    const int depth = (9 * 32 + 31) / 32 * 32;
    std::vector<h16> x[2] = {halves(n * h * w * 24), halves(n * h * w * 8)}, weights = halves(32 * depth);
    std::vector<h16> add = halves(n * h * w * padded), y(n * h * w * padded);
    std::vector<float> bias(32);
    std::generate(bias.begin(), bias.end(), value);
    for (int p = 0; p < n * h * w; p++)
        for (int c = 21; c < 24; c++) x[0][p * 24 + c] = 0;
    for (int k = 0; k < 32 * depth; k++) {
        const int co = k / depth, d = k % depth, c = d % 32;
        if (co >= outputs || d >= 9 * 32 || (c >= inputs[0] && c < 24)) weights[k] = 0;
    }
    std::fill(bias.begin() + outputs, bias.end(), 0.0f);
    C c = {};
    c.sources[0].data = x[0].data(), c.sources[0].units = units[0];
    c.sources[1].data = x[1].data(), c.sources[1].units = units[1];
    c.in = {n, 0, h, w}, c.out = {n, outputs, h, w};
    c.stride = c.step = 1, c.taps = 9, c.chunks = depth / 32;
    for (int t = 0; t < 9; t++) c.row[t] = t / 3 - 1, c.column[t] = t % 3 - 1;
    c.weights = weights.data(), c.bias = bias.data(), c.has_slope = 1, c.slope = 0.25f, c.add = add.data(), c.y = y.data();
    const dim3 grid((n * h * w + pixels - 1) / pixels, (padded + channels - 1) / channels);
    const auto wrong = [&] {
        for (int p = 0; p < n * h * w; p++)
            for (int o = 0; o < padded; o++) {
                double sum = bias[o], size = std::fabs(bias[o]);
                for (int t = 0; t < 9; t++) {
                    const int row = p / w % h + t / 3 - 1, column = p % w + t % 3 - 1;
                    if (row < 0 || row >= h || column < 0 || column >= w) continue;
                    const i64 at = (i64(p / w / h) * h + row) * w + column;
                    for (int k = 0; k < 32; k++) {
                        const double v = h2f(k < 24 ? x[0][at * 24 + k] : x[1][at * 8 + k - 24]);
                        const double product = v * h2f(weights[o * depth + t * 32 + k]);
                        sum += product, size += std::fabs(product);
                    }
                }
                const double r = h2f(add[p * padded + o]), exact = (sum < 0 ? 0.25 * sum : sum) + r;
                if (beyond(h2f(y[p * padded + o]), exact, size + std::fabs(r), 9 * 29 + 2, true)) return true;
            }
        return false;
    };
    return fine(y.size() * 2, y.data(), [&](emulation::Order order) {
        emulation::launch("convolve", grid, block, 0, order, [&] { kernel(c); });
    }, wrong);
}

// 3×3 of stride 2, 20 channels to 40 outputs; chunks that end inside a pass.
template <class G> static bool weight_gradient(void (*kernel)(G), dim3 block, int side) {
    const int n = 3, h = 9, w = 11, fine_h = 17, fine_w = 21, outputs = 40, slots = 32, groups = 3, chunk = 160;
    const int chunks = (n * h * w + chunk - 1) / chunk;
    std::vector<h16> x = halves(n * fine_h * fine_w * 24), dy = halves(n * h * w * outputs);
    std::vector<float> parts(chunks * groups * 9 * slots * 16);
    G g = {};
    g.x[0].data = x.data(), g.x[0].units = 3, g.x[0].h = fine_h, g.x[0].w = fine_w, g.x[0].step = 2;
    g.x[1] = g.x[0], g.x[1].units = 0;
    g.dy.data = dy.data(), g.dy.units = 5, g.dy.h = h, g.dy.w = w, g.dy.step = 1;
    for (int t = 0; t < 9; t++) g.x[0].row[t] = t / 3 - 1, g.x[0].column[t] = t % 3 - 1;
    g.n = n, g.h = h, g.w = w, g.chunk = chunk, g.taps = 9, g.slots = slots, g.groups = groups, g.first_slots = slots;
    g.parts = parts.data();
    const dim3 grid((slots + side - 1) / side * 9 * ((groups * 16 + side - 1) / side), chunks);
    const auto wrong = [&] {
        for (size_t i = 0; i < parts.size(); i++) {
            const int co = i % 16 + i / 16 / slots / 9 % groups * 16, ci = i / 16 % slots, tap = i / 16 / slots % 9;
            const int first = int(i / 16 / slots / 9 / groups) * chunk;
            double sum = 0, size = 0;
            for (int p = first; p < std::min(first + chunk, n * h * w); p++) {
                const int row = 2 * (p / w % h) + tap / 3 - 1, column = 2 * (p % w) + tap % 3 - 1;
                if (co >= outputs || ci >= 24 || row < 0 || row >= fine_h || column < 0 || column >= fine_w) continue;
                const double product = double(h2f(dy[p * outputs + co])) *
                                       h2f(x[((p / w / h * fine_h + row) * fine_w + column) * 24 + ci]);
                sum += product, size += std::fabs(product);
            }
            if (beyond(parts[i], sum, size, chunk, false)) return true;
        }
        return false;
    };
    return fine(parts.size() * 4, parts.data(), [&](emulation::Order order) {
        emulation::launch("weight_gradient", grid, block, 0, order, [&] { kernel(g); });
    }, wrong);
}

// The image's, whose planes have a border: 3×3 of stride 2 to 20 channels.
template <class G> static bool image_gradient(void (*kernel)(G)) {
    const int n = 2, h = 9, w = 11, fine_h = 18, fine_w = 22, groups = 2, chunk = 96, chunks = (n * h * w + 95) / 96;
    std::vector<float> x(n * (fine_h + 2) * (fine_w + 2)), parts(chunks * groups * 9 * 16);
    std::generate(x.begin(), x.end(), value);
    std::vector<h16> dy = halves(n * h * w * 24);
    G g = {};
    g.x[0].data = (const h16 *)x.data(), g.x[0].units = 1, g.x[0].h = fine_h, g.x[0].w = fine_w, g.x[0].step = 2;
    g.dy.data = dy.data(), g.dy.units = 3, g.dy.h = h, g.dy.w = w, g.dy.step = 1;
    for (int t = 0; t < 9; t++) g.x[0].row[t] = t / 3, g.x[0].column[t] = t % 3;
    g.n = n, g.h = h, g.w = w, g.chunk = chunk, g.taps = 9, g.slots = 1, g.groups = groups, g.parts = parts.data();
    const auto wrong = [&] {
        for (size_t i = 0; i < parts.size(); i++) {
            const int lane = i % 16, tap = i / 16 % 9, co = i / 16 / 9 % groups * 16 + lane, first = i / 16 / 9 / groups * chunk;
            double sum = 0, size = 0;
            for (int p = first; p < std::min(first + chunk, n * h * w); p++) {
                const int row = 2 * (p / w % h) + tap / 3, column = 2 * (p % w) + tap % 3;
                const double product = (co < 24 ? h2f(dy[p * 24 + co]) : 0.0) *
                                       double(x[(p / w / h * (fine_h + 2) + row) * (fine_w + 2) + column]);
                sum += product, size += std::fabs(product);
            }
            if (beyond(parts[i], sum, size, chunk, false)) return true;
        }
        return false;
    };
    return fine(parts.size() * 4, parts.data(), [&](emulation::Order order) {
        emulation::launch("image", dim3(groups, chunks), dim3(144), 0, order, [&] { kernel(g); });
    }, wrong);
}

// Moments of 20 channels whose mean is far from 0, of rows that are no whole runs.
template <class M>
static bool moments(void (*parts_of)(const h16 *, Shape, i32, M *), void (*join)(const M *, i32, i32, M *)) {
    const Shape s = {2, 20, 13, 43};
    const int units = 4, rows = 24, blocks = (2 * 13 * 6 + 63) / 64;
    std::vector<h16> x = halves(2 * 13 * 43 * 24);
    for (h16 &v : x) v = f2h(h2f(v) + 30.0f);
    std::vector<M> parts(rows * blocks), all(rows);
    const auto wrong = [&] {
        for (int c = 0; c < 20; c++) {
            double mean = 0, m2 = 0;
            const int n = 2 * 13 * 43;
            for (int p = 0; p < n; p++) mean += h2f(x[p * 24 + c]) / double(n);
            for (int p = 0; p < n; p++) m2 += std::pow(h2f(x[p * 24 + c]) - mean, 2);
            // Eight numbers of 30 are summed in f32, and the squares of what is left of them.
            if (!(all[c].n == n && std::fabs(all[c].mean - mean) < 8 * 0x1p-24 * 31 && std::fabs(all[c].m2 - m2) < 1e-5 * m2))
                return true;
        }
        return false;
    };
    return fine(all.size() * sizeof(M), all.data(), [&](emulation::Order order) {
        std::memset((void *)parts.data(), emulation::POISON, parts.size() * sizeof(M));
        emulation::launch("moments", dim3(blocks, 1), dim3(256), 0, order, [&] { parts_of(x.data(), s, units, parts.data()); });
        emulation::launch("join", dim3(rows / 4), dim3(128), 0, order, [&] { join(parts.data(), rows, blocks, all.data()); });
    }, wrong);
}

static bool sums(void (*parts_of)(const h16 *, Shape, i32, double *), void (*join)(const double *, i32, i32, double *)) {
    const Shape s = {2, 20, 13, 43};
    const int rows = 24, blocks = (2 * 13 * 6 + 63) / 64;
    std::vector<h16> x = halves(2 * 13 * 43 * 24);
    std::vector<double> parts(rows * blocks), all(rows);
    const auto wrong = [&] {
        for (int c = 0; c < 24; c++) {
            double sum = 0, size = 0;
            for (int p = 0; p < 2 * 13 * 43; p++) sum += h2f(x[p * 24 + c]), size += std::fabs(h2f(x[p * 24 + c]));
            if (beyond(all[c], sum, size, 8, false)) return true;
        }
        return false;
    };
    return fine(all.size() * 8, all.data(), [&](emulation::Order order) {
        std::memset(parts.data(), emulation::POISON, parts.size() * 8);
        emulation::launch("sums", dim3(blocks, 1), dim3(256), 0, order, [&] { parts_of(x.data(), s, 4, parts.data()); });
        emulation::launch("join", dim3(rows / 4), dim3(128), 0, order, [&] { join(parts.data(), rows, blocks, all.data()); });
    }, wrong);
}

int main(int argc, char **argv) {
    const std::string name = argc > 1 ? argv[1] : "";
    bool known = false, same = true;
#define VARIANT(label, space, test) \
    if (name == label) known = true, same = test(space);
#define CONV(space) \
    convolution(space::fast_convolve_128x32, dim3(128), 128, 32) && convolution(space::fast_convolve_64x64, dim3(128), 64, 64)
#define GRADIENT(space) \
    weight_gradient(space::fast_weight_gradient_32, dim3(128), 32) && image_gradient(space::fast_weight_gradient_image)
#define MOMENTS(space) \
    moments(space::fast_moments, space::fast_join_moments) && sums(space::fast_sums, space::fast_join_sums)
#include "variants.inc"
    std::puts(!known ? "unknown" : same ? "same" : "differs");
    return 0;
}
