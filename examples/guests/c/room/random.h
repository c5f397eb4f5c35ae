/* Numbers that look random, but are a function of the pixel and the sample alone. */
#ifndef ROOM_RANDOM_H
#define ROOM_RANDOM_H
#include "vector.h"

/* A good mixture of 64 bits (the finaliser of SplitMix64). */
static inline uint64_t mix(uint64_t n) {
    n += 0x9e3779b97f4a7c15u;
    n = (n ^ (n >> 30)) * 0xbf58476d1ce4e5b9u;
    n = (n ^ (n >> 27)) * 0x94d049bb133111ebu;
    return n ^ (n >> 31);
}

struct random {
    uint64_t counter, shift, sample;
};

static inline struct random random_of(uint64_t pixel, uint64_t sample) {
    uint64_t shift = mix(pixel);
    return (struct random){mix(shift ^ (sample << 40) ^ sample), shift, sample};
}

static inline double part_of_one(uint32_t bits) { return (double)bits * (1.0 / 4294967296.0); }

/* From 0 up to, not including, 1. */
static inline double next(struct random *r) {
    r->counter += 0x9e3779b97f4a7c15u;
    return part_of_one((uint32_t)(mix(r->counter) >> 32));
}

/* A pair of numbers that over the samples of a pixel fill the square evenly (the R2 sequence, shifted anew for each pixel
 * and each use). */
static inline void even(const struct random *r, uint64_t use, double *a, double *b) {
    uint64_t shift = mix(r->shift + use);
    uint32_t n = (uint32_t)r->sample;
    *a = part_of_one((uint32_t)shift + n * 0xc13fa9a9u);
    *b = part_of_one((uint32_t)(shift >> 32) + n * 0x91e10da5u);
}

/* A point in the ball of radius one, by trying points of the cube. */
static inline v3 in_ball(struct random *r) {
    for (int i = 0; i < 16; i++) {
        double x = next(r) * 2.0 - 1.0, y = next(r) * 2.0 - 1.0, z = next(r) * 2.0 - 1.0;
        v3 p = v(x, y, z);
        if (dot(p, p) <= 1.0) return p;
    }
    return v(0, 0, 0);
}

/* A direction about a normal, as often as a matt surface sends light there. */
static inline v3 matt(struct random *r, v3 normal) { return unit(add(mul(unit(in_ball(r)), 0.999), normal)); }

/* Smooth noise on a grid of one, 0 to 1. */
static inline double corner_noise(double ix, double iy, int64_t dx, int64_t dy) {
    uint64_t n = mix(mix((uint64_t)((int64_t)iy + dy)) ^ (uint64_t)((int64_t)ix + dx));
    return (double)(n >> 40) * (1.0 / 16777216.0);
}
static double noise(double x, double y) {
    double ix = floor(x), iy = floor(y), fx = x - ix, fy = y - iy;
    double sx = fx * fx * (3.0 - 2.0 * fx), sy = fy * fy * (3.0 - 2.0 * fy);
    double top = corner_noise(ix, iy, 0, 0) * (1.0 - sx) + corner_noise(ix, iy, 1, 0) * sx;
    double bottom = corner_noise(ix, iy, 0, 1) * (1.0 - sx) + corner_noise(ix, iy, 1, 1) * sx;
    return top * (1.0 - sy) + bottom * sy;
}
#endif
