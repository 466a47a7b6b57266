// The rule "words-marks-1": texts rewritten as their tokens, each followed by a space. data/marks.py says the rule.
#include <cstring>
#include <vector>

#include "engine.h"
#include "words.h"

namespace {

bool letter(uint8_t c) { return c >= 'a' && c <= 'z'; }
bool digit(uint8_t c) { return c >= '0' && c <= '9'; }
bool ends(uint8_t c) { return c == '.' || c == '!' || c == '?'; }
bool goes_on(uint8_t c) { return (c & 0xC0) == 0x80; }
bool space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }
bool symbol(uint8_t c) { return c == 0xC2 || c == 0xE2 || (c >= 0xF0 && c <= 0xF4); }

// What stands for the bytes at p, of which there are n: how many of them, and their replacement; 0 for none.
int replaced(const uint8_t* p, int64_t n, const char*& by) {
    if (n >= 2 && p[0] == 0xC2) {
        by = p[1] == 0x85 ? "..." : p[1] == 0x96 || p[1] == 0x97 ? "-" : p[1] == 0xA0 ? " " : p[1] == 0xB4 ? "'" : nullptr;
        return by ? 2 : 0;
    }
    if (n >= 3 && p[0] == 0xE2 && p[1] == 0x80) {
        const uint8_t c = p[2];
        by = c == 0x98 || c == 0x99 ? "'" : c == 0x9C || c == 0x9D ? "\"" : c == 0xA6 ? "..."
           : c == 0x93 || c == 0x94 ? "-" : nullptr;
        return by ? 3 : 0;
    }
    by = "";
    return n >= 3 && p[0] == 0xEF && p[1] == 0xB8 && p[2] == 0x8F ? 3 : 0;
}

// The text with its replacements, in lower case, and four zeros, so that a look ahead needs no bounds.
void fold(const uint8_t* text, int64_t n, std::vector<uint8_t>& out) {
    out.resize(static_cast<size_t>(2 * n + 4));
    uint8_t* to = out.data();
    for (int64_t i = 0; i < n;) {
        const uint8_t c = text[i];
        const char* by = nullptr;
        const int gone = c < 0x80 ? 0 : replaced(text + i, n - i, by);
        if (gone) {
            for (; *by; ++by) *to++ = static_cast<uint8_t>(*by);
            i += gone;
        } else {
            *to++ = c >= 'A' && c <= 'Z' ? static_cast<uint8_t>(c + 32) : c == '`' ? '\'' : c;
            ++i;
        }
    }
    out.resize(static_cast<size_t>(to - out.data()) + 4);
    std::memset(out.data() + out.size() - 4, 0, 4);
}

// Where a run of letters that begins at p ends; p itself where none does.
const uint8_t* letters(const uint8_t* p) {
    for (;;) {
        if (letter(*p)) ++p;
        else if (*p >= 0xC3 && *p <= 0xDF && goes_on(p[1])) p += 2;
        else if ((*p & 0xF0) == 0xE0 && *p != 0xE2 && goes_on(p[1]) && goes_on(p[2])) p += 3;
        else return p;
    }
}

bool begins(const uint8_t* p, const char* with) {
    for (; *with; ++p, ++with)
        if (*p != static_cast<uint8_t>(*with)) return false;
    return true;
}

// A token that one name stands for: its end, or null.
const uint8_t* named(const uint8_t* p, const uint8_t* end, const char*& name) {
    if (*p == '<' && begins(p, "<br")) {
        const uint8_t* q = p + 3;
        if (*q == ' ') ++q;
        if (*q == '/') ++q;
        name = "<br>";
        return *q == '>' ? q + 1 : nullptr;
    }
    if (*p == 'h' || *p == 'w') {
        const char* const links[] = {"http://", "https://", "www."};
        for (const char* link : links)
            if (begins(p, link)) {
                for (p += std::strlen(link); p < end && !space(*p) && *p != '<';) ++p;
                name = "<url>";
                return p;
            }
        return nullptr;
    }
    if (*p != '@') return nullptr;
    const uint8_t* q = p + 1;
    while (letter(*q) || digit(*q) || *q == '_') ++q;
    name = "<user>";
    return q > p + 1 ? q : nullptr;
}

// The end of the token that begins at p; p itself where none does.
const uint8_t* plain(const uint8_t* p) {
    const uint8_t* q = letters(p);
    if (q > p) {
        while (*q == '\'' && letters(q + 1) > q + 1) q = letters(q + 1);
        return q;
    }
    if (digit(*p)) {
        while (digit(*q)) ++q;
    } else if (ends(*p)) {
        while (ends(*q)) ++q;
    } else if (symbol(*p)) {
        ++q;
        while (goes_on(*q)) ++q;
        return q > p + 1 ? q : p;
    } else if (*p > ' ' && *p < 0x7F) {
        ++q;
    }
    return q;
}

int64_t rewrite(const std::vector<uint8_t>& text, uint8_t* out) {
    uint8_t* to = out;
    const uint8_t *p = text.data(), *end = p + text.size() - 4;
    while (p < end) {
        const char* name = nullptr;
        const uint8_t* q = named(p, end, name);
        if (q) {
            const size_t n = std::strlen(name);
            std::memcpy(to, name, n);
            to += n;
        } else {
            q = plain(p);
            if (q == p) {
                ++p;
                continue;
            }
            const int64_t n = ends(*p) && q - p > 3 ? 3 : q - p;
            std::memcpy(to, p, static_cast<size_t>(n));
            to += n;
        }
        *to++ = ' ';
        p = q;
    }
    return to - out;
}

}  // namespace

int64_t unrolled_mark_words(const unrolled_texts* texts, uint8_t* out, int64_t* out_offsets) {
    if (!texts || !out || !out_offsets || texts->texts < 0 || !texts->offsets || texts->offsets[0] != 0) return -2;
    const unrolled_texts& t = *texts;
    for (int64_t i = 0; i < t.texts; ++i)
        if (t.offsets[i + 1] < t.offsets[i] || !t.bytes) return -2;
    unrolled::parallel(t.texts, [&](int64_t begin, int64_t end) {
        std::vector<uint8_t> folded;
        for (int64_t i = begin; i < end; ++i) {
            fold(t.bytes + t.offsets[i], t.offsets[i + 1] - t.offsets[i], folded);
            out_offsets[i + 1] = rewrite(folded, out + 4 * t.offsets[i]);
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
