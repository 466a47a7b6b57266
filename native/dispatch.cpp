// Picks the kernels for this processor once, at load. The only code compiled with instructions beyond the
// baseline is behind the tables below, so an older processor never meets it.
#include <atomic>
#include <cstring>

#include "control.h"
#include "denormals.h"
#include "engine.h"

#define UNROLLED_DECLARE(isa)                      \
    namespace isa {                                \
    int elman_forward(const unrolled_elman*);      \
    int elman_backward(const unrolled_elman*);     \
    int lstm_forward(const unrolled_gated*);       \
    int lstm_backward(const unrolled_gated*);      \
    int gru_forward(const unrolled_gated*);        \
    int gru_backward(const unrolled_gated*);       \
    int mingru_forward(const unrolled_gated*);     \
    int mingru_backward(const unrolled_gated*);    \
    int scan_forward(const unrolled_scan*);        \
    int scan_backward(const unrolled_scan*);       \
    int input_table(const unrolled_table*);        \
    int rmsprop(const unrolled_rmsprop*);          \
    int step_pack(unrolled_stepper*);              \
    int step(const unrolled_stepper*, int64_t, const float*, const float*, float*); \
    int read_steps(const unrolled_reading*);       \
    int pool(const unrolled_pooling*);             \
    }
#define UNROLLED_TABLE(isa)                                                                     \
    {#isa, isa::elman_forward, isa::elman_backward, isa::lstm_forward, isa::lstm_backward,      \
     isa::gru_forward, isa::gru_backward, isa::mingru_forward, isa::mingru_backward,            \
     isa::scan_forward, isa::scan_backward, isa::input_table, isa::rmsprop, isa::step_pack, isa::step, \
     isa::read_steps, isa::pool}

namespace unrolled {

UNROLLED_DECLARE(baseline)
#ifdef UNROLLED_X86
UNROLLED_DECLARE(avx2)
UNROLLED_DECLARE(avx512)
#endif

namespace {

struct Choice {
    Table table;
    bool (*runs_here)();
};

// __builtin_cpu_supports asks both the processor and whether the operating system keeps the registers.
const Choice kChoices[] = {
#ifdef UNROLLED_X86
    {UNROLLED_TABLE(avx512),
     [] {
         return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                __builtin_cpu_supports("fma");
     }},
    {UNROLLED_TABLE(avx2), [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }},
#endif
    {UNROLLED_TABLE(baseline), [] { return true; }},
};

struct Available {
    Available() {
#ifdef UNROLLED_X86
        __builtin_cpu_init();
#endif
        for (const Choice& choice : kChoices) {
            if (!choice.runs_here()) continue;
            if (!best) best = &choice.table;
            if (*names) std::strcat(names, " ");
            std::strcat(names, choice.table.isa);
        }
    }
    const Table* best = nullptr;
    char names[32] = "";
};

const Available available;
std::atomic<const Table*> chosen{available.best};

// A descriptor of another size comes from another version of the library.
template <class Call>
int run(int (*kernel)(const Call*), const Call* call) {
    if (!call || call->size != sizeof *call) return UNROLLED_BAD_CALL;
    const FlushDenormals flush;
    begin_call();
    return kernel(call);
}

}  // namespace

const Table& kernels() { return *chosen.load(std::memory_order_relaxed); }

}  // namespace unrolled

using unrolled::kernels;
using unrolled::run;

const char* unrolled_isas(void) { return unrolled::available.names; }

const char* unrolled_isa(void) { return kernels().isa; }

int32_t unrolled_use_isa(const char* name) {
    for (const unrolled::Choice& choice : unrolled::kChoices) {
        if (std::strcmp(name, choice.table.isa) != 0 || !choice.runs_here()) continue;
        unrolled::chosen = &choice.table;
        return 0;
    }
    return 1;
}

int unrolled_elman_forward(const unrolled_elman* call) { return run(kernels().elman_forward, call); }

int unrolled_elman_backward(const unrolled_elman* call) { return run(kernels().elman_backward, call); }

int unrolled_lstm_forward(const unrolled_gated* call) { return run(kernels().lstm_forward, call); }

int unrolled_lstm_backward(const unrolled_gated* call) { return run(kernels().lstm_backward, call); }

int unrolled_gru_forward(const unrolled_gated* call) { return run(kernels().gru_forward, call); }

int unrolled_gru_backward(const unrolled_gated* call) { return run(kernels().gru_backward, call); }

int unrolled_mingru_forward(const unrolled_gated* call) { return run(kernels().mingru_forward, call); }

int unrolled_mingru_backward(const unrolled_gated* call) { return run(kernels().mingru_backward, call); }

int unrolled_scan_forward(const unrolled_scan* call) { return run(kernels().scan_forward, call); }

int unrolled_scan_backward(const unrolled_scan* call) { return run(kernels().scan_backward, call); }

int unrolled_input_table(const unrolled_table* call) { return run(kernels().input_table, call); }

int unrolled_rmsprop_update(const unrolled_rmsprop* call) { return run(kernels().rmsprop, call); }

int unrolled_step_pack(unrolled_stepper* call) {
    return call && call->size == sizeof *call ? kernels().step_pack(call) : UNROLLED_BAD_CALL;
}

int unrolled_step(const unrolled_stepper* call, int64_t B, const float* x, const float* before, float* after) {
    if (!call || call->size != sizeof *call) return UNROLLED_BAD_CALL;
    const unrolled::FlushDenormals flush;
    unrolled::begin_call();
    return kernels().step(call, B, x, before, after);
}

int unrolled_read_steps(const unrolled_reading* call) { return run(kernels().read_steps, call); }

int unrolled_pool_steps(const unrolled_pooling* call) { return run(kernels().pool, call); }

int unrolled_index_pairs(const unrolled_reading* call) {
    if (!call || call->size != sizeof *call || call->capacity < 2 * call->pairs || !call->slots) return UNROLLED_BAD_CALL;
    if (call->capacity & (call->capacity - 1)) return UNROLLED_BAD_CALL;
    const uint64_t mask = static_cast<uint64_t>(call->capacity) - 1;
    for (int64_t i = 0; i < call->pairs; ++i) {
        uint64_t at = unrolled_pair_slot(call->keys[i]) & mask;
        while (call->slots[at]) at = (at + 1) & mask;
        call->slots[at] = uint64_t{call->keys[i]} << 32 | static_cast<uint64_t>(i + 1);
    }
    return UNROLLED_OK;
}
