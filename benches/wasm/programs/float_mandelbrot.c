#include "programs.h"
#define WIDTH SIZE(400, 40)
#define HEIGHT SIZE(300, 30)
#define MOST SIZE(300, 60)
uint32_t run(void) {
    uint32_t total = 0;
    for (int j = 0; j < HEIGHT; j++)
        for (int i = 0; i < WIDTH; i++) {
            double cx = -2.2 + 3.2 * i / WIDTH, cy = -1.2 + 2.4 * j / HEIGHT, x = 0, y = 0;
            int n = 0;
            while (n < MOST && x * x + y * y < 4) {
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
