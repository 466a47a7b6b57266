// The one register tile behind every matrix product of the engine.
//
// Each element of a result has one accumulator, which meets its products in the order of k, whatever tile it lies
// in and however K is cut into blocks: so a row's bits depend on that row and the weights alone. Columns beyond
// the last are computed on zeros and not stored; rows beyond the last do not exist.
#pragma once

#include <algorithm>

#include "engine.h"
#include "simd.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {

constexpr int64_t kPanel = 2 * kLanes;           // columns of a panel: two vectors
constexpr int kRows = kRegisters == 32 ? 8 : 6;  // rows of a tile
constexpr int kAccumulators = kRegisters == 32 ? 16 : 12;
constexpr int64_t kDepth = 256;  // steps of k before the next panel: a panel of so many stays in L1

// Panels side by side for few rows, which alone would wait for their own sums.
constexpr int panels_at_once(int rows) { return rows * 8 <= kAccumulators ? 4 : rows * 4 <= kAccumulators ? 2 : 1; }

inline int64_t panels_of(int64_t columns) { return (columns + kPanel - 1) / kPanel; }

// Where the element (k, n) of a matrix (K, N) is: w[(k + turn) % K * down + n * across], down or across being 1.
struct Source {
    const float* w;
    int64_t down, across, turn = 0;
};

// A matrix (K, N) as panels: panel p is (K, kPanel), columns [p kPanel, (p + 1) kPanel), zeros beyond N. Or a part of it:
// the panels from `first` on, and of these `depth` rows from `top` on.
struct Panels {
    float* data;  // null: each panel is used once, and made then
    int64_t K, N;
    Source from{};
    int64_t first = 0, top = 0, depth = 0;

    int64_t count() const { return panels_of(N); }
    int64_t size() const { return (depth ? depth : K) * kPanel; }
    float* at(int64_t p, int64_t k = 0) const { return data + (p - first) * size() + (k - top) * kPanel; }
    int64_t floats() const { return count() * size(); }
    // Of several matrices one after the other, as panels and where they came from.
    Panels number(int64_t i) const {
        return {data ? data + i * floats() : nullptr, K, N, {from.w + i * K * N, from.down, from.across, from.turn}};
    }
};

// Fills rows [k0, k1) of panel p.
inline void pack(const Panels& to, const Source& from, int64_t p, int64_t k0, int64_t k1) {
    const int64_t column = p * kPanel, columns = to.N - column;
    const float* w = from.w + column * from.across;
    if (from.across == 1) {
        for (int64_t k = k0; k < k1; ++k) {
            const float* row = w + (k + from.turn) % to.K * from.down;
            store(to.at(p, k), load_some(row, columns));
            store(to.at(p, k) + kLanes, load_some(row + kLanes, columns - kLanes));
        }
        return;
    }
    for (int64_t k = k0; k < k1; k += kLanes)
        for (int64_t n = 0; n < kPanel; n += kLanes) {
            const bool whole = n + kLanes <= columns && k + kLanes <= k1;
            Vector rows[kLanes];
#pragma GCC unroll 16
            for (int64_t i = 0; i < kLanes; ++i) {
                const float* row = w + (n + i) * from.across + k;
                rows[i] = whole ? load(row) : n + i < columns ? load_some(row, k1 - k) : Vector{};
            }
            transpose(rows);
#pragma GCC unroll 16
            for (int64_t i = 0; i < kLanes; ++i)
                if (whole || k + i < k1) store(to.at(p, k + i) + n, rows[i]);
        }
}

// Rows of a product c = finish(init + first_a first_W + a W), each by its address. `with` is what Finish looks at.
struct Product {
    const float* const* a;
    const float* const* init;
    float* const* c;
    const float* const* with;
    int64_t rows;
    int64_t shift = 0;                      // columns of init and c to leave out
    const float* const* first_a = nullptr;  // with as many columns of its own W, both K together at most kDepth
    const Panels* first_w = nullptr;
};

