// Text to token ids. Every text is walked once; its words are looked up in an open hash table of word numbers.
#include "words.h"

#include <cstring>
#include <vector>

#include "engine.h"
#include "marks.h"

namespace {

struct Word {
    int64_t begin, end;
    uint64_t hash;
};

uint64_t mix(uint64_t hash, uint8_t byte) { return (hash ^ byte) * 0x100000001b3u; }

// The low bits of a product know little of the high bits of its factors; a slot is chosen by both.
uint64_t finish(uint64_t hash) { return hash ^ (hash >> 32); }

// The next word of bytes[at .. end); false where there is none.
bool next_word(const uint8_t* bytes, const uint8_t* fold, int64_t at, int64_t end, Word& word) {
    while (at < end && fold[bytes[at]] == ' ') ++at;
    word.begin = at;
    uint64_t hash = 0xcbf29ce484222325u;
    for (; at < end && fold[bytes[at]] != ' '; ++at) hash = mix(hash, fold[bytes[at]]);
    word.end = at;
    word.hash = finish(hash);
    return word.begin < word.end;
}

bool same(const uint8_t* a, const uint8_t* b, int64_t length, const uint8_t* fold_a, const uint8_t* fold_b) {
    for (int64_t i = 0; i < length; ++i)
        if (fold_a[a[i]] != (fold_b ? fold_b[b[i]] : b[i])) return false;
    return true;
}

bool increasing(const int64_t* offsets, int64_t n) {
    if (n < 0 || !offsets || offsets[0] != 0) return false;
    for (int64_t i = 0; i < n; ++i)
        if (offsets[i + 1] < offsets[i]) return false;
    return true;
}

bool usable(const unrolled_texts* t) {
    return t && t->fold && increasing(t->offsets, t->texts) && (t->bytes || t->offsets[t->texts] == 0);
}

bool usable_table(const int32_t* slots, int64_t capacity) {
    return slots && capacity >= 2 && (capacity & (capacity - 1)) == 0 && capacity <= (int64_t{1} << 31);
}

bool usable(const unrolled_word_list* l) {
    return l && increasing(l->offsets, l->words) && (l->bytes || l->offsets[l->words] == 0) &&
           (l->ids || l->words == 0) && usable_table(l->slots, l->capacity) && l->words <= l->capacity / 2;
}

// The slot that holds the word number for which `is(number)` is true, or the free one where it belongs.
template <class Is>
int32_t* slot_of(int32_t* slots, int64_t capacity, uint64_t hash, const Is& is) {
    const uint64_t mask = static_cast<uint64_t>(capacity) - 1;
    uint64_t at = hash & mask;
    while (slots[at] != 0 && !is(slots[at] - 1)) at = (at + 1) & mask;
    return slots + at;
}

// The number of a word of the list, or -1.
int32_t find(const unrolled_texts& t, const unrolled_word_list& l, const Word& word) {
    const int64_t length = word.end - word.begin;
    const auto is = [&](int32_t number) {
        const int64_t begin = l.offsets[number];
        return l.offsets[number + 1] - begin == length &&
               same(t.bytes + word.begin, l.bytes + begin, length, t.fold, nullptr);
    };
    return *slot_of(l.slots, l.capacity, word.hash, is) - 1;
}

int64_t encode(const unrolled_texts& t, const unrolled_word_list& l, int64_t text, int32_t* out) {
    int64_t n = 0;
    if (l.prefix >= 0) out[n++] = l.prefix;
    Word word;
    for (int64_t at = t.offsets[text]; next_word(t.bytes, t.fold, at, t.offsets[text + 1], word); at = word.end) {
        const int32_t number = find(t, l, word);
        const int32_t id = number < 0 ? l.unseen : l.ids[number];
        if (number >= 0 || id >= 0) out[n++] = id;
    }
    return n;
}

// The number of a word whose bytes are read as they are, or -1.
int32_t find(const unrolled_word_list& l, const uint8_t* word, int64_t length) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int64_t i = 0; i < length; ++i) hash = mix(hash, word[i]);
    const auto is = [&](int32_t number) {
        const int64_t begin = l.offsets[number];
        return l.offsets[number + 1] - begin == length &&
               std::memcmp(l.bytes + begin, word, static_cast<size_t>(length)) == 0;
    };
    return *slot_of(l.slots, l.capacity, finish(hash), is) - 1;
}

// Where text i may write: half of its bytes can be words, and one id more for the prefix.
int64_t scratch_begin(const unrolled_texts& t, int64_t i) { return (t.offsets[i] + i) / 2 + i; }

}  // namespace

