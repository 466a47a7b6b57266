// h_t = a_t h_(t-1) + b_t, number by number: forward, and its gradient. Each thread has columns of its own.
#include "steps.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

constexpr int64_t kSome = 16 * kLanes;  // columns at a time: a page of rows is read in order

bool can_be_followed(const unrolled_scan& c) {
    return c.T >= 0 && c.N >= 0 && c.h_0 && ((c.a && c.h) || c.T * c.N == 0);
}

// body(first, last) for columns [0, N), some at a time, over the threads where there is enough to do.
template <class Body>
void columns(const unrolled_scan& c, const Body& body) {
    const int64_t blocks = (c.N + kSome - 1) / kSome;
    const auto run = [&](int64_t i) { body(i * kSome, std::min((i + 1) * kSome, c.N)); };
    if (c.T * c.N > 50000) return share(blocks, run);
    for (int64_t i = 0; i < blocks; ++i) run(i);
}

}  // namespace

int scan_forward(const unrolled_scan* call) {
    const unrolled_scan& c = *call;
    if (!can_be_followed(c) || (!c.b && c.T * c.N > 0)) return UNROLLED_BAD_CALL;
    columns(c, [&](int64_t first, int64_t last) {
        const float* before = c.h_0;
        for (int64_t t = 0; t < c.T; ++t) {
            const int64_t row = t * c.N;
            for (int64_t j = first; j < last; j += kLanes) {
                const Vector a = load_some(c.a + row + j, last - j), b = load_some(c.b + row + j, last - j);
                store_some(c.h + row + j, fma(a, load_some(before + j, last - j), b), last - j);
            }
            before = c.h + row;
        }
    });
    return UNROLLED_OK;
}

int scan_backward(const unrolled_scan* call) {
    const unrolled_scan& c = *call;
    if (!can_be_followed(c) || !c.d_h_0 || ((!c.d_a || !c.d_b || !c.d_h) && c.T * c.N > 0)) return UNROLLED_BAD_CALL;
    columns(c, [&](int64_t first, int64_t last) {
        std::fill(c.d_h_0 + first, c.d_h_0 + last, 0.0f);
        for (int64_t t = c.T - 1; t >= 0; --t) {
            const int64_t row = t * c.N;
            const float* before = t > 0 ? c.h + row - c.N : c.h_0;
            for (int64_t j = first; j < last; j += kLanes) {
                const int64_t left = last - j;
                const Vector d = load_some(c.d_h_0 + j, left) + load_some(c.d_h + row + j, left);
                store_some(c.d_b + row + j, d, left);
                store_some(c.d_a + row + j, d * load_some(before + j, left), left);
                store_some(c.d_h_0 + j, d * load_some(c.a + row + j, left), left);
            }
        }
    });
    return UNROLLED_OK;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
