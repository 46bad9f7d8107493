// What kernels are written in: one text for nvcc (device code) and for a C++ compiler (tests/cuda/emulation.h, which
// runs it on the CPU). No header of CUDA is needed, so NVRTC and clang read it, too.
//
// Strict kernels: compile with -fmad=false -prec-div=true -prec-sqrt=true -ftz=false; a + b, a * b, a / b are then the
// roundings of IEEE 754, and a fused multiply-add is written as fma32. Nothing here is approximate.
#pragma once

#if defined(__CUDACC__) || (defined(__clang__) && defined(__CUDA__))
// ---------------------------------------------------------------------------------------------------- the device
#define DEVICE static __device__ __forceinline__
#define KERNEL(threads) extern "C" __global__ void __launch_bounds__(threads)
#define ALIGNED(bytes) __align__(bytes)
// Shared memory whose size the launch gives.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]

typedef unsigned char u8;
typedef unsigned short u16;
typedef short i16;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long long u64;
typedef long long i64;

DEVICE float fma32(float a, float b, float c) { return __fmaf_rn(a, b, c); }
DEVICE double fma64(double a, double b, double c) { return __fma_rn(a, b, c); }
DEVICE double floor64(double x) {
    double r;
    asm("cvt.rmi.f64.f64 %0, %1;" : "=d"(r) : "d"(x));
    return r;
}
// To the nearest integer, halves to even.
DEVICE double nearest64(double x) {
    double r;
    asm("cvt.rni.f64.f64 %0, %1;" : "=d"(r) : "d"(x));
    return r;
}
DEVICE float sqrt32(float x) { return __fsqrt_rn(x); }
DEVICE double sqrt64(double x) { return __dsqrt_rn(x); }
DEVICE u32 bits_of(float x) { return __float_as_uint(x); }
DEVICE float of_bits(u32 x) { return __uint_as_float(x); }
DEVICE u32 high_of_product(u32 a, u32 b) { return __umulhi(a, b); }
DEVICE u32 count_ones(u32 x) { return __popc(x); }
// Integers only: a sum of floats would take the order of the threads.
DEVICE void atomic_add(u32 *to, u32 n) { atomicAdd(to, n); }
DEVICE void atomic_or(u32 *to, u32 n) { atomicOr(to, n); }

// Address of shared memory as the instructions below want it.
DEVICE u32 shared_address(const void *p) { return (u32)__cvta_generic_to_shared(p); }

// Half precision: 16 bits of IEEE 754 binary16.
typedef u16 h16;
DEVICE float h2f(h16 h) {
    float f;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
    return f;
}
DEVICE h16 f2h(float f) {
    h16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
    return h;
}
// Two halves in a word, `low` in its low half.
DEVICE u32 pack2(float low, float high) {
    u32 r;
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(high), "f"(low));
    return r;
}

// Matrices of 8×8 halves from shared memory: lane i gives the address of row i % 8 of matrix i / 8; a lane gets the
// pair of columns 2·(lane % 4) of row lane / 4, transposed in the second kind.
DEVICE void ldsm4(u32 (&r)[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p))
                 : "memory");
}
DEVICE void ldsm4t(u32 (&r)[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(p))
                 : "memory");
}
DEVICE void ldsm2(u32 (&r)[2], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(p))
                 : "memory");
}
DEVICE void ldsm2t(u32 (&r)[2], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(shared_address(p))
                 : "memory");
}
// c += a·b of 16×16 and 16×8 halves, sums in f32 as the tensor core rounds them.
DEVICE void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Copies from global to shared memory behind the thread's back: there after cp_wait of their group and a barrier.
DEVICE void cp16(void *shared, const void *global) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(shared)), "l"(global) : "memory");
}
// The same, or zeros where `there` is false; the address must be valid all the same.
DEVICE void cp16_or_zero(void *shared, const void *global, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)), "l"(global),
                 "r"(there ? 16 : 0)
                 : "memory");
}
DEVICE void cp_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups of this thread are under way.
template <int N> DEVICE void cp_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Of all 32 lanes of a warp.
DEVICE float shfl_xor(float v, int mask) { return __shfl_xor_sync(0xffffffffu, v, mask); }
DEVICE float shfl(float v, int lane) { return __shfl_sync(0xffffffffu, v, lane); }
DEVICE u32 vote(bool v) { return __ballot_sync(0xffffffffu, v); }

#else
#include "emulation.h"
#endif

// Sixteen bytes that are read and written at once.
struct ALIGNED(16) F4 {
    float x, y, z, w;
};
struct ALIGNED(16) U4 {
    u32 x, y, z, w;
};
struct ALIGNED(8) U2 {
    u32 x, y;
};
