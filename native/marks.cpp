// Texts rewritten as their tokens by the rule "words-marks-1", each followed by a space.
#include "marks.h"

#include "engine.h"
#include "words.h"

int64_t unrolled_mark_words(const unrolled_texts* texts, uint8_t* out, int64_t* out_offsets) {
    if (!texts || !out || !out_offsets || texts->texts < 0 || !texts->offsets || texts->offsets[0] != 0) return -2;
    const unrolled_texts& t = *texts;
    for (int64_t i = 0; i < t.texts; ++i)
        if (t.offsets[i + 1] < t.offsets[i] || !t.bytes) return -2;
    unrolled::parallel(t.texts, [&](int64_t begin, int64_t end) {
        std::vector<uint8_t> scratch;
        for (int64_t i = begin; i < end; ++i) {
            uint8_t *const first = out + 4 * t.offsets[i], *to = first;
            unrolled::marks::walk(t.bytes + t.offsets[i], t.offsets[i + 1] - t.offsets[i], scratch,
                                  [&](const uint8_t* token, int64_t n) {
                                      std::memcpy(to, token, static_cast<size_t>(n));
                                      to += n;
                                      *to++ = ' ';
                                  });
            out_offsets[i + 1] = to - first;
        }
    });
    out_offsets[0] = 0;
    for (int64_t i = 0; i < t.texts; ++i) {
        const int64_t n = out_offsets[i + 1];
        std::memmove(out + out_offsets[i], out + 4 * t.offsets[i], static_cast<size_t>(n));
        out_offsets[i + 1] = out_offsets[i] + n;
    }
    return out_offsets[t.texts];
}
