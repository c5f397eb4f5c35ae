#include "programs.h"
static uint32_t keys[SIZE(200000, 500)];
typedef int comparing(uint32_t, uint32_t);
static int up(uint32_t a, uint32_t b) { return (a > b) - (a < b); }
static int down(uint32_t a, uint32_t b) { return (a < b) - (a > b); }
static comparing *volatile const ways[2] = {up, down};
static void sift(size_t at, size_t end, comparing *compare) {
    for (size_t child; (child = 2 * at + 1) < end; at = child) {
        LOOK();
        if (child + 1 < end && compare(keys[child], keys[child + 1]) < 0) child++;
        if (compare(keys[at], keys[child]) >= 0) return;
        uint32_t t = keys[at];
        keys[at] = keys[child];
        keys[child] = t;
    }
}
uint32_t run(void) {
    uint32_t state = 7, sum = 0;
    for (int round = 0; round < 6; round++) {
        size_t n = sizeof keys / sizeof *keys;
        for (size_t i = 0; i < n; i++) keys[i] = mix(&state);
        comparing *compare = ways[round & 1];
        for (size_t i = n / 2; i-- > 0;) {
            LOOK();
            sift(i, n, compare);
        }
        for (size_t end = n; end-- > 1;) {
            LOOK();
            uint32_t t = keys[0];
            keys[0] = keys[end];
            keys[end] = t;
            sift(0, end, compare);
        }
        sum = sum * 31 + keys[n / 3];
    }
    return sum;
}
