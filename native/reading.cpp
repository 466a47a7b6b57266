// Tokens summed in steps, and steps pooled.
#include <cstring>

#include "steps.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

uint32_t pair_key(const unrolled_reading& c, int32_t before, int32_t id) {
    return static_cast<uint32_t>(before) * static_cast<uint32_t>(c.words) + static_cast<uint32_t>(id);
}

// The row of a pair, or -1.
int64_t pair_row(const unrolled_reading& c, uint32_t key) {
    const uint64_t mask = static_cast<uint64_t>(c.capacity) - 1;
    for (uint64_t at = unrolled_pair_slot(key) & mask; c.slots[at]; at = (at + 1) & mask)
        if (c.slots[at] >> 32 == key) return c.words + static_cast<int64_t>(static_cast<uint32_t>(c.slots[at])) - 1;
    return -1;
}

// x (D) += a row; sums (K) += its weights. D is known to the compiler unless it is 0.
template <int Fixed>
void add_row(const uint8_t* row, int64_t D, int64_t K, float* x, float* sums) {
    float scale, weight;
    std::memcpy(&scale, row, sizeof scale);
    for (int64_t k = 0; k < K; ++k) {
        std::memcpy(&weight, row + 4 + 4 * k, sizeof weight);
        sums[k] += weight;
    }
    const int8_t* bytes = reinterpret_cast<const int8_t*>(row + 4 + 4 * K);
    const int64_t size = Fixed ? Fixed : D;
    for (int64_t d = 0; d < size; ++d) x[d] += scale * static_cast<float>(bytes[d]);
}

constexpr int64_t kBlock = 128;

// A row may lie across two lines of the cache.
void ask_for(const uint8_t* row, int64_t stride) {
    __builtin_prefetch(row);
    __builtin_prefetch(row + stride - 1);
}

// Memory is asked for before it is needed: first the slots of a block's pairs, then all its rows.
template <int Fixed>
void read_text(const unrolled_reading& c, int64_t text) {
    const int32_t* ids = c.ids + c.offsets[text];
    const int64_t n = c.offsets[text + 1] - c.offsets[text], stride = 4 + 4 * c.K + c.D;
    const uint64_t mask = static_cast<uint64_t>(c.capacity) - 1;
    float* x = c.x + text * c.T * c.D;
    std::fill_n(x, (n + c.step - 1) / c.step * c.D, 0.0f);
    float* sums = c.weight + text * c.K;
    std::fill_n(sums, c.K, 0.0f);
    int64_t inside = 0;  // tokens of the step so far
    for (int64_t first = 0; first < n; first += kBlock) {
        const int64_t count = std::min(kBlock, n - first), skip = c.pairs && first ? 0 : c.pairs ? 1 : count;
        uint32_t keys[kBlock];
        int64_t pairs[kBlock];
        for (int64_t i = 0; i < count; ++i) ask_for(c.rows + ids[first + i] * stride, stride);
        for (int64_t i = skip; i < count; ++i) {
            keys[i] = pair_key(c, ids[first + i - 1], ids[first + i]);
            __builtin_prefetch(c.slots + (unrolled_pair_slot(keys[i]) & mask));
        }
        std::fill_n(pairs, skip, -1);
        for (int64_t i = skip; i < count; ++i) {
            pairs[i] = pair_row(c, keys[i]);
            if (pairs[i] >= 0) ask_for(c.rows + pairs[i] * stride, stride);
        }
        for (int64_t i = 0; i < count; ++i) {
            add_row<Fixed>(c.rows + ids[first + i] * stride, c.D, c.K, x, sums);
            if (pairs[i] >= 0) add_row<Fixed>(c.rows + pairs[i] * stride, c.D, c.K, x, sums);
            if (++inside == c.step) {
                inside = 0;
                x += c.D;
            }
        }
    }
}

bool usable(const unrolled_reading& c) {
    if (c.words < 1 || c.pairs < 0 || c.D < 1 || c.K < 0 || c.step < 1 || c.texts < 0 || !c.offsets || c.offsets[0] != 0) return false;
    if (c.pairs && (!c.slots || c.capacity < 2 * c.pairs || (c.capacity & (c.capacity - 1)))) return false;
    for (int64_t i = 0; i < c.texts; ++i) {
        const int64_t n = c.offsets[i + 1] - c.offsets[i];
        if (n < 0 || (n + c.step - 1) / c.step > c.T) return false;
    }
    return c.texts == 0 || (c.rows && c.weight && (c.offsets[c.texts] == 0 || (c.ids && c.x)));
}

void pool_row(const unrolled_pooling& c, int64_t b) {
    const int64_t n = c.lengths ? c.lengths[b] : c.T;
    float *mean = c.mean ? c.mean + b * c.D : nullptr, *max = c.max ? c.max + b * c.D : nullptr;
    const float* x = c.x.data + b * c.x.row;
    if (mean) std::fill_n(mean, c.D, 0.0f);
    if (max) std::fill_n(max, c.D, 0.0f);
    if (max && n > 0) std::copy_n(x, c.D, max);
    for (int64_t t = 0; t < n; ++t, x += c.x.time) {
        if (mean)
            for (int64_t d = 0; d < c.D; ++d) mean[d] += x[d];
        if (max)
            for (int64_t d = 0; d < c.D; ++d) max[d] = x[d] > max[d] ? x[d] : max[d];
    }
    for (int64_t d = 0; mean && n > 0 && d < c.D; ++d) mean[d] /= static_cast<float>(n);
}

}  // namespace

int read_steps(const unrolled_reading* call) {
    if (!usable(*call)) return UNROLLED_BAD_CALL;
    for (int64_t i = 0; i < call->offsets[call->texts]; ++i)
        if (call->ids[i] < 0 || call->ids[i] >= call->words) return UNROLLED_BAD_TOKEN;
    const auto read = call->D == 32 ? read_text<32> : call->D == 64 ? read_text<64> : read_text<0>;
    share((call->texts + 7) / 8, [&](int64_t i) {
        for (int64_t text = 8 * i; text < std::min(8 * i + 8, call->texts); ++text) read(*call, text);
    });
    return UNROLLED_OK;
}

int pool(const unrolled_pooling* call) {
    const unrolled_pooling& c = *call;
    if (c.T < 0 || c.B < 0 || c.D < 1 || (c.B && c.T && !c.x.data)) return UNROLLED_BAD_CALL;
    for (int64_t b = 0; c.lengths && b < c.B; ++b)
        if (c.lengths[b] < 0 || c.lengths[b] > c.T) return UNROLLED_BAD_LENGTH;
    share((c.B + 7) / 8, [&](int64_t i) {
        for (int64_t b = 8 * i; b < std::min(8 * i + 8, c.B); ++b) pool_row(c, b);
    });
    return UNROLLED_OK;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
