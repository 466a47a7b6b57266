// Rows of a table instead of products, and their gradients.
#include "tokens.h"

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

bool scan_row(const Tokens& tokens, int64_t b, int64_t* begins, uint8_t* met) {
    const int64_t end = tokens.lengths ? tokens.lengths[b] : tokens.T;
    int64_t t = 0;
    if (tokens.prefix >= 0)
        while (t < end && tokens.at(t, b) == tokens.prefix) ++t;
    begins[b] = t;
    for (; t < end; ++t) {
        const int64_t word = static_cast<uint32_t>(tokens.at(t, b));
        if (word >= tokens.V) return false;
        // Several threads may write this 1 at once.
        __atomic_store_n(met + word, uint8_t{1}, __ATOMIC_RELAXED);
    }
    return true;
}

// Where each word stands: rows[begin[i], begin[i + 1]) are the rows of dz of word ids[i], in order.
struct Index {
    int64_t words;
    int64_t* ids;
    int64_t* begin;
    int32_t* rows;
};

// A counting sort.
void sort_words(const Tokens& tokens, const Rows& rows, Index& index, int32_t* count) {
    std::fill(count, count + tokens.V, 0);
    const auto each = [&](const auto& visit) {
        for (int64_t t = 0; t < rows.T; ++t)
            for (int64_t r = 0; r < rows.active[t]; ++r) visit(tokens.at(t, rows.order[r]), rows.place(t, r));
        for (int64_t t = 0; t < rows.shared; ++t) visit(tokens.prefix, rows.total + t);
    };
    each([&](int32_t word, int64_t) { ++count[word]; });
    int64_t place = 0;
    index.words = 0;
    for (int64_t word = 0; word < tokens.V; ++word) {
        if (count[word] == 0) continue;
        index.ids[index.words] = word;
        index.begin[index.words++] = place;
        place += count[word];
        count[word] = static_cast<int32_t>(place - count[word]);
    }
    index.begin[index.words] = place;
    each([&](int32_t word, int64_t row) { index.rows[count[word]++] = static_cast<int32_t>(row); });
}

// sum = the rows of dz of one word; rows are added in blocks, so that a word that is everywhere loses nothing.
void add_rows(const float* dz, int64_t H, const int32_t* rows, int64_t n, float* sum) {
    for (int64_t h = 0; h < H; h += kLanes) {
        Vector total{};
        for (int64_t i = 0; i < n;) {
            Vector block{};
            for (const int64_t end = std::min<int64_t>(i + 64, n); i < end; ++i)
                block += load_some(dz + int64_t{rows[i]} * H + h, H - h);
            total += block;
        }
        store_some(sum + h, total, H - h);
    }
}

}  // namespace

bool scan(const Tokens& tokens, int64_t* begins, uint8_t* met) {
    std::atomic<bool> good{true};
    share((tokens.B + 7) / 8, [&](int64_t i) {
        for (int64_t b = 8 * i; b < std::min(8 * i + 8, tokens.B); ++b)
            if (!scan_row(tokens, b, begins, met)) good = false;
    });
    return good;
}

bool fill_table(Scratch& scratch, const unrolled_table& call, const uint8_t* met) {
    const Panels w = packed(scratch, call.w_ih, call.D, call.H, 1, call.D);
    float* zeros = scratch.zeros<float>(call.H);
    const float** a = scratch.take<const float*>(call.V);
    const float** init = scratch.take<const float*>(call.V);
    float** c = scratch.take<float*>(call.V);
    if (!scratch.ok()) return false;
    int64_t n = 0;
    for (int64_t v = 0; v < call.V; ++v) {
        if (met && !met[v]) continue;
        a[n] = call.embedding + v * call.D;
        init[n] = call.bias ? call.bias : zeros;
        c[n++] = call.table + v * call.H;
    }
    multiply_all<Plain>({a, init, c, nullptr, n}, w);
    return true;
}

bool embedding_gradient(Scratch& scratch, const unrolled_elman& call, const Rows& rows, const float* dz) {
    const int64_t n = rows.total + rows.shared, most = std::min(call.V, n), H = call.H, D = call.D;
    const Tokens tokens{call.tokens, call.token_time, call.token_row, call.T, call.B, call.V, call.prefix_token,
                        call.lengths};
    Index index{0, scratch.take<int64_t>(most), scratch.take<int64_t>(most + 1), scratch.take<int32_t>(n)};
    int32_t* count = scratch.take<int32_t>(call.V);
    float* sums = scratch.take<float>(most * H);
    const float** a = scratch.take<const float*>(most);
    const float** e = scratch.take<const float*>(most);
    const float** init = scratch.take<const float*>(most);
    float** c = scratch.take<float*>(most);
    float* zeros = scratch.zeros<float>(D);
    const Panels w = packed(scratch, call.w_ih, H, D, D, 1);
    if (!scratch.ok()) return false;
    sort_words(tokens, rows, index, count);
    const bool all = call.d_embedding && !call.word_ids;
    if (all) std::fill(call.d_embedding, call.d_embedding + call.V * D, 0.0f);
    if (call.word_ids) std::copy(index.ids, index.ids + index.words, call.word_ids);
    if (call.words) *call.words = index.words;
    for (int64_t i = 0; i < index.words; ++i) {
        a[i] = sums + i * H;
        e[i] = call.embedding + index.ids[i] * D;
        init[i] = zeros;
        if (call.d_embedding) c[i] = call.d_embedding + (all ? index.ids[i] : i) * D;
    }
    share((index.words + 31) / 32, [&](int64_t task) {
        const int64_t first = 32 * task, last = std::min(first + 32, index.words);
        for (int64_t i = first; i < last; ++i)
            add_rows(dz, H, index.rows + index.begin[i], index.begin[i + 1] - index.begin[i], sums + i * H);
        if (call.d_embedding)
            multiply<Plain>({a + first, init + first, c + first, nullptr, last - first}, w, 0, w.count());
    });
    return !call.d_w_ih || outer(scratch, sums, e, index.words, H, D, call.d_w_ih, nullptr);
}

int input_table(const unrolled_table* call) {
    if (call->size != sizeof *call || call->V < 0 || call->D < 1 || call->H < 1) return UNROLLED_BAD_CALL;
    Scratch scratch;
    return fill_table(scratch, *call, nullptr) ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
