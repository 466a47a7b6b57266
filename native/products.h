// Matrix products over many rows at once, on all threads: what comes before and after a time loop.
#pragma once

#include "steps.h"
#include "tile.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

// A matrix as panels, in scratch memory; element (k, n) is w[k * down + n * across].
inline Panels packed(Scratch& scratch, const float* w, int64_t K, int64_t N, int64_t down, int64_t across) {
    const Panels panels{scratch.take<float>(Panels::floats(K, N)), K, N};
    if (!panels.data) return panels;
    if (K * N < 4096) {
        for (int64_t p = 0; p < panels.count(); ++p) pack(panels, p, w, down, across);
    } else {
        share(panels.count(), [&](int64_t p) { pack(panels, p, w, down, across); });
    }
    return panels;
}

// multiply, with the rows shared out over the threads.
template <class Finish>
void multiply_all(const Product& product, const Panels& w) {
    constexpr int64_t kSome = 8 * kRows;
    share((product.rows + kSome - 1) / kSome, [&](int64_t i) {
        const int64_t first = i * kSome, rows = std::min(kSome, product.rows - first);
        const auto with = product.with ? product.with + first : nullptr;
        multiply<Finish>({product.a + first, product.init + first, product.c + first, with, rows}, w, 0, w.count());
    });
}

// c (I, J) = a^T b over n rows: a (n, I) contiguous, the rows of b by address; sums (I) = the columns of a added
// up, unless it is null. Each thread has elements of c of its own; the sum over rows is cut into blocks of
// kDepth, the same for any number of threads. False where memory is short.
bool outer(Scratch& scratch, const float* a, const float* const* b, int64_t n, int64_t I, int64_t J, float* c,
           float* sums);

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
