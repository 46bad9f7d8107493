// Twin of exp_f32, ln_f32 and sincos_pi in src/num/elementary.rs: the same constants, the same steps, the same bits.
#pragma once
#include "device.cuh"

constexpr float LN2_HIGH = 0.693145751953125f;
constexpr float LN2_LOW = 1.428606765330187e-6f;
// 1.5·2^23: adding and subtracting it rounds to the nearest integer.
constexpr float ROUNDER = 12582912.0f;

// 2^k for integral k in −126 … 127.
DEVICE float exp2_integral(float k) { return of_bits(u32(i32(k) + 127) << 23); }

// Natural logarithm.
DEVICE float ln_f32(float x) {
    const float P[9] = {0.3333331346511841f,   -0.2500016689300537f,  0.20002223551273346f,
                        -0.16659358143806458f, 0.14209558069705963f,  -0.12550175189971924f,
                        0.12108469009399414f,  -0.10914386808872223f, 0.05344042181968689f};
    const bool subnormal = x < of_bits(0x00800000u);
    const u32 bits = bits_of(subnormal ? x * 8388608.0f : x), above = bits - 0x3f3504f3u;
    float k = float(i32(above) >> 23);
    k = subnormal ? k - 23.0f : k;
    const float f = of_bits(bits - (above & 0xff800000u)) - 1.0f;
    float p = P[8];
#pragma unroll
    for (int i = 7; i >= 0; i--) p = fma32(p, f, P[i]);
    const float t = (f * f) * fma32(f, p, -0.5f);
    const float k_ln2 = k * LN2_HIGH, high = k_ln2 + f, low = f - (high - k_ln2);
    const float y = high + (low + fma32(k, LN2_LOW, t));
    const float infinity = of_bits(0x7f800000u);
    return x < 0.0f ? of_bits(0x7fc00000u) : x < of_bits(1u) ? -infinity : x < infinity ? y : x;
}

// e^x.
DEVICE float exp_f32(float x) {
    const float Q[6] = {0.5f,
                        0.16666647791862488f,
                        0.041666481643915176f,
                        0.008337879553437233f,
                        0.0013933306327089667f,
                        0.00017325254157185555f};
    const float least = -104.0f, most = 89.0f, per_ln2 = 1.44269504088896340736f;
    float inside = x < least ? least : x;
    inside = inside < most ? inside : most;
    const float k = fma32(inside, per_ln2, ROUNDER) - ROUNDER;
    const float near = fma32(-k, LN2_HIGH, inside), r = fma32(-k, LN2_LOW, near), r_low = fma32(-k, LN2_LOW, near - r);
    float q = Q[5];
#pragma unroll
    for (int i = 4; i >= 0; i--) q = fma32(q, r, Q[i]);
    const float high = 1.0f + r, low = r - (high - 1.0f);
    const float y = high + (low + fma32(r * r, q, r_low));
    const float half = fma32(k, 0.5f, ROUNDER) - ROUNDER;
    const float z = y * exp2_integral(half) * exp2_integral(k - half);
    return x < of_bits(0x7f800000u) ? z : x;
}

struct SineCosine {
    double sine, cosine;
};

// sin πx and cos πx of a finite x below 2^53.
DEVICE SineCosine sincos_pi(double x) {
    constexpr double PI = 3.14159265358979323846, PI_TAIL = 1.2246467991473532e-16;
    const double S[6] = {-0.1666666666666663,  0.00833333333332184,    -0.00019841269829358528,
                         2.7557313538514276e-6, -2.505073438927841e-8, 1.5895433291834783e-10};
    const double C[6] = {0.041666666666666595,  -0.0013888888888873342, 2.480158728900208e-5,
                         -2.755731421703886e-7, 2.087570539602897e-9,   -1.135874923988918e-11};
    const double n = nearest64(2.0 * x), t = x - 0.5 * n;
    const int quarter = int(n - 4.0 * floor64(0.25 * n));
    const double a = PI * t, tail = fma64(PI_TAIL, t, fma64(PI, t, -a));
    const double z = a * a, z_tail = fma64(a, a, -z);
    double of_s = S[5], of_c = C[5];
#pragma unroll
    for (int i = 4; i >= 0; i--) {
        of_s = fma64(of_s, z, S[i]);
        of_c = fma64(of_c, z, C[i]);
    }
    const double w = fma64(-0.5, z, 1.0);
    const double s = a + fma64(a * z, of_s, tail * w);
    const double w_tail = fma64(-0.5, z, 1.0 - w);
    const double rest = fma64(z * z, of_c, -(a * tail)) - 0.5 * z_tail;
    const double c = w + (w_tail + rest);
    const double sine = quarter == 0 ? s : quarter == 1 ? c : quarter == 2 ? -s : -c;
    const double cosine = quarter == 0 ? c : quarter == 1 ? -s : quarter == 2 ? -c : s;
    return SineCosine{sine + 0.0, cosine + 0.0};
}
