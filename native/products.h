// Matrix products over many rows at once: what comes before, after and beside a time loop.
#pragma once

#include "steps.h"
#include "tile.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

// Matrices (K, N), one after the other in `from`, as panels in scratch memory; or `once`, where it is not worth it.
inline Panels packed(Scratch& scratch, int64_t K, int64_t N, const Source& from, bool once = false, int64_t count = 1) {
    Panels all{nullptr, K, N, from};
    if (once) return all;
    all.data = scratch.take<float>(count * all.floats());
    if (!all.data) return all;
    const auto make = [&](int64_t i) {
        const Panels one = all.number(i / all.count());
        pack(one, one.from, i % all.count(), 0, K);
    };
    if (count * K * N < 1 << 15) {
        for (int64_t i = 0; i < count * all.count(); ++i) make(i);
    } else {
        share(count * all.count(), make);
    }
    return all;
}

constexpr int64_t kSmall = 1000000;  // multiply-adds that are not worth waking another thread

constexpr int64_t kSome = 8 * kRows;    // rows that one thread multiplies at a time

// multiply, with the rows shared out over the threads.
template <class Finish>
void multiply_all(const Product& product, const Panels& w) {
    if (product.rows * w.K * w.N < kSmall) return multiply<Finish>(product, w, 0, w.count());
    share((product.rows + kSome - 1) / kSome, [&](int64_t i) {
        const int64_t first = i * kSome, rows = std::min(kSome, product.rows - first);
        const auto with = product.with ? product.with + first : nullptr;
        multiply<Finish>({product.a + first, product.init + first, product.c + first, with, rows}, w, 0, w.count());
    });
}

// The gradient of a weight: c (I, J) = a^T b over many rows, and sums (I) = the columns of a added up, unless null.
struct Outer {
    int64_t I, J;
    float *c, *sums;
};

// Where one thread copies what lies badly in memory.
struct Copies {
    static constexpr int64_t kTall = 32 * kRows;               // most columns of a that a block covers
    static constexpr int64_t kTile = kDepth * kRows + kLanes;  // floats of a tile of a; no power of two, for the cache
    float *a, *b;                // (kTall / kRows, kTile), (kDepth, kPanel)
    const float **at_a, **at_b;  // their rows

    Copies(Scratch& scratch, int64_t columns);  // most columns of a that will be covered
};

// Rows [i0, i1) of c, and of its columns the panels [p0, p1).
struct Part {
    int64_t i0, i1, p0, p1;
};

// Adds at most kDepth pairs of rows to a part of c, or puts them there. `copied`: the last call had the same a.
void add_block(const Outer& outer, const Copies& copies, const Pairs& pairs, const Part& part, bool add,
               bool copied = false);
// The same for sums.
void add_columns(const Outer& outer, const Pairs& pairs, const Part& part, bool add);

// All of c from n rows of a, contiguous, and of b, by address. Each thread has elements of c of its own; the sum is
// cut into blocks of kDepth rows, the same for any number of threads. False where memory is short.
bool outer_all(Scratch& scratch, const Outer& outer, const float* a, const float* const* b, int64_t n);

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
