/* The picture as a screen that shines: read from a PPM file, and sampled by its brightness. */
#ifndef ROOM_LIGHT_H
#define ROOM_LIGHT_H
#include <stdio.h>
#include <stdlib.h>

#include "vector.h"

enum { GRID_W = 64, GRID_H = 48, PATCH_W = 8, PATCH_H = 6, LEAST_SIDE = 8, MOST_SIDE = 2048 };

static int light_w, light_h;
/* Light of each pixel; and the picture in a few patches, for light without outlines. */
static v3 *linear, patches[PATCH_W * PATCH_H];
/* For each cell of the grid, how likely a cell up to and with it is, in 2^-32; and how much likelier it is than an equal share. */
static uint32_t up_to[GRID_W * GRID_H];
static double density[GRID_W * GRID_H];

/* A number of a PPM's head, with the white space and comments before it; -1 if there is none. */
static int head_number(FILE *in) {
    int c = getc(in), n = 0, digits = 0;
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '#') {
        if (c == '#') {
            while (c != '\n' && c != EOF) c = getc(in);
        } else {
            c = getc(in);
        }
    }
    for (; c >= '0' && c <= '9' && digits < 6; digits++, c = getc(in)) n = 10 * n + (c - '0');
    return digits ? n : -1;
}

static v3 between(const v3 *colours, int columns, int rows, double s, double t) {
    double x = clamp(s * columns - 0.5, 0, columns - 1), y = clamp(t * rows - 0.5, 0, rows - 1);
    int x0 = (int)x, y0 = (int)y;
    int x1 = x0 + 1 < columns ? x0 + 1 : columns - 1, y1 = y0 + 1 < rows ? y0 + 1 : rows - 1;
    double fx = x - x0, fy = y - y0;
    v3 top = add(mul(colours[y0 * columns + x0], 1.0 - fx), mul(colours[y0 * columns + x1], fx));
    v3 bottom = add(mul(colours[y1 * columns + x0], 1.0 - fx), mul(colours[y1 * columns + x1], fx));
    return add(mul(top, 1.0 - fy), mul(bottom, fy));
}

/* The light at a place of the screen (both 0 to 1, from the upper left). */
static v3 light_at(double s, double t) { return between(linear, light_w, light_h, s, t); }

/* A place of the screen, the likelier the brighter it is, and how much likelier than if all were equal. */
static double light_sample(double a, double b, double within, double *s, double *t) {
    uint32_t wanted = whole(a * 4294967295.0);
    int low = 0, high = GRID_W * GRID_H;
    while (low < high) {
        int middle = (low + high) / 2;
        if (up_to[middle] < wanted) low = middle + 1;
        else high = middle;
    }
    int cell = low < GRID_W * GRID_H ? low : GRID_W * GRID_H - 1;
    *s = ((double)(cell % GRID_W) + within) / GRID_W;
    *t = ((double)(cell / GRID_W) + b) / GRID_H;
    return density[cell];
}

static int least(int a, int b) { return a < b ? a : b; }
static int larger(int a, int b) { return a > b ? a : b; }

static void make_grid(void) {
    static uint64_t weights[GRID_W * GRID_H];
    uint64_t total = 0, running = 0;
    for (int cell = 0; cell < GRID_W * GRID_H; cell++) {
        int cx = cell % GRID_W, cy = cell / GRID_W;
        int x0 = cx * light_w / GRID_W, x1 = larger((cx + 1) * light_w / GRID_W, x0 + 1);
        int y0 = cy * light_h / GRID_H, y1 = larger((cy + 1) * light_h / GRID_H, y0 + 1);
        double sum = 0;
        for (int y = y0; y < y1; y++)
            for (int x = x0; x < x1; x++)
                sum += luminance(linear[least(y, light_h - 1) * light_w + least(x, light_w - 1)]);
        /* Never nought: a little light everywhere keeps the estimate free of error. */
        weights[cell] = 64 + (uint64_t)(sum / ((x1 - x0) * (y1 - y0)) * 4096.0);
        total += weights[cell];
    }
    for (int cell = 0; cell < GRID_W * GRID_H; cell++) {
        running += weights[cell];
        up_to[cell] = (uint32_t)(running * UINT32_MAX / total);
        density[cell] = (double)weights[cell] * (GRID_W * GRID_H) / (double)total;
    }
}

static void make_patches(void) {
    for (int patch = 0; patch < PATCH_W * PATCH_H; patch++) {
        int px = patch % PATCH_W, py = patch / PATCH_W;
        int x0 = least(px * light_w / PATCH_W, light_w - 1), y0 = least(py * light_h / PATCH_H, light_h - 1);
        int x1 = larger(least((px + 1) * light_w / PATCH_W, light_w - 1), x0 + 1);
        int y1 = larger(least((py + 1) * light_h / PATCH_H, light_h - 1), y0 + 1);
        v3 sum = v(0, 0, 0);
        for (int y = y0; y < y1; y++)
            for (int x = x0; x < x1; x++) sum = add(sum, linear[y * light_w + x]);
        patches[patch] = mul(sum, 1.0 / ((x1 - x0) * (y1 - y0)));
    }
}

/* Reads the picture. What is wrong with it, or 0. */
static const char *light_read(const char *path) {
    FILE *in = fopen(path, "rb");
    if (!in) return "cannot be opened";
    if (getc(in) != 'P' || getc(in) != '6') return "is no PPM picture (P6)";
    light_w = head_number(in), light_h = head_number(in);
    if (head_number(in) != 255) return "is no PPM picture of 8 bits";
    if (light_w < LEAST_SIDE || light_h < LEAST_SIDE || light_w > MOST_SIDE || light_h > MOST_SIDE)
        return "has sides that are too short or too long";
    size_t pixels = (size_t)light_w * (size_t)light_h;
    unsigned char *rgb = malloc(pixels * 3);
    linear = malloc(pixels * sizeof *linear);
    if (!rgb || !linear) return "needs more memory than there is";
    if (fread(rgb, 3, pixels, in) != pixels) return "is cut off";
    fclose(in);
    v3 sum = v(0, 0, 0);
    for (size_t i = 0; i < pixels; i++) {
        double c[3];
        for (int k = 0; k < 3; k++) {
            c[k] = rgb[3 * i + (size_t)k] * (1.0 / 255.0);
            c[k] = c[k] * c[k];
        }
        linear[i] = v(c[0], c[1], c[2]);
        sum = add(sum, linear[i]);
    }
    free(rgb);
    /* A dark picture lights the room as a bright one does, within reason. */
    double brightness = luminance(mul(sum, 1.0 / (double)pixels));
    double gain = clamp(0.22 / (brightness > 0.02 ? brightness : 0.02), 0.6, 5.0);
    for (size_t i = 0; i < pixels; i++) linear[i] = mul(linear[i], gain);
    make_grid();
    make_patches();
    return 0;
}
#endif
