// Memory that is written for the first time costs a fault for each of its pages. The system is asked for large pages,
// with which 40 MiB take a quarter of the time; it may have none, and then nothing changes.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace unrolled {
namespace UNROLLED_ISA_NAME {

inline void ask_for_large_pages([[maybe_unused]] const void* data, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr uintptr_t kPage = uintptr_t{1} << 21;
    const uintptr_t at = reinterpret_cast<uintptr_t>(data);
    const uintptr_t begin = (at + kPage - 1) / kPage * kPage, end = (at + static_cast<uintptr_t>(bytes)) / kPage * kPage;
    if (data && begin < end) (void)madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace UNROLLED_ISA_NAME
}  // namespace unrolled
