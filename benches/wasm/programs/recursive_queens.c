#include "programs.h"
static __attribute__((noinline)) uint32_t place(uint32_t all, uint32_t columns, uint32_t left, uint32_t right) {
    LOOK();
    if (columns == all) return 1;
    uint32_t found = 0;
    for (uint32_t free = all & ~(columns | left | right); free;) {
        LOOK();
        uint32_t bit = free & -free;
        free ^= bit;
        found += place(all, columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return found;
}
uint32_t run(void) { return place((1u << SIZE(11, 7)) - 1, 0, 0, 0) + place((1u << SIZE(12, 8)) - 1, 0, 0, 0); }
