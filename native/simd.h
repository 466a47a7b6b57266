// One vector of floats, as wide as the instruction set that this file is compiled for.
//
// Everything is in the namespace of that instruction set (UNROLLED_ISA_NAME), so that no function compiled for
// a newer processor can be linked into code for an older one.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace unrolled {
namespace UNROLLED_ISA_NAME {

#if defined(__AVX512F__)
using Vector = __m512;
constexpr int kRegisters = 32;
inline Vector load(const float* p) { return _mm512_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm512_storeu_ps(p, v); }
inline Vector fill(float x) { return _mm512_set1_ps(x); }
inline Vector fma(Vector a, Vector b, Vector c) { return _mm512_fmadd_ps(a, b, c); }
// NaN passes through the second operand. (A full mask, because the plain forms make GCC 12 warn.)
inline Vector minimum(Vector bound, Vector x) { return _mm512_maskz_min_ps(0xffff, bound, x); }
inline Vector maximum(Vector bound, Vector x) { return _mm512_maskz_max_ps(0xffff, bound, x); }
inline Vector root(Vector x) { return _mm512_maskz_sqrt_ps(0xffff, x); }
inline Vector load(const float* p, int64_t n) { return _mm512_maskz_loadu_ps((1u << n) - 1, p); }
inline void store(float* p, Vector v, int64_t n) { _mm512_mask_storeu_ps(p, (1u << n) - 1, v); }
#elif defined(__AVX2__)
using Vector = __m256;
constexpr int kRegisters = 16;
inline Vector load(const float* p) { return _mm256_loadu_ps(p); }
inline void store(float* p, Vector v) { _mm256_storeu_ps(p, v); }
inline Vector fill(float x) { return _mm256_set1_ps(x); }
inline Vector fma(Vector a, Vector b, Vector c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector minimum(Vector bound, Vector x) { return _mm256_min_ps(bound, x); }
inline Vector maximum(Vector bound, Vector x) { return _mm256_max_ps(bound, x); }
inline Vector root(Vector x) { return _mm256_sqrt_ps(x); }
#else
typedef float Vector __attribute__((vector_size(16)));
inline Vector load(const float* p) {
    Vector v;
    std::memcpy(&v, p, sizeof v);
    return v;
}
inline void store(float* p, Vector v) { std::memcpy(p, &v, sizeof v); }
inline Vector fill(float x) { return Vector{x, x, x, x}; }
inline Vector minimum(Vector bound, Vector x) { return bound < x ? bound : x; }
inline Vector maximum(Vector bound, Vector x) { return bound > x ? bound : x; }
inline Vector root(Vector x) {
    for (int i = 0; i < 4; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
}
#if defined(__aarch64__)
constexpr int kRegisters = 32;
inline Vector fma(Vector a, Vector b, Vector c) { return vfmaq_f32(c, a, b); }
#else
constexpr int kRegisters = 16;
inline Vector fma(Vector a, Vector b, Vector c) { return a * b + c; }
#endif
#endif

constexpr int kLanes = sizeof(Vector) / sizeof(float);

#if !defined(__AVX512F__)
// The first n lanes, 0 <= n < kLanes; the others are zero, or stay as they were.
inline Vector load(const float* p, int64_t n) {
    float lanes[kLanes] = {};
    std::memcpy(lanes, p, n * sizeof(float));
    return load(lanes);
}
inline void store(float* p, Vector v, int64_t n) {
    float lanes[kLanes];
    store(lanes, v);
    std::memcpy(p, lanes, n * sizeof(float));
}
#endif

// Asks for memory that is needed soon.
inline void prefetch(const float* p, int64_t floats) {
    for (int64_t i = 0; i < floats; i += 16) __builtin_prefetch(p + i);
}

// Columns [0, left) of a row, left may be more than a vector holds or less than nothing.
inline Vector load_some(const float* p, int64_t left) {
    if (left >= kLanes) return load(p);
    return left > 0 ? load(p, left) : Vector{};
}
inline void store_some(float* p, Vector v, int64_t left) {
    if (left >= kLanes) return store(p, v);
    if (left > 0) store(p, v, left);
}

// x P(x^2) / Q(x^2), fitted to tanh on [0, 9], where tanh reaches 1 in float32, to a relative error of 3.6e-8.
// Largest error over all floats: 6 units in the last place (3.3e-7). Never beyond 1; NaN stays NaN.
inline Vector tanh(Vector x) {
    const Vector y = minimum(fill(9.0f), maximum(fill(-9.0f), x));
    const Vector s = y * y;
    Vector p = fma(s, fill(1.2801646e-08f), fill(2.0214264e-05f));
    Vector q = fma(s, fill(7.551372e-07f), fill(3.2466179e-04f));
    p = fma(s, p, fill(3.471846e-03f));
    q = fma(s, q, fill(2.578697e-02f));
    p = fma(s, p, fill(1.336114e-01f));
    q = fma(s, q, fill(4.6694458e-01f));
    p = fma(s, p, fill(1.0f));
    q = fma(s, q, fill(1.0f));
    return minimum(fill(1.0f), maximum(fill(-1.0f), y * p / q));
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
