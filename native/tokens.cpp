// Rows of a table instead of products, and their gradients.
#include "tokens.h"

#include <cstring>

namespace unrolled {
namespace UNROLLED_ISA_NAME {
namespace {

// Whether rows that begin alike do so from the same state.
bool same_start(const unrolled_elman& c) {
    for (int64_t b = 0; b < c.B; ++b) {
        if (c.lengths && c.lengths[b] != c.T) return false;
        if (c.h_0 && std::memcmp(c.h_0, c.h_0 + b * c.H, c.H * sizeof(float)) != 0) return false;
    }
    return !c.reverse && c.prefix_token >= 0 && c.prefix_token < c.V;
}

bool scan_row(const unrolled_elman& c, bool share_start, int64_t b, int64_t* begins, uint8_t* met) {
    const int32_t* tokens = c.tokens + b * c.token_row;
    const int64_t end = c.lengths ? c.lengths[b] : c.T;
    int64_t t = 0;
    while (share_start && t < end && tokens[t * c.token_time] == c.prefix_token) ++t;
    begins[b] = t;
    for (; met && t < end; ++t) {
        const int64_t word = static_cast<uint32_t>(tokens[t * c.token_time]);
        if (word >= c.V) return false;
        // Several threads may write this 1 at once.
        __atomic_store_n(met + word, uint8_t{1}, __ATOMIC_RELAXED);
    }
    return true;
}

// sum (H) = n rows of dz; they are added in blocks, so that a word that is everywhere loses nothing.
void add_rows(const float* dz, int64_t H, const int32_t* rows, int64_t n, float* sum) {
    for (int64_t h = 0; h < H; h += kPanel) {
        Vector total[2] = {};
        for (int64_t i = 0; i < n;) {
            Vector block[2] = {};
            for (const int64_t end = std::min<int64_t>(i + 64, n); i < end; ++i) {
                const float* row = dz + int64_t{rows[i]} * H + h;
                // Those of the next word follow in the list.
                prefetch(dz + int64_t{rows[i + Index::kAhead]} * H + h, std::min(kPanel, H - h));
                block[0] += load_some(row, H - h);
                block[1] += load_some(row + kLanes, H - h - kLanes);
            }
            total[0] += block[0];
            total[1] += block[1];
        }
        store_some(sum + h, total[0], H - h);
        store_some(sum + h + kLanes, total[1], H - h - kLanes);
    }
}

// Visits the tokens of one of `parts` parts of the batch, and after the last one those of the common beginning.
template <class Visit>
void each_token(const unrolled_elman& c, const Rows& all, int64_t part, int64_t parts, const Visit& visit) {
    for (int64_t r = 0, before = 0; r < all.B; before += all.steps[r++]) {
        if (before * parts / std::max<int64_t>(1, all.total) != part) continue;
        const int32_t* tokens = c.tokens + all.order[r] * c.token_row;
        for (int64_t t = all.begin[r], end = t + all.steps[r]; t < end; ++t)
            visit(tokens[(c.reverse ? end - 1 - t : t) * c.token_time], all.place(t, r));
    }
    for (int64_t t = 0; part == parts - 1 && t < all.shared; ++t) visit(c.prefix_token, all.total + t);
}

}  // namespace

bool scan(const unrolled_elman& call, int64_t* begins, uint8_t* met) {
    const bool share_start = same_start(call);
    std::atomic<bool> good{true};
    if (!met) {
        for (int64_t b = 0; b < call.B; ++b) scan_row(call, share_start, b, begins, met);
        return true;
    }
    share((call.B + 7) / 8, [&](int64_t i) {
        for (int64_t b = 8 * i; b < std::min(8 * i + 8, call.B); ++b)
            if (!scan_row(call, share_start, b, begins, met)) good = false;
    });
    return good;
}

Index::Index(Scratch& scratch, int64_t V, int64_t n)
    : V(V), parts(std::max<int64_t>(1, std::min<int64_t>(thread_count(), n / 4096))),
      ids(scratch.take<int64_t>(std::min(V, n))), begin(scratch.take<int64_t>(std::min(V, n) + 1)),
      rows(scratch.take<int32_t>(n + kAhead)), counts(scratch.zeros<int32_t>(V * parts)) {}

bool Index::count_part(const unrolled_elman& c, const Rows& all, int64_t part) {
    int32_t* count = counts + part * V;
    bool good = true;
    each_token(c, all, part, parts, [&](int32_t word, int64_t) {
        if (static_cast<uint32_t>(word) < static_cast<uint64_t>(c.V)) ++count[word];
        else good = false;
    });
    return good;
}

void Index::begin_words() {
    int32_t place = 0;
    for (int64_t word = 0; word < V; ++word) {
        const int32_t first = place;
        for (int64_t part = 0; part < parts; ++part) {
            int32_t& count = counts[part * V + word];
            const int32_t next = place + count;
            count = place;
            place = next;
        }
        if (place == first) continue;
        ids[words] = word;
        begin[words++] = first;
    }
    begin[words] = place;
    std::fill_n(rows + place, kAhead, 0);
}

void Index::place_part(const unrolled_elman& c, const Rows& all, int64_t part) {
    int32_t* next = counts + part * V;
    each_token(c, all, part, parts,
               [&](int32_t word, int64_t row) { rows[next[word]++] = static_cast<int32_t>(row); });
}

bool fill_table(Scratch& scratch, const unrolled_table& call, const uint8_t* met) {
    const Panels w = packed(scratch, call.D, call.H, {call.w_ih, 1, call.D});
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

bool embedding_gradient(Scratch& scratch, const unrolled_elman& call, const Index& index, const float* dz) {
    constexpr int64_t kSome = 128;  // words whose share of a small d_w_ih is a sum of its own, added up in the end
    const int64_t most = index.words, H = call.H, D = call.D, tasks = (most + kSome - 1) / kSome;
    const bool small = call.d_w_ih && H <= 64 && D <= 64;
    float* sums = scratch.take<float>(most * H);
    const float** a = scratch.take<const float*>(most);
    const float** e = scratch.take<const float*>(most);
    const float** init = scratch.take<const float*>(most);
    float** c = scratch.take<float*>(most);
    float* zeros = scratch.zeros<float>(D);
    float* parts = scratch.take<float>(small ? tasks * H * D : 0);
    Copies* copies = scratch.take<Copies>(small ? thread_count() : 0);
    const Panels w = packed(scratch, H, D, {call.w_ih, D, 1});
    for (int64_t i = 0; scratch.ok() && small && i < thread_count(); ++i) new (copies + i) Copies(scratch, H);
    if (!scratch.ok()) return false;
    const bool all = call.d_embedding && !call.word_ids;
    if (all) std::fill_n(call.d_embedding, call.V * D, 0.0f);
    if (call.word_ids) std::copy_n(index.ids, index.words, call.word_ids);
    if (call.words) *call.words = index.words;
    share(tasks, [&](int64_t task, int64_t thread) {
        const int64_t first = kSome * task, last = std::min(first + kSome, index.words);
        for (int64_t i = first; i < last; ++i) {
            a[i] = sums + i * H;
            e[i] = call.embedding + index.ids[i] * D;
            prefetch(e[i], small ? D : 0);
            init[i] = zeros;
            if (call.d_embedding) c[i] = call.d_embedding + (all ? index.ids[i] : i) * D;
            add_rows(dz, H, index.rows + index.begin[i], index.begin[i + 1] - index.begin[i], sums + i * H);
        }
        if (call.d_embedding)
            multiply<Plain>({a + first, init + first, c + first, nullptr, last - first}, w, 0, w.count());
        if (small)
            add_block({H, D, parts + task * H * D, nullptr}, copies[thread], {a + first, e + first, last - first},
                      {0, H, 0, panels_of(D)}, false);
    });
    if (!small) return !call.d_w_ih || outer_all(scratch, {H, D, call.d_w_ih, nullptr}, sums, e, index.words);
    for (int64_t i = 0; i < H * D; i += kLanes) {
        Vector sum{};
        for (int64_t task = 0; task < tasks; ++task) sum += load_some(parts + task * H * D + i, H * D - i);
        store_some(call.d_w_ih + i, sum, H * D - i);
    }
    return true;
}

int input_table(const unrolled_table* call) {
    if (call->size != sizeof *call || call->V < 0 || call->D < 1 || call->H < 1) return UNROLLED_BAD_CALL;
    Scratch scratch;
    return fill_table(scratch, *call, nullptr) ? UNROLLED_OK : UNROLLED_NO_MEMORY;
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
