// SPEAKER_VECTORIZED before a function builds it for several generations of processors; the best one is taken at start.
#pragma once

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define SPEAKER_VECTORIZED __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else  // sanitizers start too late for the choice, other compilers spell it in other ways
#define SPEAKER_VECTORIZED
#endif

// Parts of such functions are built together with them.
#if defined(__GNUC__)
#define SPEAKER_PART inline __attribute__((always_inline))
#else
#define SPEAKER_PART inline
#endif

// Eight numbers side by side, at any address; the compiler takes the registers that the processor has.
using Eight = double __attribute__((vector_size(64), aligned(8), may_alias));
