// A stand-in for NVIDIA's libcuda.so.1, for tests where no GPU is: the entry points that the program calls, on the CPU.
// Kernels are those of kernels/*.cu, run by emulation.h; the two generated files name them. Never install or ship it.
//
// - Device memory holds NaN bytes until it is written, and so does freed memory; what a copy from the device will write
//   holds them until the copy is done.
// - Work of a stream waits in its queue until somebody synchronises with it, as late as a device may do it: a missing
//   synchronisation shows. So does host memory that is given up before a copy to the device has read it. Or all streams but
//   the first, which computes, work as early as a device may: what they do not wait for is not there yet, or still read.
// - Threads may call side by side, and are served one after the other: who waits for an event does the work.
// - A module holds the kernels that its PTX names, no more: an old image shows.
// - A stream that records computes nothing. While one records, copies on it, waiting for it, and whatever asks for memory or
//   gives it back, or loads a module, is refused, and ends the recording.
//
// The environment breaks it:
//   EMULATION_DEVICES=N        so many devices (1)
//   EMULATION_MEMORY=BYTES     of each (4 GiB)
//   EMULATION_VERSION=12000    of the driver
//   EMULATION_CAPABILITY=80    of the devices
//   EMULATION_STUB=1           cuInit says that this is the stub library of a toolkit
//   EMULATION_FAIL=NAME:N:CODE:TIMES
//                              the N-th call of an entry point fails with a code ("unknown error"), and so do the next ones,
//                              TIMES in all (1); where TIMES is *, the device is lost, and every call after it fails as well;
//                              several of these with commas between them
//   EMULATION_FAILED=FILE      a line is appended to it for each call that fails so: the entry point, and which of its calls
//   EMULATION_CALLS=FILE       each entry point that was called, and how often, in the end
//   EMULATION_HIDE=KERNEL      the kernel is in no module
//   EMULATION_ORDER=0|1|2      threads run forward, backward, shuffled
//   EMULATION_LAUNCHED=FILE    names of the kernels that were started are appended to it
//   EMULATION_EAGER=1          streams that copy work as early as they may
//   EMULATION_FORGET=NAME:N    the N-th call of cuStreamWaitEvent or cuEventSynchronize does nothing
#include "device.cuh"
#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>

// Every kernels/*.cu in a namespace of its own.
#include "kernels.inc"

