#include "programs.h"
static uint32_t next[SIZE(1 << 20, 1 << 14)];
uint32_t run(void) {
    uint32_t n = sizeof next / sizeof *next, state = 1, at = 0, sum = 0;
    for (uint32_t i = 0; i < n; i++) next[i] = i;
    for (uint32_t i = n - 1; i > 0; i--) {
        LOOK();
        uint32_t j = mix(&state) % i, t = next[i];
        next[i] = next[j];
        next[j] = t;
    }
    for (uint32_t i = 0; i < SIZE(6000000, 20000); i++) {
        LOOK();
        sum += at = next[at];
    }
    return sum;
}
