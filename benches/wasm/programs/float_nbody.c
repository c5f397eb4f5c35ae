#include "programs.h"
struct body { double p[3], v[3], m; };
static struct body bodies[5] = {
    {{0, 0, 0}, {0, 0, 0}, 39.47}, {{4.84, -1.16, -0.10}, {0.60, 2.81, -0.02}, 0.037},
    {{8.34, 4.12, -0.40}, {-1.01, 1.82, 0.008}, 0.011}, {{12.89, -15.11, -0.22}, {1.08, 0.86, -0.01}, 0.0017},
    {{15.37, -25.91, 0.17}, {0.97, 0.59, -0.03}, 0.002}};
static double root(double x) { return __builtin_sqrt(x); }
uint32_t run(void) {
    for (int step = 0; step < SIZE(400000, 1000); step++) {
        LOOK();
        for (int i = 0; i < 5; i++)
            for (int j = i + 1; j < 5; j++) {
                LOOK();
                double d[3], s = 0;
                for (int k = 0; k < 3; k++) d[k] = bodies[i].p[k] - bodies[j].p[k], s += d[k] * d[k];
                double f = 0.001 / (s * root(s));
                for (int k = 0; k < 3; k++) {
                    bodies[i].v[k] -= d[k] * bodies[j].m * f;
                    bodies[j].v[k] += d[k] * bodies[i].m * f;
                }
            }
        for (int i = 0; i < 5; i++)
            for (int k = 0; k < 3; k++) bodies[i].p[k] += 0.001 * bodies[i].v[k];
    }
    return (uint32_t)(int64_t)(bodies[0].p[0] * 1e9);
}
