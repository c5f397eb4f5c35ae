#include "programs.h"
#define N SIZE(240, 24)
static double a[N][N], b[N][N], c[N][N];
uint32_t run(void) {
    for (int i = 0; i < N; i++)
        for (int j = 0; j < N; j++) a[i][j] = i + 0.5 * j, b[i][j] = i - 0.25 * j;
    for (int round = 0; round < 4; round++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                double s = 0;
                for (int k = 0; k < N; k++) {
                    LOOK();
                    s += a[i][k] * b[k][j];
                }
                c[i][j] += s;
            }
    double t = 0;
    for (int i = 0; i < N; i++) t += c[i][(i * 7) % N];
    return (uint32_t)(int64_t)t;
}
