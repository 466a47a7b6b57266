// Words of many texts: counted, and looked up in a word list. Plain C; the caller owns all memory.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// N texts of UTF-8, and how their bytes are read: byte b as fold[b]; a word is a longest run of bytes that are
// not read as a space.
typedef struct {
    const uint8_t* bytes;    // all texts, one after the other
    const int64_t* offsets;  // (texts + 1,) text i is bytes[offsets[i] .. offsets[i + 1])
    int64_t texts;
    const uint8_t* fold;  // (256,)
} unrolled_texts;

// Distinct words in the order in which they first occur.
typedef struct {
    int32_t* slots;      // (capacity,) zeros; scratch
    int64_t capacity;    // a power of two; up to half as many words find a place
    int64_t* begins;     // (capacity / 2,) out: where the word first occurs in `bytes`
    int64_t* lengths;    // (capacity / 2,) out: in bytes
    int64_t* counts;     // (capacity / 2,) out: how often it occurs
} unrolled_word_counts;

// A word list. unrolled_index fills the slots once; after that many calls may read the list at the same time.
typedef struct {
    const uint8_t* bytes;    // all words, folded, one after the other
    const int64_t* offsets;  // (words + 1,)
    const int32_t* ids;      // (words,) what each word becomes
    int64_t words;
    int32_t* slots;    // (capacity,) zeros before unrolled_index
    int64_t capacity;  // a power of two, at least twice `words`
    int32_t prefix;    // id put before every text; -1 puts nothing
    int32_t unseen;    // id of the words that are not in the list; -1 leaves them out
} unrolled_word_list;

#if defined(_WIN32)
#define UNROLLED_WORDS_API __declspec(dllexport)
#else
#define UNROLLED_WORDS_API __attribute__((visibility("default")))
#endif

// The number of distinct words; -1 where they find no place (call again with twice the capacity and new zeros),
// -2 for a descriptor that cannot be followed.
UNROLLED_WORDS_API int64_t unrolled_count_words(const unrolled_texts* texts, const unrolled_word_counts* counts);

// 0, or -2 for a descriptor that cannot be followed or a word that stands in the list twice.
UNROLLED_WORDS_API int64_t unrolled_index_words(const unrolled_word_list* list);

// Ids of all texts, one after the other, in `out`, whose size is offsets[texts] / 2 + 2 * texts + 1 at least;
// row_offsets (texts + 1,) says where each begins. The number of ids, or -2 for a descriptor that cannot be followed.
UNROLLED_WORDS_API int64_t unrolled_encode_words(const unrolled_texts* texts, const unrolled_word_list* list,
                                                 int32_t* out, int64_t* row_offsets);

// Each text as its tokens by the rule "words-marks-1", every one followed by a space: in `out`, of four times as many
// bytes as the texts have; out_offsets (texts + 1,) says where each begins. `fold` is not read. The number of bytes, or -2.
UNROLLED_WORDS_API int64_t unrolled_mark_words(const unrolled_texts* texts, uint8_t* out, int64_t* out_offsets);

// The ids of all texts by that rule at once, as unrolled_encode_words gives them for the rewritten texts; `out` has room
// for an id for each byte and one for each text.
UNROLLED_WORDS_API int64_t unrolled_encode_marks(const unrolled_texts* texts, const unrolled_word_list* list,
                                                 int32_t* out, int64_t* row_offsets);

#ifdef __cplusplus
}
#endif
