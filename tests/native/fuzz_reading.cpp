// marks.cpp and reading.cpp on random texts, ids and steps, against plain loops.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "expect.h"
#include "random.h"
#include "unrolled.h"
#include "words.h"

namespace {

// Pieces that meet every branch of the rule, and bytes that are no UTF-8.
const char* const kPieces[] = {"a",    "It's", "@", "@me", "http://x.y", "www.", "<br />", "<br",  "...", "?!?!", " ", "9",
                               "\n",   "-",    "\xe2\x80\x99", "\xe2\x80\xa6", "\xc3\xa9", "\xf0\x9f\x98\x80",
                               "\xe2", "\xc3", "\xff", "\x80", "\xc2\x85", "'", "<", "https:/"};

void marks_stay_in_their_memory(Random& random) {
    std::string bytes;
    Array<int64_t> offsets(random.whole(1, 9));
    for (int64_t i = 1; i < offsets.size(); ++i) {
        for (int64_t n = random.whole(0, 12); n > 0; --n) bytes += kPieces[random.whole(0, std::size(kPieces) - 1)];
        offsets[i] = static_cast<int64_t>(bytes.size());
    }
    const int64_t texts = offsets.size() - 1;
    Array<uint8_t> given(offsets[texts]), fold(256), out(4 * offsets[texts] + 1);
    for (int64_t i = 0; i < given.size(); ++i) given[i] = static_cast<uint8_t>(bytes[static_cast<size_t>(i)]);
    Array<int64_t> ends(texts + 1);
    const unrolled_texts call{given.data(), offsets.data(), texts, fold.data()};
    const int64_t total = unrolled_mark_words(&call, out.data(), ends.data());
    EXPECT(total == ends[texts] && total <= 4 * offsets[texts]);
    for (int64_t i = 0; i < texts; ++i) {
        EXPECT(ends[i] <= ends[i + 1]);
        if (ends[i] == ends[i + 1]) continue;
        EXPECT(out[ends[i]] != ' ' && out[ends[i + 1] - 1] == ' ');
        // A text on its own gives the same tokens as among others.
        Array<uint8_t> alone(offsets[i + 1] - offsets[i]), again(4 * alone.size() + 1);
        std::memcpy(alone.data(), given.data() + offsets[i], static_cast<size_t>(alone.size()));
        Array<int64_t> place(2), end(2);
        place[1] = alone.size();
        const unrolled_texts one{alone.data(), place.data(), 1, fold.data()};
        EXPECT(unrolled_mark_words(&one, again.data(), end.data()) == ends[i + 1] - ends[i]);
        EXPECT(std::memcmp(again.data(), out.data() + ends[i], static_cast<size_t>(end[1])) == 0);
    }
}

struct Table {
    int64_t words, D, K, step;
    Array<uint32_t> keys;
    Array<uint8_t> rows;
    float scale(int64_t row) const { return number(row, 0); }
    float number(int64_t row, int64_t k) const {
        float value;
        std::memcpy(&value, rows.data() + row * (4 + 4 * K + D) + 4 * k, sizeof value);
        return value;
    }
    int64_t pair(int64_t first, int64_t second) const {
        for (int64_t i = 0; i < keys.size(); ++i)
            if (keys[i] == first * words + second) return words + i;
        return -1;
    }
};

Table random_table(Random& random) {
    const int64_t words = random.whole(1, 9), D = random.whole(1, 40), K = random.whole(0, 3);
    std::vector<uint32_t> keys;
    for (uint32_t key = 0; key < words * words; ++key)
        if (random.chance(20)) keys.push_back(key);
    const int64_t pairs = static_cast<int64_t>(keys.size()), stride = 4 + 4 * K + D;
    Table table{words, D, K, random.whole(1, 5), Array<uint32_t>(pairs), Array<uint8_t>((words + pairs) * stride)};
    for (int64_t i = 0; i < pairs; ++i) table.keys[i] = keys[static_cast<size_t>(i)];
    for (int64_t i = 0; i < table.rows.size(); ++i) table.rows[i] = static_cast<uint8_t>(random.whole(0, 255));
    for (int64_t row = 0; row < words + pairs; ++row)
        for (int64_t k = 0; k <= K; ++k) {
            const float value = random.real();
            std::memcpy(table.rows.data() + row * stride + 4 * k, &value, sizeof value);
        }
    return table;
}

// What read_text says: every token's row, and that of its pair, in the token's step.
void expect_steps(const Table& table, const unrolled_reading& call) {
    for (int64_t text = 0; text < call.texts; ++text) {
        const int32_t* ids = call.ids + call.offsets[text];
        const int64_t n = call.offsets[text + 1] - call.offsets[text], steps = (n + call.step - 1) / call.step;
        std::vector<double> x(static_cast<size_t>(steps * call.D)), sums(static_cast<size_t>(call.K));
        const auto add = [&](int64_t row, int64_t t) {
            if (row < 0) return;
            const uint8_t* bytes = table.rows.data() + row * (4 + 4 * call.K + call.D) + 4 + 4 * call.K;
            for (int64_t d = 0; d < call.D; ++d)
                x[static_cast<size_t>(t * call.D + d)] += table.scale(row) * static_cast<int8_t>(bytes[d]);
            for (int64_t k = 0; k < call.K; ++k) sums[static_cast<size_t>(k)] += table.number(row, 1 + k);
        };
        for (int64_t i = 0; i < n; ++i) {
            add(ids[i], i / call.step);
            if (i) add(table.pair(ids[i - 1], ids[i]), i / call.step);
        }
        for (size_t i = 0; i < x.size(); ++i)
            EXPECT(std::fabs(x[i] - call.x[text * call.T * call.D + static_cast<int64_t>(i)]) < 1e-2);
        for (size_t k = 0; k < sums.size(); ++k)
            EXPECT(std::fabs(sums[k] - call.weight[text * call.K + static_cast<int64_t>(k)]) < 1e-3);
    }
}

void steps_agree(Random& random) {
    const Table table = random_table(random);
    const int64_t pairs = table.keys.size();
    Array<int64_t> offsets(random.whole(1, 12));
    int64_t most = 0;
    for (int64_t i = 1; i < offsets.size(); ++i) {
        const int64_t n = random.chance(5) ? random.whole(60, 140) : random.whole(0, 20);
        offsets[i] = offsets[i - 1] + n;
        most = std::max(most, (n + table.step - 1) / table.step);
    }
    const int64_t texts = offsets.size() - 1;
    Array<int32_t> ids(offsets[texts]);
    for (int64_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(random.whole(0, table.words - 1));
    int64_t capacity = 2;
    while (capacity < 2 * pairs) capacity *= 2;
    Array<uint64_t> slots(capacity);
    Array<float> x(texts * most * table.D), weight(texts * table.K);
    unrolled_reading call{sizeof call, table.words, pairs, table.D, table.K, table.step, texts, most, capacity,
                          ids.data(), offsets.data(), table.keys.data(), slots.data(), table.rows.data(), x.data(),
                          weight.data()};
    EXPECT(unrolled_index_pairs(&call) == UNROLLED_OK && unrolled_read_steps(&call) == UNROLLED_OK);
    expect_steps(table, call);
    if (!ids.size()) return;
    ids[random.whole(0, ids.size() - 1)] = static_cast<int32_t>(random.chance(50) ? table.words : -1);
    EXPECT(unrolled_read_steps(&call) == UNROLLED_BAD_TOKEN);
    call.T = most - 1;
    EXPECT(unrolled_read_steps(&call) == UNROLLED_BAD_CALL);
}

void pools_agree(Random& random) {
    const int64_t T = random.whole(0, 9), B = random.whole(0, 9), D = random.whole(1, 40);
    Array<float> x(T * B * D), mean(B * D), max(B * D);
    for (int64_t i = 0; i < x.size(); ++i) x[i] = random.real();
    Array<int64_t> lengths(B);
    for (int64_t b = 0; b < B; ++b) lengths[b] = random.whole(0, T);
    unrolled_pooling call{sizeof call, T, B, D, {x.data(), B * D, D}, lengths.data(), mean.data(), max.data()};
    EXPECT(unrolled_pool_steps(&call) == UNROLLED_OK);
    for (int64_t b = 0; b < B; ++b)
        for (int64_t d = 0; d < D; ++d) {
            double sum = 0, most = lengths[b] ? -2 : 0;
            for (int64_t t = 0; t < lengths[b]; ++t) {
                sum += x[(t * B + b) * D + d];
                most = std::max<double>(most, x[(t * B + b) * D + d]);
            }
            EXPECT(std::fabs(mean[b * D + d] - sum / std::max<int64_t>(1, lengths[b])) < 1e-5);
            EXPECT(max[b * D + d] == static_cast<float>(most));
        }
    if (!B) return;
    lengths[B - 1] = T + 1;
    EXPECT(unrolled_pool_steps(&call) == UNROLLED_BAD_LENGTH);
}

}  // namespace

void fuzz_reading(Random& random) {
    marks_stay_in_their_memory(random);
    steps_agree(random);
    pools_agree(random);
}