namespace {
using emulation::POISON;
typedef int Result;
typedef void *Handle;
enum : Result {
    SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, STUB_LIBRARY = 34, NO_DEVICE = 100, INVALID_DEVICE = 101,
    INVALID_IMAGE = 200, INVALID_CONTEXT = 201, INVALID_HANDLE = 400, ILLEGAL_STATE = 401, NOT_FOUND = 500, NOT_READY = 600,
    CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901, UNKNOWN = 999
};

std::string text(const char *name, const char *otherwise) {
    const char *value = std::getenv(name);
    return value ? value : otherwise;
}
u64 number(const char *name, u64 otherwise) {
    const char *value = std::getenv(name);
    return value ? std::strtoull(value, nullptr, 10) : otherwise;
}

// Calls of each entry point until now; written down in the end.
std::map<std::string, u64> &calls_of(const std::string &of) {
    static auto &all = *new std::map<std::string, std::map<std::string, u64>>;
    return all[of];
}
struct Calls {
    ~Calls() {
        const std::string to = text("EMULATION_CALLS", "");
        std::FILE *file = to.empty() ? nullptr : std::fopen(to.c_str(), "w");
        if (!file) return;
        for (const auto &[entry, count] : calls_of("")) std::fprintf(file, "%s %llu\n", entry.c_str(), (unsigned long long)count);
        std::fclose(file);
    }
} write_down_in_the_end;

// What is planned for an entry point: from which call on, with which code, and how many times.
struct Plan {
    u64 first = 1, times = 1;
    Result code = UNKNOWN;
    bool lost = false;
};
bool is_planned(const char *variable, const char *entry, Plan &plan) {
    const std::string all = "," + text(variable, ""), prefix = std::string(",") + entry + ":";
    const size_t at = all.find(prefix);
    if (at == std::string::npos) return false;
    std::istringstream words(all.substr(at + prefix.size(), all.find(',', at + 1) - at - prefix.size()));
    std::string first, code, times;
    if (std::getline(words, first, ':')) plan.first = std::strtoull(first.c_str(), nullptr, 10);
    if (std::getline(words, code, ':')) plan.code = Result(std::strtoull(code.c_str(), nullptr, 10));
    if (std::getline(words, times, ':')) plan.times = std::strtoull(times.c_str(), nullptr, 10), plan.lost = times == "*";
    return true;
}
// What a call of an entry point says before it does anything.
Result failure(const char *entry) {
    static Result lost = SUCCESS;
    const u64 call = ++calls_of("")[entry];
    Plan plan;
    const bool fails = is_planned("EMULATION_FAIL", entry, plan) && call >= plan.first &&
                       (call < plan.first + plan.times || plan.lost);
    // A lost device has no say in names.
    if (!fails) return std::string(entry) == "cuGetErrorName" ? SUCCESS : lost;
    if (plan.lost) lost = plan.code;
    const std::string log = text("EMULATION_FAILED", "");
    std::FILE *file = log.empty() ? nullptr : std::fopen(log.c_str(), "a");
    if (file) {
        std::fprintf(file, "%s %llu\n", entry, (unsigned long long)call);
        std::fclose(file);
    }
    return plan.code;
}
bool is_forgotten(const char *entry) {
    Plan plan;
    return ++calls_of("forget")[entry] == (is_planned("EMULATION_FORGET", entry, plan) ? plan.first : 0);
}

std::mutex one_at_a_time;

// ------------------------------------------------------------------------------------------------------- kernels
struct Kernel {
    std::string name;
    int threads;
    // Copies the arguments, as a launch does, and gives the launch to be done later.
    std::function<std::function<void()>(void **, dim3, dim3, size_t)> prepare;
};

template <class... A, size_t... I>
Kernel kernel_of(const char *name, int threads, void (*f)(A...), std::index_sequence<I...>) {
    auto prepare = [name, f](void **arguments, dim3 grid, dim3 block, size_t shared) -> std::function<void()> {
        auto copied = std::make_shared<std::tuple<A...>>(*(A *)arguments[I]...);
        return [name, f, copied, grid, block, shared] {
            const auto order = emulation::Order(number("EMULATION_ORDER", 0));
            emulation::launch(name, grid, block, shared, order, [&] { std::apply(f, *copied); });
        };
    };
    return {name, threads, prepare};
}
template <class... A> Kernel kernel_of(const char *name, int threads, void (*f)(A...)) {
    return kernel_of(name, threads, f, std::index_sequence_for<A...>{});
}
std::vector<Kernel> &all_kernels() {
    static std::vector<Kernel> kernels{
#define ENTRY(space, name, threads) kernel_of(#name, threads, space::name),
#include "table.inc"
#undef ENTRY
    };
    return kernels;
}

struct Module {
    std::string image;
};

// -------------------------------------------------------------------------------------------------------- memory
std::map<char *, size_t> allocations;
u64 allocated = 0;

// Whether all of it lies in one allocation.
bool on_device(u64 at, size_t bytes) {
    auto next = allocations.upper_bound((char *)at);
    if (next == allocations.begin()) return false;
    --next;
    return (char *)at + bytes <= next->first + next->second;
}

// ------------------------------------------------------------------------------------------------------- streams
typedef std::vector<std::function<void()>> Launches;
struct Stream;
// What a stream does; or how far another must have come before it goes on.
struct Work {
    std::function<void()> run;
    Stream *of = nullptr;
    u64 position = 0;
};
void work_eagerly();
struct Stream {
    std::deque<Work> queue;
    u64 done = 0, last = 0;
    bool eager = false, busy = false;
    // What it records, if it does, and whether that was spoilt.
    std::shared_ptr<Launches> recorded;
    bool spoilt = false;
    void put(std::function<void()> work) { put(Work{std::move(work)}); }
    void put(Work work) {
        queue.push_back(std::move(work));
        last++;
        work_eagerly();
    }
    void until(u64 position) {
        while (done < position && !queue.empty()) {
            next();
            work_eagerly();
        }
    }
    void next() {
        const Work work = std::move(queue.front());
        queue.pop_front();
        // While it waits for another stream, nothing behind is begun.
        busy = true;
        if (work.of) work.of->until(work.position);
        else work.run();
        busy = false;
        done++;
    }
    bool may_go_on() const {
        return !busy && !queue.empty() && !(queue.front().of && queue.front().of->done < queue.front().position);
    }
};
struct Event {
    Stream *stream = nullptr;
    u64 position = 0;
    std::shared_ptr<std::chrono::steady_clock::time_point> time;
};
std::vector<Stream *> streams;
Stream default_stream;
void work_eagerly() {
    static bool working = false;
    if (working) return;
    working = true;
    for (bool moved = true; moved;) {
        moved = false;
        for (Stream *s : streams)
            for (; s->eager && s->may_go_on(); moved = true) s->next();
    }
    working = false;
}
Stream &stream_of(Handle h) { return h ? *(Stream *)h : default_stream; }
void finish_all() {
    default_stream.until(default_stream.last);
    for (Stream *s : streams) s->until(s->last);
}
thread_local Handle current_context = nullptr;

// A recording made ready, and how many times it is still to run.
struct Graph {
    std::shared_ptr<Launches> launches;
    std::shared_ptr<int> waiting = std::make_shared<int>(0);
};
// Whether a recording is under way, which this spoils.
bool spoils() {
    bool found = false;
    for (Stream *s : streams)
        if (s->recorded) found = s->spoilt = true;
    return found;
}
bool spoils(Stream &s) { return s.recorded && (s.spoilt = true); }
} // namespace

