/* Says how time passes: sleeps as often as its argument says, a tenth of a second each time, and checks that the clock
 * never goes back and that each sleep lasts. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
    int times = argc > 1 ? atoi(argv[1]) : 10;
    double before = now();
    for (int i = 0; i < times; i++) {
        struct timespec nap = {0, 100000000};
        nanosleep(&nap, 0);
        double after = now();
        if (after < before + 0.099) {
            printf("sleep %d ended too soon: %.6f\n", i, after - before);
            return 1;
        }
        before = after;
        printf("tick %d\n", i);
        fflush(stdout);
    }
    return 0;
}
