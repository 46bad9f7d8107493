// The emulation itself: a product on (emulated) tensor cores against f64 in all orders of threads, and planted errors,
// which it must find. `emulation_test` runs the first; `emulation_test NAME` plants NAME and is to fail or to say
// "differs".
#include "device.cuh"
#include <algorithm>
#include <string>

enum Plant { NOTHING, NO_BARRIER, NO_WAIT, DIVERGENT, PART_BARRIER, MISALIGNED, IN_FLIGHT, UNWRITTEN };
static Plant plant = NOTHING;

// c = a·bᵀ of 64×64 tiles, sums in f32.
KERNEL(128) product(const h16 *a, const h16 *b, float *c, int n, int depth) {
    __shared__ ALIGNED(16) h16 x[64][40];
    __shared__ ALIGNED(16) h16 y[64][40];
    const int t = int(threadIdx.x), lane = t & 31, warp = t >> 5, row = int(blockIdx.y) * 64, column = int(blockIdx.x) * 64;
    float sums[8][4] = {};
    for (int k0 = 0; k0 < depth; k0 += 32) {
        for (int i = 0; i < 2; i++) {
            const int r = (t + 128 * i) >> 2, q = ((t + 128 * i) & 3) * 8;
            cp16(&x[r][q] + (plant == MISALIGNED), a + i64(row + r) * depth + k0 + q);
            if (plant != UNWRITTEN || r != 63) cp16_or_zero(&y[r][q], b + i64(column + r) * depth + k0 + q, true);
        }
        cp_commit();
        if (plant != NO_WAIT && plant != IN_FLIGHT) cp_wait<0>();
        if (plant == PART_BARRIER && warp == 3) return;
        if (plant != NO_BARRIER) __syncthreads();
        for (int kk = 0; kk < 32; kk += 16) {
            u32 p[4], q[4];
            if (plant == DIVERGENT && lane == 5) continue;
            ldsm4(p, &x[warp * 16 + (lane & 15)][kk + (lane >> 4) * 8]);
            for (int j = 0; j < 4; j++) {
                ldsm4(q, &y[j * 16 + (lane & 7) + ((lane >> 4) << 3)][kk + ((lane >> 3) & 1) * 8]);
                mma(sums[2 * j], p, q[0], q[1]);
                mma(sums[2 * j + 1], p, q[2], q[3]);
            }
        }
        if (plant == NO_WAIT) cp_wait<0>();
        __syncthreads();
    }
    for (int j = 0; j < 8; j++) {
        float *to = c + i64(row + warp * 16 + (lane >> 2)) * n + column + j * 8 + (lane & 3) * 2;
        to[0] = sums[j][0];
        to[1] = sums[j][1];
        to[8 * n] = sums[j][2];
        to[8 * n + 1] = sums[j][3];
    }
}

// What a lane exchanges, and a transposed ldmatrix against a plain one.
KERNEL(32) exchange(const h16 *from, float *to) {
    __shared__ ALIGNED(16) h16 x[32][8];
    const int lane = int(threadIdx.x);
    for (int i = 0; i < 8; i++) x[lane][i] = from[lane * 8 + i];
    __syncthreads();
    u32 plain[4], turned[4], two[2];
    ldsm4(plain, &x[lane][0]);
    ldsm4t(turned, &x[lane][0]);
    ldsm2t(two, &x[lane & 15][0]);
    int wrong = two[1] != turned[1];
    for (int m = 0; m < 4; m++)
        for (int i = 0; i < 2; i++) {
            wrong += h16(plain[m] >> 16 * i) != x[8 * m + lane / 4][2 * (lane % 4) + i];
            wrong += h16(turned[m] >> 16 * i) != x[8 * m + 2 * (lane % 4) + i][lane / 4];
        }
    wrong += shfl_xor(float(lane), 5) != float(lane ^ 5);
    wrong += shfl(float(lane), 7) != 7.0f;
    wrong += vote(lane % 3 == 0) != 0x49249249u;
    wrong += pack2(1.0f, 2.0f) != (0x4000u << 16 | 0x3c00u);
    to[lane] = float(wrong);
}

int main(int argc, char **argv) {
    const char *names[] = {"", "barrier", "wait", "divergent", "part", "misaligned", "flight", "unwritten"};
    for (int i = 1; i < 8; i++)
        if (argc > 1 && std::string(argv[1]) == names[i]) plant = Plant(i);
    const int n = 128, depth = 256;
    std::vector<h16> a(n * depth), b(n * depth);
    const auto value = [] { return float(emulation::random_number() % 2001) / 1000.0f - 1.0f; };
    std::generate(a.begin(), a.end(), [&] { return f2h(value()); });
    std::generate(b.begin(), b.end(), [&] { return f2h(value()); });
    std::vector<float> first;
    bool differs = false;
    for (int order = 0; order < 3; order++) {
        std::vector<float> c(n * n, NAN);
        emulation::launch("product", dim3(n / 64, n / 64), dim3(128), 0, emulation::Order(order),
                          [&] { product(a.data(), b.data(), c.data(), n, depth); });
        double error = 0, size = 0;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++) {
                double sum = 0;
                for (int k = 0; k < depth; k++) sum += double(h2f(a[i * depth + k])) * h2f(b[j * depth + k]);
                error = std::fmax(error, std::fabs(c[i * n + j] - sum)), size = std::fmax(size, std::fabs(sum));
                if (c[i * n + j] != c[i * n + j]) differs = true;
            }
        // 256 sums of f32, each rounded by at most half an ulp of what is summed until then.
        if (!(error <= depth * 6e-8 * size)) differs = true;
        if (order == 0) first = c;
        if (std::memcmp(first.data(), c.data(), c.size() * 4)) differs = true;
    }
    std::vector<h16> distinct(32 * 8);
    for (size_t i = 0; i < distinct.size(); i++) distinct[i] = h16(i);
    std::vector<float> wrong(32, NAN);
    emulation::launch("exchange", dim3(1), dim3(32), 0, emulation::Order::Shuffled,
                      [&] { exchange(distinct.data(), wrong.data()); });
    for (float w : wrong) differs = differs || w != 0.0f;
    std::puts(differs ? "differs" : "same");
    return 0;
}