#define ENTRY_POINT(name, ...) \
    extern "C" __attribute__((visibility("default"))) Result name(__VA_ARGS__)
#define MAY_FAIL() \
    const std::lock_guard<std::mutex> lock(one_at_a_time); \
    if (const Result code = failure(__func__)) return code
#define IN_CONTEXT() \
    MAY_FAIL(); \
    if (!current_context) return INVALID_CONTEXT
#define NOT_RECORDING(...) \
    if (spoils(__VA_ARGS__)) return CAPTURE_UNSUPPORTED

ENTRY_POINT(cuInit, unsigned flags) {
    MAY_FAIL();
    if (number("EMULATION_STUB", 0)) return STUB_LIBRARY;
    if (number("EMULATION_DEVICES", 1) == 0) return NO_DEVICE;
    return flags ? INVALID_VALUE : SUCCESS;
}
ENTRY_POINT(cuDriverGetVersion, int *version) {
    MAY_FAIL();
    *version = int(number("EMULATION_VERSION", 12000));
    return SUCCESS;
}
ENTRY_POINT(cuDeviceGetCount, int *count) {
    MAY_FAIL();
    *count = int(number("EMULATION_DEVICES", 1));
    return SUCCESS;
}
ENTRY_POINT(cuDeviceGet, int *device, int ordinal) {
    MAY_FAIL();
    *device = ordinal;
    return ordinal >= 0 && ordinal < int(number("EMULATION_DEVICES", 1)) ? SUCCESS : INVALID_DEVICE;
}
ENTRY_POINT(cuDeviceGetName, char *name, int length, int) {
    MAY_FAIL();
    std::snprintf(name, length, "emulation on the CPU, for tests only");
    return SUCCESS;
}
ENTRY_POINT(cuDeviceGetAttribute, int *value, int attribute, int) {
    MAY_FAIL();
    const int capability = int(number("EMULATION_CAPABILITY", 80));
    switch (attribute) {
    case 16: *value = 2; break;               // multiprocessors
    case 75: *value = capability / 10; break; // compute capability
    case 76: *value = capability % 10; break;
    case 97: *value = 166912; break;          // shared memory per block, opted in
    default: *value = 0;
    }
    return SUCCESS;
}
ENTRY_POINT(cuDeviceTotalMem_v2, size_t *bytes, int) {
    MAY_FAIL();
    *bytes = number("EMULATION_MEMORY", u64(4) << 30);
    return SUCCESS;
}
ENTRY_POINT(cuDevicePrimaryCtxRetain, Handle *context, int device) {
    MAY_FAIL();
    *context = (Handle)(uintptr_t)(device + 1);
    return SUCCESS;
}
ENTRY_POINT(cuCtxSetCurrent, Handle context) {
    MAY_FAIL();
    current_context = context;
    return SUCCESS;
}
ENTRY_POINT(cuStreamCreate, Handle *stream, unsigned) {
    IN_CONTEXT();
    streams.push_back(new Stream);
    streams.back()->eager = streams.size() > 1 && number("EMULATION_EAGER", 0);
    *stream = streams.back();
    return SUCCESS;
}
ENTRY_POINT(cuStreamSynchronize, Handle stream) {
    IN_CONTEXT();
    NOT_RECORDING(stream_of(stream));
    stream_of(stream).until(stream_of(stream).last);
    return SUCCESS;
}
ENTRY_POINT(cuEventCreate, Handle *event, unsigned) {
    IN_CONTEXT();
    *event = new Event;
    return SUCCESS;
}
ENTRY_POINT(cuEventRecord, Handle event, Handle stream) {
    IN_CONTEXT();
    NOT_RECORDING(stream_of(stream));
    Event &e = *(Event *)event;
    auto time = std::make_shared<std::chrono::steady_clock::time_point>();
    stream_of(stream).put([time] { *time = std::chrono::steady_clock::now(); });
    e = {&stream_of(stream), stream_of(stream).last, time};
    return SUCCESS;
}
ENTRY_POINT(cuStreamWaitEvent, Handle stream, Handle event, unsigned) {
    IN_CONTEXT();
    NOT_RECORDING(stream_of(stream));
    const Event e = *(Event *)event;
    if (e.stream && !is_forgotten(__func__)) stream_of(stream).put(Work{nullptr, e.stream, e.position});
    return SUCCESS;
}
ENTRY_POINT(cuEventSynchronize, Handle event) {
    IN_CONTEXT();
    Event &e = *(Event *)event;
    if (e.stream && !is_forgotten(__func__)) e.stream->until(e.position);
    return SUCCESS;
}
ENTRY_POINT(cuMemHostAlloc, void **at, size_t bytes, unsigned) {
    IN_CONTEXT();
    NOT_RECORDING();
    if (!bytes) return INVALID_VALUE;
    *at = std::malloc(bytes);
    std::memset(*at, POISON, bytes);
    return SUCCESS;
}
ENTRY_POINT(cuEventElapsedTime, float *ms, Handle first, Handle second) {
    IN_CONTEXT();
    Event &a = *(Event *)first, &b = *(Event *)second;
    if (!a.stream || !b.stream) return INVALID_HANDLE;
    if (a.stream->done < a.position || b.stream->done < b.position) return NOT_READY;
    *ms = std::chrono::duration<float, std::milli>(*b.time - *a.time).count();
    return SUCCESS;
}
ENTRY_POINT(cuMemGetInfo_v2, size_t *free, size_t *total) {
    IN_CONTEXT();
    *total = number("EMULATION_MEMORY", u64(4) << 30);
    *free = *total - allocated;
    return SUCCESS;
}
ENTRY_POINT(cuMemAlloc_v2, u64 *at, size_t bytes) {
    IN_CONTEXT();
    NOT_RECORDING();
    if (!bytes) return INVALID_VALUE;
    if (allocated + bytes > number("EMULATION_MEMORY", u64(4) << 30)) return OUT_OF_MEMORY;
    char *p = (char *)std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    std::memset(p, POISON, bytes);
#if defined(__SANITIZE_ADDRESS__)
    __asan_poison_memory_region(p + bytes, (bytes + 255) / 256 * 256 - bytes);
#endif
    allocations[p] = bytes;
    allocated += bytes;
    *at = (u64)p;
    return SUCCESS;
}
ENTRY_POINT(cuMemFree_v2, u64 at) {
    IN_CONTEXT();
    NOT_RECORDING();
    finish_all();
    auto found = allocations.find((char *)at);
    if (found == allocations.end()) return INVALID_VALUE;
    allocated -= found->second;
    std::memset(found->first, POISON, found->second);
    UNPOISON(found->first, (found->second + 255) / 256 * 256);
    std::free(found->first);
    allocations.erase(found);
    return SUCCESS;
}
ENTRY_POINT(cuMemcpyHtoDAsync_v2, u64 to, const void *from, size_t bytes, Handle stream) {
    IN_CONTEXT();
    NOT_RECORDING(stream_of(stream));
    if (!on_device(to, bytes)) return INVALID_VALUE;
    stream_of(stream).put([=] { std::memcpy((void *)to, from, bytes); });
    return SUCCESS;
}
ENTRY_POINT(cuMemcpyDtoHAsync_v2, void *to, u64 from, size_t bytes, Handle stream) {
    IN_CONTEXT();
    NOT_RECORDING(stream_of(stream));
    if (!on_device(from, bytes)) return INVALID_VALUE;
    std::memset(to, POISON, bytes);
    stream_of(stream).put([=] { std::memcpy(to, (const void *)from, bytes); });
    return SUCCESS;
}
ENTRY_POINT(cuModuleLoadData, Handle *module, const void *image) {
    IN_CONTEXT();
    NOT_RECORDING();
    const std::string ptx = (const char *)image;
    if (ptx.find(".target sm_") == std::string::npos) return INVALID_IMAGE;
    *module = new Module{ptx};
    return SUCCESS;
}
ENTRY_POINT(cuModuleGetFunction, Handle *function, Handle module, const char *name) {
    IN_CONTEXT();
    const std::string &image = ((Module *)module)->image;
    const std::string entry = std::string(".entry ") + name + "(";
    if (text("EMULATION_HIDE", "") == name || image.find(entry) == std::string::npos) return NOT_FOUND;
    for (Kernel &k : all_kernels())
        if (k.name == name) {
            *function = &k;
            return SUCCESS;
        }
    return NOT_FOUND;
}
ENTRY_POINT(cuLaunchKernel, Handle function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
            unsigned shared, Handle stream, void **arguments, void **) {
    IN_CONTEXT();
    const Kernel &k = *(Kernel *)function;
    const u64 threads = u64(bx) * by * bz;
    if (!gx || !gy || !gz || !threads || threads > u64(k.threads) || gy > 65535 || gz > 65535) return INVALID_VALUE;
    static std::set<std::string> launched;
    const std::string log = text("EMULATION_LAUNCHED", "");
    if (!log.empty() && launched.insert(k.name).second) {
        std::FILE *file = std::fopen(log.c_str(), "a");
        if (!file || std::fprintf(file, "%s\n", k.name.c_str()) < 0 || std::fclose(file)) return UNKNOWN;
    }
    Stream &s = stream_of(stream);
    auto work = k.prepare(arguments, dim3(gx, gy, gz), dim3(bx, by, bz), shared);
    if (s.spoilt) return CAPTURE_INVALIDATED;
    if (s.recorded) s.recorded->push_back(std::move(work));
    else s.put(std::move(work));
    return SUCCESS;
}
ENTRY_POINT(cuStreamBeginCapture_v2, Handle stream, int mode) {
    IN_CONTEXT();
    if (!stream) return CAPTURE_UNSUPPORTED;
    Stream &s = stream_of(stream);
    if (mode < 0 || mode > 2) return INVALID_VALUE;
    if (s.recorded) return ILLEGAL_STATE;
    s.recorded = std::make_shared<Launches>();
    s.spoilt = false;
    return SUCCESS;
}
ENTRY_POINT(cuStreamEndCapture, Handle stream, Handle *graph) {
    Stream &s = stream_of(stream);
    *graph = nullptr;
    if (!s.recorded) return ILLEGAL_STATE;
    const std::shared_ptr<Launches> recorded = std::move(s.recorded);
    const bool spoilt = s.spoilt;
    s.recorded = nullptr;
    s.spoilt = false;
    IN_CONTEXT();
    if (spoilt) return CAPTURE_INVALIDATED;
    *graph = new std::shared_ptr<Launches>(recorded);
    return SUCCESS;
}
ENTRY_POINT(cuGraphInstantiateWithFlags, Handle *handle, Handle graph, unsigned long long flags) {
    IN_CONTEXT();
    if (!graph || flags) return INVALID_VALUE;
    *handle = new Graph{*(std::shared_ptr<Launches> *)graph};
    return SUCCESS;
}
ENTRY_POINT(cuGraphDestroy, Handle graph) {
    MAY_FAIL();
    delete (std::shared_ptr<Launches> *)graph;
    return SUCCESS;
}
ENTRY_POINT(cuGraphLaunch, Handle handle, Handle stream) {
    IN_CONTEXT();
    NOT_RECORDING(stream_of(stream));
    const Graph g = *(Graph *)handle;
    ++*g.waiting;
    stream_of(stream).put([g] {
        for (const auto &launch : *g.launches) launch();
        --*g.waiting;
    });
    return SUCCESS;
}
// Refused while it is to run: nobody says that a device minds it.
ENTRY_POINT(cuGraphExecDestroy, Handle handle) {
    MAY_FAIL();
    if (*((Graph *)handle)->waiting) return ILLEGAL_STATE;
    delete (Graph *)handle;
    return SUCCESS;
}
// Of codes that it does not know it says none.
ENTRY_POINT(cuGetErrorName, Result code, const char **name) {
    MAY_FAIL();
    static const std::map<Result, const char *> names{
        {INVALID_VALUE, "INVALID_VALUE"}, {OUT_OF_MEMORY, "OUT_OF_MEMORY"}, {INVALID_DEVICE, "INVALID_DEVICE"},
        {INVALID_IMAGE, "INVALID_IMAGE"}, {INVALID_CONTEXT, "INVALID_CONTEXT"}, {INVALID_HANDLE, "INVALID_HANDLE"},
        {ILLEGAL_STATE, "ILLEGAL_STATE"}, {NOT_FOUND, "NOT_FOUND"}, {NOT_READY, "NOT_READY"},
        {700, "ILLEGAL_ADDRESS"}, {719, "LAUNCH_FAILED"}, {CAPTURE_UNSUPPORTED, "STREAM_CAPTURE_UNSUPPORTED"},
        {CAPTURE_INVALIDATED, "STREAM_CAPTURE_INVALIDATED"}, {UNKNOWN, "UNKNOWN"},
    };
    const auto found = names.find(code);
    if (found == names.end()) return *name = nullptr, INVALID_VALUE;
    static std::map<Result, std::string> told;
    *name = (told[code] = std::string("CUDA_ERROR_") + found->second).c_str();
    return SUCCESS;
}
