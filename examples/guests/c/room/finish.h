/* The last pass: what is left of the noise is taken out by averaging like with like (non-local means), and bright places
 * are given a glow. */
#ifndef ROOM_FINISH_H
#define ROOM_FINISH_H
#include <string.h>

#include "frame.h"

/* Like pixels are looked for so far around each; patches that are compared reach so far around their middle; what a tile
 * needs around itself, with what the smoothing of the noise estimate needs; one pixel of the glow for so many, each way. */
enum { REACH = 7, PATCH = 1, AROUND = REACH + PATCH + 1, SIDE = TILE + 2 * AROUND, PADDED = TILE + 2 * PATCH, COARSE = 8 };
/* How strict the comparison is; how much of the light above GLOWS glows. */
static const float STRICT = 0.7f, GLOW = 0.055f, GLOWS = 0.45f;

static float (*glow)[3];
static int glow_w, glow_h;

static int between_ints(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

static void blur(float (*from)[3], int reach, int across) {
    memcpy(from, glow, (size_t)glow_w * (size_t)glow_h * sizeof *glow);
    int size = across ? glow_w : glow_h;
    for (int y = 0; y < glow_h; y++)
        for (int x = 0; x < glow_w; x++) {
            float sum[3] = {0, 0, 0};
            for (int i = 0; i <= 2 * reach; i++) {
                int at = between_ints((across ? x : y) + i - reach, 0, size - 1);
                const float *light = from[across ? y * glow_w + at : at * glow_w + x];
                for (int c = 0; c < 3; c++) sum[c] += light[c];
            }
            for (int c = 0; c < 3; c++) glow[y * glow_w + x][c] = sum[c] / (float)(2 * reach + 1);
        }
}

/* The light that bright places shed in the eye, small and blurred. */
static int make_glow(uint32_t samples) {
    glow_w = (width + COARSE - 1) / COARSE, glow_h = (height + COARSE - 1) / COARSE;
    size_t cells = (size_t)glow_w * (size_t)glow_h;
    glow = calloc(cells, sizeof *glow);
    float (*copy)[3] = calloc(cells, sizeof *copy);
    if (!glow || !copy) return 0;
    for (int place = 0; place < glow_w * glow_h; place++) {
        int cx = place % glow_w * COARSE, cy = place / glow_w * COARSE;
        float count = 0;
        for (int y = cy; y < cy + COARSE && y < height; y++)
            for (int x = cx; x < cx + COARSE && x < width; x++) {
                v3 m = mean(x, y, samples);
                double seen[3] = {m.x, m.y, m.z};
                for (int c = 0; c < 3; c++) {
                    float over = (float)seen[c] - GLOWS;
                    glow[place][c] += over > 0 ? (over < 4 ? over : 4) : 0;
                }
                count += 1;
            }
        for (int c = 0; c < 3; c++) glow[place][c] = glow[place][c] * GLOW * 3.0f / count;
    }
    int reach = glow_w / 22 > 1 ? glow_w / 22 : 1;
    for (int i = 0; i < 3; i++) {
        blur(copy, reach, 1);
        blur(copy, reach, 0);
    }
    free(copy);
    return 1;
}

static void glow_place(int p, int size, int *low, int *high, float *f) {
    float at = ((float)p + 0.5f) / COARSE - 0.5f, last = (float)(size - 1);
    at = at < 0 ? 0 : at > last ? last : at;
    *low = (int)at;
    *high = *low + 1 < size ? *low + 1 : size - 1;
    *f = at - (float)*low;
}

static void glow_at(int x, int y, float out[3]) {
    int x0, x1, y0, y1;
    float fx, fy;
    glow_place(x, glow_w, &x0, &x1, &fx);
    glow_place(y, glow_h, &y0, &y1, &fy);
    for (int c = 0; c < 3; c++) {
        float top = glow[y0 * glow_w + x0][c] * (1.0f - fx) + glow[y0 * glow_w + x1][c] * fx;
        float bottom = glow[y1 * glow_w + x0][c] * (1.0f - fx) + glow[y1 * glow_w + x1][c] * fx;
        out[c] = top * (1.0f - fy) + bottom * fy;
    }
}

static float colour[SIDE * SIDE][3], rough[SIDE * SIDE][3], noisy[SIDE * SIDE][3];
static float clean[TILE * TILE][3], weights[TILE * TILE], far_off[PADDED * PADDED], rows[PADDED * TILE];

/* Square roots of the light (so that dark and bright count alike), and how noisy each is (its variance). */
static void surroundings(int corner_x, int corner_y, uint32_t samples) {
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++) {
            /* Past the edge of the picture, its edge. */
            int px = between_ints(corner_x + x - AROUND, 0, width - 1), py = between_ints(corner_y + y - AROUND, 0, height - 1);
            float a[3], b[3];
            halves(px, py, samples, a, b);
            for (int c = 0; c < 3; c++) {
                float half = (sqrtf(a[c]) - sqrtf(b[c])) * 0.5f;
                colour[y * SIDE + x][c] = sqrtf((a[c] + b[c]) * 0.5f);
                rough[y * SIDE + x][c] = half * half;
            }
        }
    memcpy(noisy, rough, sizeof noisy);
    /* Two halves say little of one pixel; nine pixels say more. But a speck is to be known as one. */
    for (int y = 1; y < SIDE - 1; y++)
        for (int x = 1; x < SIDE - 1; x++)
            for (int c = 0; c < 3; c++) {
                float row[3];
                for (int k = -1; k <= 1; k++) {
                    int at = (y + k) * SIDE + x;
                    row[k + 1] = rough[at - 1][c] + rough[at][c] + rough[at + 1][c];
                }
                float middle = (row[0] + row[1] + row[2]) * (1.0f / 9.0f), own = rough[y * SIDE + x][c];
                noisy[y * SIDE + x][c] = own > middle ? own : middle;
            }
}