// What is done to sums before they are stored.
struct Plain {
    static constexpr bool kLooks = false;
    static Vector apply(Vector z, Vector) { return z; }
};
struct Tanh : Plain {
    static Vector apply(Vector z, Vector) { return tanh(z); }
};
struct Relu : Plain {
    static Vector apply(Vector z, Vector) { return maximum(Vector{}, z); }
};
// d z from d h and h.
struct TanhSlope {
    static constexpr bool kLooks = true;
    static Vector apply(Vector d, Vector h) { return d * (fill(1.0f) - h * h); }
};
struct ReluSlope {
    static constexpr bool kLooks = true;
    static Vector apply(Vector d, Vector h) { return h <= Vector{} ? Vector{} : d; }
};

// What a tile does at its edge: columns beyond the last are neither read nor written.
template <class Finish, int R, int V>
void finish_edge(const Product& product, int64_t row, int64_t column, int64_t columns, bool last,
                 const Vector (&sum)[R][V]) {
    for (int r = 0; r < R; ++r)
        for (int v = 0; v < V; ++v) {
            const int64_t at = column + v * kLanes, left = columns - at;
            const Vector look = Finish::kLooks && last ? load_some(product.with[row + r] + at, left) : Vector{};
            store_some(product.c[row + r] + product.shift + at, last ? Finish::apply(sum[r][v], look) : sum[r][v], left);
        }
}

// Adds to R rows of V vectors, the first of them at the beginning of panel p, their products for k in [k0, k1).
template <int R, int V>
inline __attribute__((always_inline)) void accumulate(Vector (&sum)[R][V], const float* const* rows, const Panels& w,
                                                      int64_t p, int64_t k0, int64_t k1) {
    const int64_t step = w.size();
    const float* panel = w.at(p, k0);
    const float* a[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) a[r] = rows[r] + k0;
    for (int64_t k = 0; k < k1 - k0; ++k) {
        Vector wk[V];
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) wk[v] = load(panel + v / 2 * step + k * kPanel + v % 2 * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vector ak = fill(a[r][k]);
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) sum[r][v] = fma(ak, wk[v], sum[r][v]);
        }
    }
}

template <class Finish, int R, int V>
void tile(const Product& product, int64_t row, const Panels& w, int64_t p, int64_t k0, int64_t k1) {
    const int64_t column = p * kPanel, to = product.shift + column;
    const bool whole = w.N - column >= V * kLanes, last = k1 == w.K;
    Vector sum[R][V];
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
        const float* from = (k0 == 0 ? product.init[row + r] : product.c[row + r]) + to;
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v)
            sum[r][v] = whole ? load(from + v * kLanes) : load_some(from + v * kLanes, w.N - column - v * kLanes);
    }
    if (product.first_w) accumulate(sum, product.first_a + row, *product.first_w, p, 0, product.first_w->K);
    accumulate(sum, product.a + row, w, p, k0, k1);
    if (!whole || !last) {
        Vector copy[R][V];
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
            for (int v = 0; v < V; ++v) copy[r][v] = sum[r][v];
        return finish_edge<Finish>(product, row, column, w.N, last, copy);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 8
        for (int v = 0; v < V; ++v) {
            const Vector look = Finish::kLooks ? load(product.with[row + r] + column + v * kLanes) : Vector{};
            store(product.c[row + r] + to + v * kLanes, Finish::apply(sum[r][v], look));
        }
}

// `rows` rows, 1 to R, of panels from p, up to `end`: returns the panel after those that it computed.
template <class Finish, int R = kRows>
int64_t tiles(int rows, const Product& product, int64_t row, const Panels& w, int64_t p, int64_t end, int64_t k0,
              int64_t k1) {
    if constexpr (R > 1) {
        if (rows < R) return tiles<Finish, R - 1>(rows, product, row, w, p, end, k0, k1);
    }
    constexpr int P = panels_at_once(R);
    if (P > 1 && p + P <= end) {
        tile<Finish, R, 2 * P>(product, row, w, p, k0, k1);
        return p + P;
    }
    if (w.N - p * kPanel > kLanes) tile<Finish, R, 2>(product, row, w, p, k0, k1);
    else tile<Finish, R, 1>(product, row, w, p, k0, k1);
    return p + 1;
}

