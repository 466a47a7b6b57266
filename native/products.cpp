// c = a^T b: the gradient of a weight from all steps of all rows.
#include "products.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

constexpr int64_t kWide = 4;  // panels of b per task, so that packing a pays

struct Outer {
    const float* a;
    const float* const* b;
    int64_t n, I, J;
    float *c, *sums;
    int64_t rows;  // of c per task
};

// Copies of a block in the order in which the tiles read it, where that order jumps through memory.
struct Block {
    float* a;         // (tiles, kDepth, kRows)
    float* b;         // (kDepth, kPanel)
    const float** at; // (kDepth,) rows of b
};

void add_columns(const Outer& o, int64_t k0, int64_t n, int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; i += kLanes) {
        const float* a = o.a + k0 * o.I + i;
        Vector sum[4] = {};
        for (int64_t k = 0; k < n; ++k) sum[k % 4] += load_some(a + k * o.I, i1 - i);
        const Vector before = k0 == 0 ? Vector{} : load_some(o.sums + i, i1 - i);
        store_some(o.sums + i, before + ((sum[0] + sum[1]) + (sum[2] + sum[3])), i1 - i);
    }
}

// a as (n, kRows) for each tile of [i0, i1).
void copy_a(const Outer& o, const Block& block, int64_t k0, int64_t n, int64_t i0, int64_t i1) {
    for (int64_t i = i0; i < i1; i += kRows) {
        float* to = block.a + (i - i0) * kDepth;
        const int64_t rows = std::min<int64_t>(kRows, i1 - i);
        for (int64_t k = 0; k < n; ++k)
            for (int64_t r = 0; r < rows; ++r) to[k * kRows + r] = o.a[(k0 + k) * o.I + i + r];
    }
}

void copy_b(const Outer& o, const Block& block, int64_t k0, int64_t n, int64_t j) {
    for (int64_t k = 0; k < n; ++k) {
        float* to = block.b + k * kPanel;
        const float* from = o.b[k0 + k] + j;
        store(to, load_some(from, o.J - j));
        store(to + kLanes, load_some(from + kLanes, o.J - j - kLanes));
        block.at[k] = to;
    }
}

void panel(const Outer& o, const Block& block, int64_t k0, int64_t n, int64_t i0, int64_t i1, int64_t j) {
    const bool copy = o.J > 2 * kPanel || o.J - j < kPanel, copied = o.I > 64;
    if (copy) copy_b(o, block, k0, n, j);
    const float* const* b = copy ? block.at : o.b + k0;
    for (int64_t i = i0; i < i1; i += kRows) {
        const float* a = copied ? block.a + (i - i0) * kDepth : o.a + k0 * o.I + i;
        const int rows = static_cast<int>(std::min<int64_t>(kRows, i1 - i));
        outer_tile<kRows>(rows, a, copied ? kRows : o.I, b, copy ? 0 : j, n, o.c + i * o.J + j, o.J, o.J - j, k0 > 0);
    }
}

void task(const Outer& o, const Block& block, int64_t i0, int64_t p0) {
    const int64_t i1 = std::min(i0 + o.rows, o.I), p1 = std::min(p0 + kWide, panels_of(o.J));
    for (int64_t k0 = 0; k0 < o.n; k0 += kDepth) {
        const int64_t n = std::min(kDepth, o.n - k0);
        if (o.I > 64) copy_a(o, block, k0, n, i0, i1);
        for (int64_t p = p0; p < p1; ++p) panel(o, block, k0, n, i0, i1, p * kPanel);
        if (o.sums && p0 == 0) add_columns(o, k0, n, i0, i1);
    }
}

}  // namespace

bool outer(Scratch& scratch, const float* a, const float* const* b, int64_t n, int64_t I, int64_t J, float* c,
           float* sums) {
    if (n == 0) {
        std::fill(c, c + I * J, 0.0f);
        if (sums) std::fill(sums, sums + I, 0.0f);
        return true;
    }
    Outer o{a, b, n, I, J, c, sums, 16 * kRows};
    const int64_t threads = thread_count(), wide = (panels_of(J) + kWide - 1) / kWide;
    while (o.rows > kRows && (I + o.rows - 1) / o.rows * wide < 2 * threads) o.rows /= 2;
    const int64_t tall = (I + o.rows - 1) / o.rows;
    const int64_t floats = (16 * kRows + kPanel) * kDepth;
    float* copies = scratch.take<float>(threads * floats);
    const float** at = scratch.take<const float*>(threads * kDepth);
    if (!scratch.ok()) return false;
    std::atomic<int64_t> next{0}, worker{0};
    parallel(std::min(threads, wide * tall), [&](int64_t, int64_t) {
        const int64_t me = worker++;
        const Block block{copies + me * floats, copies + me * floats + 16 * kRows * kDepth, at + me * kDepth};
        for (int64_t i; (i = next++) < wide * tall;) task(o, block, i / wide * o.rows, i % wide * kWide);
    });
    return true;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
