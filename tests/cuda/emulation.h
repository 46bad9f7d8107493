// Runs CUDA kernels on the CPU, to test them where no GPU is: one fiber per CUDA thread, blocks one after another.
//
// What it finds: memory that is read before it is written (shared memory is full of NaN bytes when a block begins), a
// missing barrier (threads run in three orders, each up to its next barrier, so results depend on the order), a missing
// cp_wait (a copy's target holds NaN bytes until the wait), a collective that only part of a warp reaches, a barrier
// that only part of a block reaches, addresses that are not aligned, threads that end with copies under way; and, under
// the address sanitizer, what lies outside an allocation.
//
// What it does not: races between blocks, the rounding of tensor cores (f32 sums of exact products here), time.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

typedef uint8_t u8;
typedef uint16_t u16;
typedef int16_t i16;
typedef uint32_t u32;
typedef int32_t i32;
typedef unsigned long long u64;
typedef long long i64;
typedef u16 h16;

struct dim3 {
    unsigned x, y, z;
    dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define DEVICE static inline
#define KERNEL(threads) extern "C" void
#define ALIGNED(bytes) __attribute__((aligned(bytes)))
#define __restrict__ __restrict
// All shared memory lies in one section, which is poisoned before every block.
#define __shared__ static __attribute__((section("cuda_shared")))
#define DYNAMIC_SHARED(name) unsigned char *name = emulation::state.dynamic.data()
extern "C" char __start_cuda_shared[] __attribute__((weak)), __stop_cuda_shared[] __attribute__((weak));

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define UNPOISON(p, n) ((void)0)
#endif

namespace emulation {

// Bytes of what was never written; as floats, NaN.
constexpr int POISON = 0xff;
constexpr int WARP = 32;
constexpr size_t STACK = 64 * 1024;

enum class At { Running, Barrier, Collective, End };

struct Copy {
    void *to;
    const void *from;
    bool there;
};

// Computes a collective for all lanes at once, from what each gave to what each gets.
typedef void (*Collective)(const void *const *in, void *const *out);

struct Fiber {
    void *stack_pointer = nullptr;
    char *stack = nullptr;
    dim3 index;
    int number = 0;
    At at = At::Running;
    Collective collective = nullptr;
    const void *in = nullptr;
    void *out = nullptr;
    std::vector<Copy> open;
    std::vector<std::vector<Copy>> groups;
};

// In which order threads run between two barriers.
enum class Order { Forward, Backward, Shuffled };

struct State {
    dim3 block_dim, grid_dim, block;
    std::vector<Fiber> fibers;
    Fiber *current = nullptr;
    void *scheduler = nullptr;
    std::function<void()> body;
    std::vector<unsigned char> dynamic;
    Order order = Order::Forward;
    u32 shuffle = 1;
    const char *kernel = "?";
};
inline State state;

// Saves the registers that a call keeps on this stack, and goes on where the other stack stopped.
extern "C" void emulation_switch(void **save, void *to);
#if defined(__x86_64__)
asm(R"(.text
.globl emulation_switch
.weak emulation_switch
.type emulation_switch,@function
emulation_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp,(%rdi)
    mov %rsi,%rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emulation_switch,.-emulation_switch
)");
#else
#error "the emulation of CUDA threads is written for x86-64"
#endif

[[noreturn]] inline void misuse(const char *what) {
    const Fiber *f = state.current;
    std::fprintf(stderr, "emulation: %s: %s (block %u,%u,%u, thread %d)\n", state.kernel, what, state.block.x,
                 state.block.y, state.block.z, f ? f->number : -1);
    std::abort();
}

inline void leave(At at) {
    state.current->at = at;
    emulation_switch(&state.current->stack_pointer, state.scheduler);
}

inline void entry() {
    state.body();
    bool flying = !state.current->open.empty();
    for (const std::vector<Copy> &group : state.current->groups) flying = flying || !group.empty();
    if (flying) misuse("a thread ended with copies under way");
    state.current->groups.clear();
    leave(At::End);
    misuse("a thread went on after its end");
}

inline void collective(Collective op, const void *in, void *out) {
    Fiber &f = *state.current;
    f.collective = op;
    f.in = in;
    f.out = out;
    leave(At::Collective);
}

inline void run_warp(std::vector<Fiber *> &order, Fiber *first, int lanes) {
    for (;;) {
        bool moved = false;
        for (Fiber *f : order) {
            if (f->at != At::Running) continue;
            moved = true;
            state.current = f;
            emulation_switch(&state.scheduler, f->stack_pointer);
        }
        int waiting = 0;
        for (int l = 0; l < lanes; l++) waiting += first[l].at == At::Collective;
        if (waiting) {
            state.current = first;
            if (waiting != WARP) misuse("only part of a warp reached a collective");
            const void *in[WARP];
            void *out[WARP];
            for (int l = 0; l < WARP; l++) {
                if (first[l].collective != first[0].collective) misuse("the lanes of a warp are at different collectives");
                in[l] = first[l].in;
                out[l] = first[l].out;
            }
            first[0].collective(in, out);
            for (int l = 0; l < WARP; l++) first[l].at = At::Running;
            moved = true;
        }
        if (!moved) return;
    }
}

inline u32 random_number() {
    state.shuffle = state.shuffle * 1664525u + 1013904223u;
    return state.shuffle >> 8;
}

// 0 … n − 1 as the order of the run says.
inline std::vector<int> ordered(int n) {
    std::vector<int> order(n);
    for (int i = 0; i < n; i++) order[i] = state.order == Order::Backward ? n - 1 - i : i;
    if (state.order == Order::Shuffled)
        for (int i = n - 1; i > 0; i--) std::swap(order[i], order[random_number() % (i + 1)]);
    return order;
}

inline void run_block() {
    const dim3 d = state.block_dim;
    const int n = int(d.x * d.y * d.z), warps = (n + WARP - 1) / WARP;
    if (__start_cuda_shared) std::memset(__start_cuda_shared, POISON, __stop_cuda_shared - __start_cuda_shared);
    if (!state.dynamic.empty()) std::memset(state.dynamic.data(), POISON, state.dynamic.size());
    for (int i = 0; i < n; i++) {
        Fiber &f = state.fibers[i];
        f.number = i;
        f.index = dim3(i % d.x, i / d.x % d.y, i / (d.x * d.y));
        f.at = At::Running;
        UNPOISON(f.stack, STACK);
        void **top = (void **)(((uintptr_t)f.stack + STACK - 64) & ~(uintptr_t)15);
        *--top = nullptr; // where `entry` would return to
        *--top = (void *)entry;
        for (int k = 0; k < 6; k++) *--top = nullptr; // the registers that a call keeps
        f.stack_pointer = top;
    }
    for (;;) {
        for (int w : ordered(warps)) {
            const int first = w * WARP, lanes = std::min(WARP, n - first);
            std::vector<Fiber *> order;
            for (int l : ordered(lanes)) order.push_back(&state.fibers[first + l]);
            run_warp(order, &state.fibers[first], lanes);
        }
        int ended = 0;
        for (int i = 0; i < n; i++) ended += state.fibers[i].at == At::End;
        if (ended == n) return;
        state.current = &state.fibers[0];
        if (ended) misuse("only part of a block reached a barrier");
        for (int i = 0; i < n; i++) state.fibers[i].at = At::Running;
    }
}

inline void launch(const char *kernel, dim3 grid, dim3 block, size_t shared, Order order, std::function<void()> body) {
    state.kernel = kernel;
    state.grid_dim = grid;
    state.block_dim = block;
    state.order = order;
    state.body = std::move(body);
    state.dynamic.assign(shared, 0);
    const size_t n = size_t(block.x) * block.y * block.z;
    while (state.fibers.size() < n) {
        Fiber f;
        f.stack = (char *)std::malloc(STACK);
        state.fibers.push_back(f);
    }
    const int blocks = int(grid.x * grid.y * grid.z);
    for (int b : ordered(blocks)) {
        state.block = dim3(b % grid.x, b / grid.x % grid.y, b / (grid.x * grid.y));
        run_block();
    }
    state.current = nullptr;
}

} // namespace emulation

#define threadIdx (emulation::state.current->index)
#define blockIdx (emulation::state.block)
#define blockDim (emulation::state.block_dim)
#define gridDim (emulation::state.grid_dim)

DEVICE void __syncthreads() { emulation::leave(emulation::At::Barrier); }

DEVICE float fma32(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
DEVICE double fma64(double a, double b, double c) { return __builtin_fma(a, b, c); }
DEVICE double floor64(double x) { return __builtin_floor(x); }
DEVICE double nearest64(double x) { return __builtin_nearbyint(x); }
DEVICE float sqrt32(float x) { return __builtin_sqrtf(x); }
DEVICE double sqrt64(double x) { return __builtin_sqrt(x); }
DEVICE u32 bits_of(float x) {
    u32 b;
    std::memcpy(&b, &x, 4);
    return b;
}
DEVICE float of_bits(u32 b) {
    float x;
    std::memcpy(&x, &b, 4);
    return x;
}
DEVICE u32 high_of_product(u32 a, u32 b) { return u32(u64(a) * b >> 32); }
DEVICE u32 count_ones(u32 x) { return __builtin_popcount(x); }
// Threads of a host run one after another.
DEVICE void atomic_add(u32 *to, u32 n) { *to += n; }
DEVICE void atomic_or(u32 *to, u32 n) { *to |= n; }

DEVICE float h2f(h16 h) {
    _Float16 v;
    std::memcpy(&v, &h, 2);
    return float(v);
}
DEVICE h16 f2h(float f) {
    _Float16 v = _Float16(f);
    h16 h;
    std::memcpy(&h, &v, 2);
    return h;
}
DEVICE u32 pack2(float low, float high) { return u32(f2h(low)) | u32(f2h(high)) << 16; }

namespace emulation {
// Each of COUNT matrices: lane l gets two neighbours of row l / 4; transposed, of column l / 4.
template <int COUNT, bool TRANSPOSED> void load_matrices(const void *const *in, void *const *out) {
    for (int m = 0; m < COUNT; m++)
        for (int l = 0; l < WARP; l++) {
            const int major = l >> 2, minor = 2 * (l & 3);
            h16 pair[2];
            for (int i = 0; i < 2; i++) {
                const int row = TRANSPOSED ? minor + i : major, column = TRANSPOSED ? major : minor + i;
                std::memcpy(&pair[i], (const char *)in[8 * m + row] + 2 * column, 2);
            }
            std::memcpy((u32 *)out[l] + m, pair, 4);
        }
}
inline const void *aligned16(const void *p) {
    if ((uintptr_t)p & 15) misuse("an address of ldmatrix or cp.async is no multiple of 16");
    return p;
}
} // namespace emulation
DEVICE void ldsm4(u32 (&r)[4], const void *p) {
    emulation::collective(emulation::load_matrices<4, false>, emulation::aligned16(p), r);
}
DEVICE void ldsm4t(u32 (&r)[4], const void *p) {
    emulation::collective(emulation::load_matrices<4, true>, emulation::aligned16(p), r);
}
DEVICE void ldsm2(u32 (&r)[2], const void *p) {
    emulation::collective(emulation::load_matrices<2, false>, emulation::aligned16(p), r);
}
DEVICE void ldsm2t(u32 (&r)[2], const void *p) {
    emulation::collective(emulation::load_matrices<2, true>, emulation::aligned16(p), r);
}

// Fragments of mma.m16n8k16 as the PTX ISA lays them out: g = lane / 4, t = lane % 4;
// a: register r holds row g + 8·(r % 2), columns 2t + 8·(r / 2) and the next; b: register r rows 2t + 8r and the next of
// column g; c: register r row g + 8·(r / 2), column 2t + r % 2.
DEVICE void mma(float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
    struct In {
        const u32 *a;
        u32 b[2];
        float *c;
    };
    In in{a, {b0, b1}, c};
    const auto multiply = [](const void *const *in, void *const *) {
        static float x[16][16], y[8][16];
        for (int l = 0; l < emulation::WARP; l++) {
            const In &q = *(const In *)in[l];
            const int g = l >> 2, t = 2 * (l & 3);
            for (int r = 0; r < 4; r++)
                for (int i = 0; i < 2; i++) x[g + 8 * (r & 1)][t + 8 * (r >> 1) + i] = h2f(h16(q.a[r] >> 16 * i));
            for (int r = 0; r < 2; r++)
                for (int i = 0; i < 2; i++) y[g][t + 8 * r + i] = h2f(h16(q.b[r] >> 16 * i));
        }
        for (int l = 0; l < emulation::WARP; l++) {
            const In &q = *(const In *)in[l];
            const int g = l >> 2, t = 2 * (l & 3);
            for (int r = 0; r < 4; r++) {
                float sum = 0;
                for (int k = 0; k < 16; k++) sum += x[g + 8 * (r >> 1)][k] * y[t + (r & 1)][k];
                q.c[r] += sum;
            }
        }
    };
    emulation::collective(multiply, &in, nullptr);
}

DEVICE void cp16_or_zero(void *shared, const void *global, bool there) {
    emulation::aligned16(shared);
    emulation::aligned16(global);
    std::memset(shared, emulation::POISON, 16);
    emulation::state.current->open.push_back({shared, global, there});
}
DEVICE void cp16(void *shared, const void *global) { cp16_or_zero(shared, global, true); }
DEVICE void cp_commit() {
    emulation::Fiber &f = *emulation::state.current;
    f.groups.push_back(std::move(f.open));
    f.open.clear();
}
template <int N> DEVICE void cp_wait() {
    auto &groups = emulation::state.current->groups;
    while (groups.size() > N) {
        for (const emulation::Copy &c : groups.front()) {
            if (c.there) std::memcpy(c.to, c.from, 16);
            else std::memset(c.to, 0, 16);
        }
        groups.erase(groups.begin());
    }
}

namespace emulation {
struct Exchanged {
    u32 value;
    int operand;
};
inline u32 exchange(Collective op, u32 value, int operand) {
    const Exchanged in{value, operand};
    u32 out = 0;
    collective(op, &in, &out);
    return out;
}
inline void by_xor(const void *const *in, void *const *out) {
    for (int l = 0; l < WARP; l++)
        *(u32 *)out[l] = ((const Exchanged *)in[l ^ ((const Exchanged *)in[l])->operand])->value;
}
inline void by_lane(const void *const *in, void *const *out) {
    for (int l = 0; l < WARP; l++)
        *(u32 *)out[l] = ((const Exchanged *)in[((const Exchanged *)in[l])->operand & (WARP - 1)])->value;
}
inline void by_vote(const void *const *in, void *const *out) {
    u32 votes = 0;
    for (int l = 0; l < WARP; l++) votes |= u32(((const Exchanged *)in[l])->value != 0) << l;
    for (int l = 0; l < WARP; l++) *(u32 *)out[l] = votes;
}
} // namespace emulation
DEVICE float shfl_xor(float v, int mask) { return of_bits(emulation::exchange(emulation::by_xor, bits_of(v), mask)); }
DEVICE float shfl(float v, int lane) { return of_bits(emulation::exchange(emulation::by_lane, bits_of(v), lane)); }
DEVICE u32 vote(bool v) { return emulation::exchange(emulation::by_vote, v, 0); }
