// Denormal numbers cost up to a hundred times the time of others and carry no meaning here: a call flushes
// them to zero and puts the caller's floating-point state back when it ends.
#pragma once

#include <cstdint>

#if defined(__x86_64__) || defined(_M_X64)
#include <xmmintrin.h>
#endif

namespace unrolled {

class FlushDenormals {
public:
    FlushDenormals() : saved_(read()) { write(saved_ | kFlush); }
    ~FlushDenormals() { write(saved_); }
    FlushDenormals(const FlushDenormals&) = delete;
    FlushDenormals& operator=(const FlushDenormals&) = delete;

private:
#if defined(__x86_64__) || defined(_M_X64)
    static constexpr uint64_t kFlush = 0x8040;  // MXCSR: results (FTZ) and operands (DAZ)
    static uint64_t read() { return _mm_getcsr(); }
    static void write(uint64_t state) { _mm_setcsr(static_cast<unsigned>(state)); }
#elif defined(__aarch64__)
    static constexpr uint64_t kFlush = uint64_t{1} << 24;  // FPCR.FZ
    static uint64_t read() {
        uint64_t state;
        __asm__ volatile("mrs %0, fpcr" : "=r"(state));
        return state;
    }
    static void write(uint64_t state) { __asm__ volatile("msr fpcr, %0" ::"r"(state)); }
#else
    static constexpr uint64_t kFlush = 0;
    static uint64_t read() { return 0; }
    static void write(uint64_t) {}
#endif
    uint64_t saved_;
};

}  // namespace unrolled
