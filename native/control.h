/* The part of the ABI that chooses threads and instructions. Nothing here needs a descriptor. */
#pragma once

#include <stdint.h>

#if defined(_WIN32)
#define UNROLLED_API __declspec(dllexport)
#else
#define UNROLLED_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* torch's exported torch_parallel_for(begin, end, grain, f, context) and torch_get_num_threads(&count), both
   returning 0 when all went well (torch/csrc/stable/c/shim.h, since torch 2.10). */
typedef int32_t (*unrolled_parallel_for)(int64_t begin, int64_t end, int64_t grain,
                                         void (*f)(int64_t begin, int64_t end, void* context), void* context);
typedef int32_t (*unrolled_get_num_threads)(uint32_t* count);

/* Work on these threads from now on and end our own; NULL goes back to our own. */
UNROLLED_API void unrolled_set_parallel_for(unrolled_parallel_for run, unrolled_get_num_threads threads);

/* The most threads that a call uses; 0 (the default): as many as the processor, or torch, offers. */
UNROLLED_API void unrolled_set_threads(int32_t threads);
UNROLLED_API int32_t unrolled_threads(void);

/* "own", "torch", or "none": one thread, in a forked child of a process that used torch's. */
UNROLLED_API const char* unrolled_pool(void);

/* Names of the instruction sets that this processor runs, best first, separated by blanks. */
UNROLLED_API const char* unrolled_isas(void);

/* The one in use (at first the best), and choosing another: 0, or 1 where this processor lacks it. */
UNROLLED_API const char* unrolled_isa(void);
UNROLLED_API int32_t unrolled_use_isa(const char* name);

#ifdef __cplusplus
}
#endif
