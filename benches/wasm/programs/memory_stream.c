#include "programs.h"
static uint32_t a[SIZE(1 << 21, 1 << 13)], b[SIZE(1 << 21, 1 << 13)];
uint32_t run(void) {
    size_t n = sizeof a / sizeof *a;
    for (size_t i = 0; i < n; i++) a[i] = (uint32_t)i * 2654435761u;
    for (int round = 0; round < SIZE(40, 8); round++) {
        uint32_t add = (uint32_t)round;
        for (size_t i = 0; i < n; i++) {
            LOOK();
            b[i] = a[i] + add;
            a[i] = b[i] ^ (a[i] >> 3);
        }
    }
    return a[n / 2] + b[n / 3];
}