int64_t unrolled_count_words(const unrolled_texts* texts, const unrolled_word_counts* out) {
    if (!usable(texts) || !out || !usable_table(out->slots, out->capacity)) return -2;
    if (!out->begins || !out->lengths || !out->counts) return -2;
    const unrolled_texts& t = *texts;
    int64_t found = 0;
    Word word;
    for (int64_t text = 0; text < t.texts; ++text)
        for (int64_t at = t.offsets[text]; next_word(t.bytes, t.fold, at, t.offsets[text + 1], word); at = word.end) {
            const int64_t length = word.end - word.begin;
            const auto is = [&](int32_t number) {
                return out->lengths[number] == length &&
                       same(t.bytes + word.begin, t.bytes + out->begins[number], length, t.fold, t.fold);
            };
            int32_t* slot = slot_of(out->slots, out->capacity, word.hash, is);
            if (*slot == 0) {
                if (found == out->capacity / 2) return -1;
                out->begins[found] = word.begin;
                out->lengths[found] = length;
                out->counts[found] = 0;
                *slot = static_cast<int32_t>(++found);
            }
            ++out->counts[*slot - 1];
        }
    return found;
}

int64_t unrolled_index_words(const unrolled_word_list* list) {
    if (!usable(list)) return -2;
    const unrolled_word_list& l = *list;
    for (int64_t i = 0; i < l.words; ++i) {
        const int64_t begin = l.offsets[i], length = l.offsets[i + 1] - begin;
        uint64_t hash = 0xcbf29ce484222325u;
        for (int64_t at = begin; at < begin + length; ++at) hash = mix(hash, l.bytes[at]);
        const auto is = [&](int32_t number) {
            return l.offsets[number + 1] - l.offsets[number] == length &&
                   std::memcmp(l.bytes + l.offsets[number], l.bytes + begin, static_cast<size_t>(length)) == 0;
        };
        int32_t* slot = slot_of(l.slots, l.capacity, finish(hash), is);
        if (*slot != 0) return -2;
        *slot = static_cast<int32_t>(i + 1);
    }
    return 0;
}

int64_t unrolled_encode_words(const unrolled_texts* texts, const unrolled_word_list* list, int32_t* out,
                              int64_t* row_offsets) {
    if (!usable(texts) || !usable(list) || !out || !row_offsets) return -2;
    const unrolled_texts& t = *texts;
    unrolled::parallel(t.texts, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) row_offsets[i + 1] = encode(t, *list, i, out + scratch_begin(t, i));
    });
    row_offsets[0] = 0;
    for (int64_t i = 0; i < t.texts; ++i) {
        const int64_t n = row_offsets[i + 1];
        std::memmove(out + row_offsets[i], out + scratch_begin(t, i), static_cast<size_t>(n) * sizeof(int32_t));
        row_offsets[i + 1] = row_offsets[i] + n;
    }
    return row_offsets[t.texts];
}

int64_t unrolled_encode_marks(const unrolled_texts* texts, const unrolled_word_list* list, int32_t* out,
                              int64_t* row_offsets) {
    if (!usable(texts) || !usable(list) || !out || !row_offsets) return -2;
    const unrolled_texts& t = *texts;
    const unrolled_word_list& l = *list;
    const auto room = [&](int64_t i) { return out + t.offsets[i] + i; };  // a token has a byte at least
    unrolled::parallel(t.texts, [&](int64_t begin, int64_t end) {
        std::vector<uint8_t> scratch;
        for (int64_t i = begin; i < end; ++i) {
            int32_t* to = room(i);
            if (l.prefix >= 0) *to++ = l.prefix;
            unrolled::marks::walk(t.bytes + t.offsets[i], t.offsets[i + 1] - t.offsets[i], scratch,
                                  [&](const uint8_t* token, int64_t n) {
                                      const int32_t number = find(l, token, n);
                                      const int32_t id = number < 0 ? l.unseen : l.ids[number];
                                      if (number >= 0 || id >= 0) *to++ = id;
                                  });
            row_offsets[i + 1] = to - room(i);
        }
    });
    row_offsets[0] = 0;
    for (int64_t i = 0; i < t.texts; ++i) {
        const int64_t n = row_offsets[i + 1];
        std::memmove(out + row_offsets[i], room(i), static_cast<size_t>(n) * sizeof(int32_t));
        row_offsets[i + 1] = row_offsets[i] + n;
    }
    return row_offsets[t.texts];
}
