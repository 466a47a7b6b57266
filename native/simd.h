// One vector of floats, as wide as the instruction set that this file is compiled for.
//
// Everything is in the namespace of that instruction set (UNROLLED_ISA_NAME), so that no function compiled for
// a newer processor can be linked into code for an older one.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

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
inline Vector magnitude(Vector x) { return _mm512_abs_ps(x); }
inline Vector with_sign(Vector size, Vector sign) {
    return _mm512_castsi512_ps(_mm512_ternarylogic_epi32(  // the highest bit of sign, the others of size
        _mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(sign), _mm512_castps_si512(size), 0xca));
}
inline Vector if_below(Vector x, Vector bound, Vector then, Vector otherwise) {
    return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(x, bound, _CMP_LT_OQ), otherwise, then);
}
// x 2^n, n in the lowest bits of `n`.
inline Vector add_to_exponent(Vector x, Vector n) {
    const __m512i up = _mm512_maskz_slli_epi32(0xffff, _mm512_castps_si512(n), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(x), up));
}
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
inline Vector magnitude(Vector x) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x); }
inline Vector with_sign(Vector size, Vector sign) {
    return _mm256_or_ps(size, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign));
}
inline Vector if_below(Vector x, Vector bound, Vector then, Vector otherwise) {
    return _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps(x, bound, _CMP_LT_OQ));
}
inline Vector add_to_exponent(Vector x, Vector n) {
    const __m256i up = _mm256_slli_epi32(_mm256_castps_si256(n), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(x), up));
}
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
typedef int32_t Bits __attribute__((vector_size(16)));
constexpr Bits kSign = {INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN};
inline Vector magnitude(Vector x) { return (Vector)((Bits)x & ~kSign); }
inline Vector with_sign(Vector size, Vector sign) { return (Vector)((Bits)size | ((Bits)sign & kSign)); }
inline Vector if_below(Vector x, Vector bound, Vector then, Vector otherwise) {
    return x < bound ? then : otherwise;
}
inline Vector add_to_exponent(Vector x, Vector n) { return (Vector)((Bits)x + ((Bits)n << 23)); }
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
inline void prefetch_to_write(float* p, int64_t floats) {
    for (int64_t i = 0; i < floats; i += 16) __builtin_prefetch(p + i, 1);
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

// Lanes of a, the first of which is number 0, and of b, the first of which is number kLanes.
template <int... From>
Vector lanes(Vector a, Vector b) {
#if defined(__clang__)
    return __builtin_shufflevector(a, b, From...);
#else
    typedef int32_t Numbers __attribute__((vector_size(sizeof(Vector))));
    return __builtin_shuffle(a, b, Numbers{From...});
#endif
}

// Swaps the blocks of D lanes of a and b that do not lie on the diagonal.
template <int D, int... L>
void swap_blocks(Vector& a, Vector& b, std::integer_sequence<int, L...>) {
    const Vector first = lanes<(L & D ? kLanes + L - D : L)...>(a, b);
    b = lanes<(L & D ? kLanes + L : L + D)...>(a, b);
    a = first;
}

// Rows become columns.
template <int D = kLanes / 2>
inline __attribute__((always_inline)) void transpose(Vector (&rows)[kLanes]) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
        if (!(i & D)) swap_blocks<D>(rows[i], rows[i + D], std::make_integer_sequence<int, kLanes>{});
    if constexpr (D > 1) transpose<D / 2>(rows);
}

// 2^t for t in [-60, 0], as 2^n times a polynomial in t - n, |t - n| <= 1/2, n nearest to t. Relative error 2e-7.
inline Vector exp2(Vector t) {
    // Adding 1.5 * 2^23 leaves n in the lowest bits, from where it goes to the exponent.
    const Vector shifted = t + fill(12582912.0f);
    const Vector f = t - (shifted - fill(12582912.0f));
    Vector p = fma(f, fill(1.3269538e-03f), fill(9.671292e-03f));
    p = fma(f, p, fill(5.550711e-02f));
    p = fma(f, p, fill(2.4022247e-01f));
    p = fma(f, p, fill(6.93147e-01f));
    p = fma(f, p, fill(1.0f));
    return add_to_exponent(p, shifted);
}

// An odd polynomial below 9/16, and 1 - 2 / (e^(2|x|) + 1) above, so that 1 - tanh^2, which gradients are multiplied
// by, stays accurate where tanh saturates. Largest error 2.1 units in the last place. NaN stays NaN.
inline Vector tanh(Vector x) {
    const Vector y = minimum(fill(12.0f), magnitude(x)), s = x * x;
    const Vector e = exp2(y * fill(-2.8853900f));
    const Vector high = fma(e / (fill(1.0f) + e), fill(-2.0f), fill(1.0f));
    Vector p = fma(s, fill(1.6437864e-02f), fill(-5.2672006e-02f));
    p = fma(s, p, fill(1.3320729e-01f));
    p = fma(s, p, fill(-3.3332947e-01f));
    return if_below(y, fill(0.5625f), fma(s * x, p, x), with_sign(high, x));
}

// e^-|x| / (1 + e^-|x|) below zero, 1 / (1 + e^-|x|) above; e^-41.5 stands for all that is smaller. NaN stays NaN.
inline Vector sigmoid(Vector x) {
    const Vector e = exp2(minimum(fill(41.5f), magnitude(x)) * fill(-1.44269504f));
    const Vector high = fill(1.0f) / (fill(1.0f) + e);
    return if_below(x, Vector{}, e * high, high);
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
