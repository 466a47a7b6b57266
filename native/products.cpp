// c = a^T b: the gradient of a weight.
#include "products.h"

#include <cstring>

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

constexpr int64_t kWide = 8;  // panels of b per task, so that copying a pays

}  // namespace

void add_columns(const Outer& outer, const Pairs& pairs, const Part& part, bool add) {
    for (int64_t i = part.i0; i < part.i1; i += kLanes) {
        const int64_t left = part.i1 - i;
        Vector sum[4] = {};
        for (int64_t k = 0; k < pairs.n; ++k) sum[k % 4] += load_some(pairs.a[k] + i, left);
        const Vector before = add ? load_some(outer.sums + i, left) : Vector{};
        store_some(outer.sums + i, before + ((sum[0] + sum[1]) + (sum[2] + sum[3])), left);
    }
}

namespace {

// The columns of a, tile by tile, in the order in which tiles read them.
void copy_a(const Copies& copies, const Pairs& pairs, const Part& part) {
    const int64_t whole = part.i0 + (part.i1 - part.i0) / kRows * kRows;
    for (int64_t k = 0; k < pairs.n; ++k) {
        const float* from = pairs.a[k];
        float* to = copies.a + k * kRows;
        for (int64_t i = part.i0; i < whole; i += kRows, to += Copies::kTile)
            std::memcpy(to, from + i, kRows * sizeof *to);
        for (int64_t i = whole; i < part.i1; ++i) to[i - whole] = from[i];
    }
}

// One panel of b, zeros beyond its last column.
void copy_b(const Copies& copies, const Pairs& pairs, int64_t j, int64_t left) {
    for (int64_t k = 0; k < pairs.n; ++k) {
        store(copies.b + k * kPanel, load_some(pairs.b[k] + j, left));
        store(copies.b + k * kPanel + kLanes, load_some(pairs.b[k] + j + kLanes, left - kLanes));
    }
}

}  // namespace

Copies::Copies(Scratch& scratch, int64_t columns) {
    a = scratch.take<float>((columns + kRows - 1) / kRows * kTile);
    b = scratch.take<float>(kDepth * kPanel);
    at_a = scratch.take<const float*>(kDepth);
    at_b = scratch.take<const float*>(kDepth);
    for (int64_t k = 0; scratch.ok() && k < kDepth; ++k) at_a[k] = a + k * kRows, at_b[k] = b + k * kPanel;
}

void add_block(const Outer& outer, const Copies& copies, const Pairs& pairs, const Part& part, bool add,
               bool copied) {
    const bool tall = part.i1 - part.i0 > 64;
    if (tall && !copied) copy_a(copies, pairs, part);
    for (int64_t p = part.p0; p < part.p1; ++p) {
        const int64_t j = p * kPanel, left = outer.J - j;
        const bool copy = outer.J > 2 * kPanel || (left < kPanel && left != kLanes);
        if (copy) copy_b(copies, pairs, j, left);
        OuterTile o{{tall ? copies.at_a : pairs.a, copy ? copies.at_b : pairs.b, pairs.n}, 0, copy ? 0 : j, nullptr,
                    outer.J, left, add};
        for (int64_t i = part.i0; i < part.i1; i += kRows) {
            o.i = tall ? (i - part.i0) / kRows * Copies::kTile : i;
            o.c = outer.c + i * outer.J + j;
            outer_tiles(std::min<int64_t>(kRows, part.i1 - i), o);
        }
    }
    if (outer.sums && part.p0 == 0) add_columns(outer, pairs, part, add);
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
            const int64_t i = task / wide * tall, p = task % wide * kWide;
            const Part part{i, std::min(i + tall, outer.I), p, std::min(p + kWide, panels_of(outer.J))};
            for (int64_t k = 0; k < n; k += kDepth)
                add_block(outer, mine, {rows + k, b + k, std::min(kDepth, n - k)}, part, k > 0);
        }
    });
    return true;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
