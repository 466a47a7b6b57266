// words.cpp against a dictionary of the standard library, on random bytes.
#include <map>
#include <string>
#include <vector>

#include "expect.h"
#include "random.h"
#include "words.h"

namespace {

struct Texts {
    Array<uint8_t> bytes, fold;
    Array<int64_t> offsets;
    unrolled_texts call() const { return {bytes.data(), offsets.data(), offsets.size() - 1, fold.data()}; }
};

Texts random_texts(Random& random) {
    Texts texts{Array<uint8_t>(random.whole(0, 300)), Array<uint8_t>(256), Array<int64_t>(random.whole(1, 9))};
    const int64_t letters = random.whole(1, 6);
    for (int64_t b = 0; b < 256; ++b) texts.fold[b] = b % 7 == 0 ? ' ' : static_cast<uint8_t>('a' + b % letters);
    for (int64_t i = 0; i < texts.bytes.size(); ++i) texts.bytes[i] = static_cast<uint8_t>(random.whole(0, 255));
    const int64_t last = texts.offsets.size() - 1;
    for (int64_t i = 1; i <= last; ++i) texts.offsets[i] = random.whole(texts.offsets[i - 1], texts.bytes.size());
    return texts;
}

std::vector<std::string> words_of(const Texts& texts, int64_t text) {
    std::vector<std::string> words;
    std::string word;
    for (int64_t at = texts.offsets[text]; at < texts.offsets[text + 1]; ++at) {
        const char letter = static_cast<char>(texts.fold[texts.bytes[at]]);
        if (letter != ' ') word += letter;
        if ((letter == ' ' || at + 1 == texts.offsets[text + 1]) && !word.empty()) {
            words.push_back(word);
            word.clear();
        }
    }
    return words;
}

void counts_agree(Random& random) {
    const Texts texts = random_texts(random);
    std::map<std::string, int64_t> expected;
    for (int64_t i = 0; i + 1 < texts.offsets.size(); ++i)
        for (const std::string& word : words_of(texts, i)) ++expected[word];
    const int64_t capacity = int64_t{1} << random.whole(1, 9);
    Array<int32_t> slots(capacity);
    Array<int64_t> begins(capacity / 2), lengths(capacity / 2), counts(capacity / 2);
    const unrolled_texts call = texts.call();
    const unrolled_word_counts out{slots.data(), capacity, begins.data(), lengths.data(), counts.data()};
    const int64_t found = unrolled_count_words(&call, &out);
    const int64_t distinct = static_cast<int64_t>(expected.size());
    EXPECT(found == (distinct <= capacity / 2 ? distinct : -1));
    for (int64_t i = 0; i < found; ++i) {
        std::string word;
        for (int64_t at = begins[i]; at < begins[i] + lengths[i]; ++at) word += static_cast<char>(texts.fold[texts.bytes[at]]);
        EXPECT(expected.count(word) == 1 && expected[word] == counts[i]);
        expected.erase(word);
    }
}

void ids_agree(Random& random) {
    const Texts texts = random_texts(random);
    std::map<std::string, int32_t> known;
    for (int64_t i = 0; i + 1 < texts.offsets.size(); ++i)
        for (const std::string& word : words_of(texts, i))
            if (random.chance(60)) known[word] = static_cast<int32_t>(random.whole(0, 1000));
    std::string joined;
    Array<int64_t> offsets(static_cast<int64_t>(known.size()) + 1);
    Array<int32_t> ids(static_cast<int64_t>(known.size()));
    int64_t n = 0;
    for (const auto& [word, id] : known) {
        joined += word;
        ids[n++] = id;
        offsets[n] = static_cast<int64_t>(joined.size());
    }
    int64_t capacity = 2;
    while (capacity < 2 * n) capacity *= 2;
    Array<int32_t> slots(capacity);
    Array<uint8_t> bytes(static_cast<int64_t>(joined.size()));
    for (int64_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(joined[i]);
    const auto prefix = static_cast<int32_t>(random.whole(-1, 1)), unseen = static_cast<int32_t>(random.whole(-1, 2));
    const unrolled_word_list list{bytes.data(), offsets.data(), ids.data(), n, slots.data(), capacity, prefix, unseen};
    EXPECT(unrolled_index_words(&list) == 0);

    const unrolled_texts call = texts.call();
    Array<int32_t> out(texts.offsets[call.texts] / 2 + 2 * call.texts + 1);
    Array<int64_t> rows(call.texts + 1);
    const int64_t total = unrolled_encode_words(&call, &list, out.data(), rows.data());
    int64_t at = 0;
    for (int64_t i = 0; i < call.texts; ++i) {
        EXPECT(rows[i] == at);
        if (prefix >= 0) EXPECT(out[at++] == prefix);
        for (const std::string& word : words_of(texts, i)) {
            const int32_t id = known.count(word) ? known[word] : unseen;
            if (id >= 0) EXPECT(out[at++] == id);
        }
    }
    EXPECT(rows[call.texts] == at && total == at);
}

void wrong_descriptors_are_refused() {
    EXPECT(unrolled_count_words(nullptr, nullptr) == -2);
    EXPECT(unrolled_index_words(nullptr) == -2);
    EXPECT(unrolled_encode_words(nullptr, nullptr, nullptr, nullptr) == -2);
    const Array<uint8_t> bytes(4, 'a'), fold(256, 'a');
    Array<int64_t> offsets(3);
    offsets[1] = 4;
    offsets[2] = 3;
    const unrolled_texts backwards{bytes.data(), offsets.data(), 2, fold.data()};
    Array<int32_t> slots(3);
    Array<int64_t> places(1);
    const unrolled_word_counts odd{slots.data(), 3, places.data(), places.data(), places.data()};
    EXPECT(unrolled_count_words(&backwards, &odd) == -2);
    const unrolled_texts forwards{bytes.data(), offsets.data(), 1, fold.data()};
    EXPECT(unrolled_count_words(&forwards, &odd) == -2);
}

}  // namespace

void fuzz_words(Random& random) {
    wrong_descriptors_are_refused();
    counts_agree(random);
    ids_agree(random);
}
