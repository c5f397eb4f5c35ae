#include "programs.h"
uint32_t run(void) {
    uint32_t total = 0;
    for (int j = 0; j < 300; j++)
        for (int i = 0; i < 400; i++) {
            double cx = -2.2 + 3.2 * i / 400, cy = -1.2 + 2.4 * j / 300, x = 0, y = 0;
            int n = 0;
            while (n < 300 && x * x + y * y < 4) {
                LOOK();
                double t = x * x - y * y + cx;
                y = 2 * x * y + cy;
                x = t;
                n++;
            }
            total += (uint32_t)n;
        }
    return total;
}
