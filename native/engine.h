// What the files of the engine know of each other. Nothing here is public: the ABI is unrolled.h.
#pragma once

#include <cstdint>

#include "unrolled.h"

namespace unrolled {

// One thread's share [begin, end) of n pieces of work.
using RangeFunction = void (*)(int64_t begin, int64_t end, void* context);

// Every entry of the ABI that computes calls this first: thread_count() stays as it is until the next.
void begin_call();

// How many pieces a call may be cut into so that all of them run at the same time.
int thread_count();

// Runs f over [0, n), cut into at most thread_count() contiguous ranges, each on a thread of its own, at the
// same time; inside another parallel region, or with one thread, f is called once with [0, n). Returns when
// all are done. Every worker runs with denormals flushed and with its floating-point state restored after.
void parallel_for(int64_t n, RangeFunction f, void* context);

template <class Body>
void parallel(int64_t n, const Body& body) {
    parallel_for(
        n, [](int64_t begin, int64_t end, void* context) { (*static_cast<const Body*>(context))(begin, end); },
        const_cast<Body*>(&body));
}

// The kernels, compiled once for each instruction set; dispatch.cpp picks one table at load.
struct Table {
    const char* isa;
    int (*elman_forward)(const unrolled_elman*);
    int (*elman_backward)(const unrolled_elman*);
    int (*lstm_forward)(const unrolled_gated*);
    int (*lstm_backward)(const unrolled_gated*);
    int (*gru_forward)(const unrolled_gated*);
    int (*gru_backward)(const unrolled_gated*);
    int (*mingru_forward)(const unrolled_gated*);
    int (*mingru_backward)(const unrolled_gated*);
    int (*scan_forward)(const unrolled_scan*);
    int (*scan_backward)(const unrolled_scan*);
    int (*input_table)(const unrolled_table*);
    int (*rmsprop)(const unrolled_rmsprop*);
    int (*step_pack)(unrolled_stepper*);
    int (*step)(const unrolled_stepper*, int64_t, const float*, const float*, float*);
    int (*read_steps)(const unrolled_reading*);
    int (*pool)(const unrolled_pooling*);
};

const Table& kernels();

}  // namespace unrolled
