/* What has been gathered so far: for each pixel two sums of light, of its even and of its odd samples. How much the two
 * differ tells how noisy a pixel still is. Pixels of a tile lie together. */
#ifndef ROOM_FRAME_H
#define ROOM_FRAME_H
#include <stdlib.h>

#include "vector.h"

enum { TILE = 32, SUMS = 6 };
/* Light of one is counted as this much, in whole numbers. */
static const double LIGHT_ONE = 16384.0;

static int width, height, tiles_across, tiles_down;
static uint32_t *sums;

static int make_frame(int w, int h) {
    width = w, height = h;
    tiles_across = (w + TILE - 1) / TILE, tiles_down = (h + TILE - 1) / TILE;
    sums = calloc((size_t)tiles_across * (size_t)tiles_down * TILE * TILE * SUMS, sizeof *sums);
    return sums != 0;
}

static inline uint32_t *pixel_at(int x, int y) {
    size_t tile = (size_t)(y / TILE * tiles_across + x / TILE), within = (size_t)(y % TILE * TILE + x % TILE);
    return sums + (tile * TILE * TILE + within) * SUMS;
}

static inline void add_part(uint32_t *sum, double part) {
    uint32_t more = whole(part * LIGHT_ONE);
    *sum = *sum > UINT32_MAX - more ? UINT32_MAX : *sum + more;
}

static void add_sample(int x, int y, uint64_t sample, v3 light) {
    uint32_t *p = pixel_at(x, y) + (sample & 1 ? 3 : 0);
    add_part(p, light.x);
    add_part(p + 1, light.y);
    add_part(p + 2, light.z);
}

/* The two means of a pixel, after so many samples of it. */
static void halves(int x, int y, uint32_t samples, float a[3], float b[3]) {
    const uint32_t *p = pixel_at(x, y);
    uint32_t evens = (samples + 1) / 2, odds = samples / 2;
    float scale = 1.0f / ((float)LIGHT_ONE * (float)(evens ? evens : 1));
    for (int c = 0; c < 3; c++) a[c] = (float)p[c] * scale;
    scale = 1.0f / ((float)LIGHT_ONE * (float)(odds ? odds : 1));
    for (int c = 0; c < 3; c++) b[c] = odds ? (float)p[3 + c] * scale : a[c];
}

/* The mean of a pixel. */
static v3 mean(int x, int y, uint32_t samples) {
    const uint32_t *p = pixel_at(x, y);
    double scale = 1.0 / (LIGHT_ONE * (double)(samples ? samples : 1));
    return v((double)((uint64_t)p[0] + p[3]) * scale, (double)((uint64_t)p[1] + p[4]) * scale,
             (double)((uint64_t)p[2] + p[5]) * scale);
}

/* Light (0 to many) to 0-255, softly at the bright end: a rational curve after film, then a square root for gamma. */
static unsigned char tone(float light) {
    float x = light > 0 ? light * 1.3f : 0;
    float film = (x * (2.51f * x + 0.03f)) / (x * (2.43f * x + 0.59f) + 0.14f);
    return (unsigned char)(sqrtf(film < 1 ? film : 1) * 255.0f + 0.5f);
}
#endif
