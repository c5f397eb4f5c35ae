#include "programs.h"
/* Objects of several kinds, each with its own methods. */
struct shape { const struct methods *methods; uint32_t a, b; };
struct methods { uint32_t (*area)(const struct shape *); void (*grow)(struct shape *, uint32_t); };
static uint32_t box_area(const struct shape *s) { return s->a * s->b; }
static void box_grow(struct shape *s, uint32_t by) { s->a = (s->a + by) & 1023, s->b ^= by; }
static uint32_t line_area(const struct shape *s) { return s->a + s->b; }
static void line_grow(struct shape *s, uint32_t by) { s->b = (s->b * 3 + by) & 4095; }
static uint32_t disc_area(const struct shape *s) { return s->a * s->a * 3; }
static void disc_grow(struct shape *s, uint32_t by) { s->a = (s->a ^ by) & 2047; }
static const struct methods box = {box_area, box_grow}, line = {line_area, line_grow}, disc = {disc_area, disc_grow};
static const struct methods *volatile const kinds[3] = {&box, &line, &disc};
#define SHAPES SIZE(1000, 100)
static struct shape shapes[SHAPES];
uint32_t run(void) {
    uint32_t state = 3, sum = 0;
    for (int i = 0; i < SHAPES; i++) shapes[i] = (struct shape){kinds[mix(&state) % 3], mix(&state) & 255, mix(&state) & 255};
    for (int round = 0; round < SIZE(12000, 200); round++) {
        LOOK();
        for (int i = 0; i < SHAPES; i++) {
            LOOK();
            struct shape *s = &shapes[i];
            sum += s->methods->area(s);
            if ((i & 7) == (round & 7)) s->methods->grow(s, sum & 15);
        }
    }
    return sum;
}
