// The rule "words-marks-1": where the tokens of a text are. kernels/marks.py says the rule.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

namespace unrolled {
namespace marks {

inline bool letter(uint8_t c) { return c >= 'a' && c <= 'z'; }
inline bool digit(uint8_t c) { return c >= '0' && c <= '9'; }
inline bool ends(uint8_t c) { return c == '.' || c == '!' || c == '?'; }
inline bool goes_on(uint8_t c) { return (c & 0xC0) == 0x80; }
inline bool space(uint8_t c) { return c == ' ' || (c >= 9 && c <= 13); }
inline bool symbol(uint8_t c) { return c == 0xC2 || c == 0xE2 || (c >= 0xF0 && c <= 0xF4); }

// What stands for the bytes at p, of which there are n: how many of them, and their replacement; 0 for none.
inline int replaced(const uint8_t* p, int64_t n, const char*& by) {
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
// Returns its end.
inline const uint8_t* fold(const uint8_t* text, int64_t n, std::vector<uint8_t>& out) {
    if (out.size() < static_cast<size_t>(2 * n + 4)) out.resize(static_cast<size_t>(2 * n + 4));
    uint8_t* to = out.data();
    for (int64_t i = 0; i < n;) {
        constexpr int kRun = 32;  // plain ASCII, many bytes at a time
        if (i + kRun <= n) {
            uint8_t other = 0;
            for (int j = 0; j < kRun; ++j) {
                const uint8_t c = text[i + j];
                to[j] = static_cast<uint8_t>(c + (static_cast<uint8_t>(c - 'A') < 26 ? 32 : 0));
                other |= static_cast<uint8_t>((c & 0x80) | (c == '`'));
            }
            if (!other) {
                to += kRun;
                i += kRun;
                continue;
            }
        }
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
    std::memset(to, 0, 4);
    return to;
}

// Where a run of letters that begins at p ends; p itself where none does.
inline const uint8_t* letters(const uint8_t* p) {
    for (;;) {
        if (letter(*p)) ++p;
        else if (*p >= 0xC3 && *p <= 0xDF && goes_on(p[1])) p += 2;
        else if ((*p & 0xF0) == 0xE0 && *p != 0xE2 && goes_on(p[1]) && goes_on(p[2])) p += 3;
        else return p;
    }
}

inline bool begins(const uint8_t* p, const char* with) {
    for (; *with; ++p, ++with)
        if (*p != static_cast<uint8_t>(*with)) return false;
    return true;
}

// A token that one name stands for: its end, or null.
inline const uint8_t* named(const uint8_t* p, const uint8_t* end, const char*& name) {
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
inline const uint8_t* plain(const uint8_t* p) {
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

// Calls token(bytes, length) for each token of a text of n bytes, in order; `scratch` is room that calls may share.
template <class Token>
void walk(const uint8_t* text, int64_t n, std::vector<uint8_t>& scratch, const Token& token) {
    const uint8_t* const end = fold(text, n, scratch);
    for (const uint8_t* p = scratch.data(); p < end;) {
        const char* name = nullptr;
        const uint8_t* q = *p == ' ' ? nullptr : named(p, end, name);
        if (q) {
            token(reinterpret_cast<const uint8_t*>(name), static_cast<int64_t>(std::strlen(name)));
        } else {
            q = plain(p);
            if (q == p) {
                ++p;
                continue;
            }
            token(p, ends(*p) && q - p > 3 ? 3 : q - p);
        }
        p = q;
    }
}

}  // namespace marks
}  // namespace unrolled