/* Each pixel of the tile as the mean of those around it whose patches look alike, given how noisy they are. */
static void like_with_like(void) {
    memset(clean, 0, sizeof clean);
    memset(weights, 0, sizeof weights);
    for (int dy = -REACH; dy <= REACH; dy++)
        for (int dx = -REACH; dx <= REACH; dx++) {
            int off = dy * SIDE + dx;
            /* How far each pixel is from the one at this offset, noise allowed for. */
            for (int y = 0; y < PADDED; y++)
                for (int x = 0; x < PADDED; x++) {
                    int p = (y + AROUND - PATCH) * SIDE + AROUND - PATCH + x, q = p + off;
                    float sum = 0;
                    for (int c = 0; c < 3; c++) {
                        float d = colour[p][c] - colour[q][c], np = noisy[p][c], nq = noisy[q][c];
                        float known = np + (nq < np ? nq : np);
                        sum += (d * d - known) / (4e-5f + STRICT * STRICT * (np + nq));
                    }
                    far_off[y * PADDED + x] = sum;
                }
            /* Over patches of three by three. */
            for (int y = 0; y < PADDED; y++)
                for (int x = 0; x < TILE; x++) {
                    const float *p = far_off + y * PADDED + x;
                    rows[y * TILE + x] = p[0] + p[1] + p[2];
                }
            for (int y = 0; y < TILE; y++)
                for (int x = 0; x < TILE; x++) {
                    int p = y * TILE + x, q = (y + AROUND) * SIDE + x + AROUND + off;
                    float middle = (rows[p] + rows[p + TILE] + rows[p + 2 * TILE]) * (1.0f / 27.0f);
                    float near = 1.0f - 0.35f * (middle > 0 ? middle : 0);
                    near = near > 0 ? near : 0;
                    float weight = near * near;
                    for (int c = 0; c < 3; c++) clean[p][c] += weight * colour[q][c];
                    weights[p] += weight;
                }
        }
    for (int p = 0; p < TILE * TILE; p++)
        /* Each pixel is at least like itself, so the weight is one or more. */
        for (int c = 0; c < 3; c++) clean[p][c] /= weights[p] > 1e-6f ? weights[p] : 1;
}

/* Corners are a little darker. */
static float vignette(int x, int y) {
    float dx = ((float)x + 0.5f) / (float)width * 2.0f - 1.0f, dy = ((float)y + 0.5f) / (float)height * 2.0f - 1.0f;
    float far = dx * dx + 0.6f * dy * dy;
    return 1.0f - 0.20f * far * far / (1.0f + 0.4f * far);
}

/* Writes one finished tile to `rgb`. */
static void finish_tile(int tile, uint32_t samples, unsigned char *rgb) {
    int corner_x = tile % tiles_across * TILE, corner_y = tile / tiles_across * TILE;
    surroundings(corner_x, corner_y, samples);
    like_with_like();
    for (int y = 0; y < TILE && corner_y + y < height; y++)
        for (int x = 0; x < TILE && corner_x + x < width; x++) {
            float halo[3], shade = vignette(corner_x + x, corner_y + y);
            glow_at(corner_x + x, corner_y + y, halo);
            unsigned char *out = rgb + 3 * ((size_t)(corner_y + y) * (size_t)width + (size_t)(corner_x + x));
            for (int c = 0; c < 3; c++) {
                float root = clean[y * TILE + x][c];
                out[c] = tone((root * root + halo[c]) * shade);
            }
        }
}
#endif
