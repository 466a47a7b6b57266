// A failed expectation ends the program with its line; a program that reaches its end has passed.
#pragma once

#include <cstdio>
#include <cstdlib>

#define EXPECT(condition)                                                              \
    do {                                                                               \
        if (!(condition)) {                                                            \
            std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                              \
        }                                                                              \
    } while (0)
