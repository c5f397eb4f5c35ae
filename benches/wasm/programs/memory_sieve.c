#include "programs.h"
static uint8_t composite[SIZE(4000000, 4000)];
uint32_t run(void) {
    uint32_t primes = 0;
    for (int round = 0; round < 6; round++) {
        __builtin_memset(composite, 0, sizeof composite);
        for (uint32_t i = 2; i < sizeof composite; i++) {
            LOOK();
            if (composite[i]) continue;
            primes++;
            for (uint32_t j = i * 2; j < sizeof composite; j += i) {
                LOOK();
                composite[j] = 1;
            }
        }
    }
    return primes;
}
