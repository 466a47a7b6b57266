// c = a^T b: the gradient of a weight.
#include "products.h"

#include <cstring>

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

constexpr int64_t kWide = 8;  // panels of b per task, so that copying a pays

void add_columns(const Outer& outer, const float* const* a, int64_t n, int64_t i0, int64_t i1, bool add) {
    for (int64_t i = i0; i < i1; i += kLanes) {
        Vector sum[4] = {};
        for (int64_t k = 0; k < n; ++k) sum[k % 4] += load_some(a[k] + i, i1 - i);
        const Vector before = add ? load_some(outer.sums + i, i1 - i) : Vector{};
        store_some(outer.sums + i, before + ((sum[0] + sum[1]) + (sum[2] + sum[3])), i1 - i);
    }
}

// Columns [i0, i1) of a, tile by tile, in the order in which tiles read them.
void copy_a(const Copies& copies, const float* const* a, int64_t n, int64_t i0, int64_t i1) {
    const int64_t whole = i0 + (i1 - i0) / kRows * kRows;
    for (int64_t k = 0; k < n; ++k) {
        float* to = copies.a + k * kRows;
        for (int64_t i = i0; i < whole; i += kRows, to += Copies::kTile) std::memcpy(to, a[k] + i, kRows * sizeof *to);
        for (int64_t i = whole; i < i1; ++i) to[i - whole] = a[k][i];
    }
}

// One panel of b, zeros beyond its last column.
void copy_b(const Copies& copies, const float* const* b, int64_t n, int64_t j, int64_t left) {
    for (int64_t k = 0; k < n; ++k) {
        store(copies.b + k * kPanel, load_some(b[k] + j, left));
        store(copies.b + k * kPanel + kLanes, load_some(b[k] + j + kLanes, left - kLanes));
    }
}

}  // namespace

Copies::Copies(Scratch& scratch, int64_t columns)
    : a(scratch.take<float>((std::min(columns, kTall) + kRows - 1) / kRows * kTile)),
      b(scratch.take<float>(kDepth * kPanel)), at_a(scratch.take<const float*>(kDepth)),
      at_b(scratch.take<const float*>(kDepth)) {
    for (int64_t k = 0; scratch.ok() && k < kDepth; ++k) at_a[k] = a + k * kRows, at_b[k] = b + k * kPanel;
}

void add_block(const Outer& outer, const Copies& copies, const float* const* a, const float* const* b, int64_t n,
               int64_t i0, int64_t i1, int64_t p0, int64_t p1, bool add) {
    const bool copied = i1 - i0 > 64;
    if (copied) copy_a(copies, a, n, i0, i1);
    for (int64_t p = p0; p < p1; ++p) {
        const int64_t j = p * kPanel, left = outer.J - j;
        const bool copy = outer.J > 2 * kPanel || (left < kPanel && left != kLanes);
        if (copy) copy_b(copies, b, n, j, left);
        for (int64_t i = i0; i < i1; i += kRows)
            outer_tiles(std::min<int64_t>(kRows, i1 - i), copied ? copies.at_a : a,
                        copied ? (i - i0) / kRows * Copies::kTile : i, copy ? copies.at_b : b, copy ? 0 : j, n,
                        outer.c + i * outer.J + j, outer.J, left, add);
    }
    if (outer.sums && p0 == 0) add_columns(outer, a, n, i0, i1, add);
}

bool outer_all(Scratch& scratch, const Outer& outer, const float* a, const float* const* b, int64_t n) {
    if (n == 0) {
        std::fill_n(outer.c, outer.I * outer.J, 0.0f);
        if (outer.sums) std::fill_n(outer.sums, outer.I, 0.0f);
        return true;
    }
    const int64_t threads = thread_count(), wide = (panels_of(outer.J) + kWide - 1) / kWide;
    int64_t tall = Copies::kTall;  // rows of c per task
    while (tall > kRows && (outer.I + tall - 1) / tall * wide < 2 * threads) tall /= 2;
    const int64_t tasks = (outer.I + tall - 1) / tall * wide;
    Copies* copies = scratch.take<Copies>(threads);
    const float** rows = scratch.take<const float*>(n);
    if (!copies || !rows) return false;
    for (int64_t i = 0; i < threads; ++i) new (copies + i) Copies(scratch, tall);
    if (!scratch.ok()) return false;
    for (int64_t k = 0; k < n; ++k) rows[k] = a + k * outer.I;
    std::atomic<int64_t> next{0}, worker{0};
    parallel(n * outer.I * outer.J < kSmall ? 1 : std::min(threads, tasks), [&](int64_t, int64_t) {
        const Copies& mine = copies[worker++];
        for (int64_t task; (task = next++) < tasks;) {
            const int64_t i0 = task / wide * tall, p0 = task % wide * kWide;
            for (int64_t k = 0; k < n; k += kDepth)
                add_block(outer, mine, rows + k, b + k, std::min(kDepth, n - k), i0, std::min(i0 + tall, outer.I), p0,
                          std::min(p0 + kWide, panels_of(outer.J)), k > 0);
        }
    });
    return true;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
