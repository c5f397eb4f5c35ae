#include "programs.h"
static __attribute__((noinline)) uint32_t fib(uint32_t n) {
    LOOK();
    return n < 2 ? n : fib(n - 1) + fib(n - 2);
}
uint32_t run(void) { return fib(SIZE(34, 20)); }