// Whether two products can be one: then the sums stay in registers from the first to the second.
inline bool one_product(const Panels& first, const Panels& w, int64_t rows) {
    return first.data && first.K + w.K <= kDepth && rows >= 2 * kRows;
}

// multiply for k in [k0, k1).
template <class Finish>
void multiply_rows(const Product& product, const Panels& w, int64_t begin, int64_t end, int64_t k0, int64_t k1) {
    const int64_t groups = (product.rows + kRows - 1) / kRows;
    for (int64_t p = begin, next; p < end && groups > 0; p = next) {
        next = p + 1;
        for (int64_t g = 0; g < groups; ++g) {
            const int64_t row = g * product.rows / groups, rows = (g + 1) * product.rows / groups - row;
            // Several panels at once only where one group is all there is.
            const int64_t last = groups == 1 ? end : p + 1;
            next = tiles<Finish>(static_cast<int>(rows), product, row, w, p, last, k0, k1);
        }
    }
}

// multiply with panels that are used once: some rows of a few are made, used, and overwritten by the next.
template <class Finish>
void multiply_once(const Product& product, const Panels& w, int64_t begin, int64_t end) {
    constexpr int64_t kMost = panels_at_once(1), kDeep = kDepth / kMost;
    alignas(64) float room[kMost * kDeep * kPanel];
    const int64_t some = panels_at_once(static_cast<int>(std::min<int64_t>(product.rows, kRows)));
    for (int64_t p = begin; p < end; p += some) {
        const int64_t last = std::min(p + some, end);
        for (int64_t k0 = 0; k0 < w.K; k0 += kDeep) {
            const int64_t k1 = std::min(k0 + kDeep, w.K);
            const Panels part{room, w.K, w.N, {}, p, k0, kDeep};
            for (int64_t q = p; q < last; ++q) pack(part, w.from, q, k0, k1);
            multiply_rows<Finish>(product, part, p, last, k0, k1);
        }
    }
}

// c = finish(init + a W) for panels [begin, end) of W.
template <class Finish>
void multiply(const Product& product, const Panels& w, int64_t begin, int64_t end) {
    if (product.rows == 0) return;
    if (!w.data) return multiply_once<Finish>(product, w, begin, end);
    for (int64_t k0 = 0; k0 < w.K; k0 += kDepth)
        multiply_rows<Finish>(product, w, begin, end, k0, std::min(k0 + kDepth, w.K));
}

// Rows of two matrices by address, for a^T b.
struct Pairs {
    const float* const* a;
    const float* const* b;
    int64_t n;
};

// c (+)= a^T b: columns of a from i on, and of b from j on, of which `left` count; b must be readable to the end of
// their last vector.
struct OuterTile {
    Pairs pairs;
    int64_t i, j;
    float* c;
    int64_t row, left;  // distance between rows of c
    bool add;
};

template <int R, int V>
void outer_tile(const OuterTile& o) {
    Vector sum[R][V] = {};
    for (int64_t k = 0; k < o.pairs.n; ++k) {
        const float* a = o.pairs.a[k] + o.i;
        Vector b[V];
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) b[v] = load(o.pairs.b[k] + o.j + v * kLanes);
#pragma GCC unroll 8
        for (int r = 0; r < R; ++r) {
            const Vector ar = fill(a[r]);
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v) sum[r][v] = fma(ar, b[v], sum[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
            float* to = o.c + r * o.row + v * kLanes;
            const Vector before = o.add ? load_some(to, o.left - v * kLanes) : Vector{};
            store_some(to, before + sum[r][v], o.left - v * kLanes);
        }
}

template <int R = kRows>
void outer_tiles(int64_t rows, const OuterTile& o) {
    if constexpr (R > 1) {
        if (rows < R) return outer_tiles<R - 1>(rows, o);
    }
    if (o.left > kLanes) outer_tile<R, 2>(o);
    else outer_tile<R, 1>(o);
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
