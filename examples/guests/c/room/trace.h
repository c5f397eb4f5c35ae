/* Following light backwards, from the eye to the picture. */
#ifndef ROOM_TRACE_H
#define ROOM_TRACE_H
#include "scene.h"

/* Most surfaces that a path meets. */
enum { BOUNCES = 9 };
/* One sample counts for no more than this; the screen lights the room, and shines into the eye, so much; glass breaks
 * light this much. */
static const double BRIGHTEST = 7.0, LAMP = 4.5, SHINE = 0.6, BREAKS = 1.5, ONE_BY_PI = 0.318309886183790671537767526745028724;

/* How much a surface mirrors at this angle (Schlick), given how much it does when looked at straight. */
static inline double glance(double facing, double straight) {
    double m = 1.0 - clamp(facing, 0, 1), m2 = m * m;
    return straight + (1.0 - straight) * m2 * m2 * m;
}

/* About e^-x, by a rational function that is the same everywhere. */
static inline double kept(double x) {
    double y = 1.0 + x * (0.125 + x * (0.0078125 + x * 0.0003255208)), y2 = y * y, y4 = y2 * y2;
    return 1.0 / (y4 * y4);
}

/* A soft wave of period one, 0 to 1. */
static inline double wave(double x) {
    double f = x - floor(x), triangle = fabs(f * 2.0 - 1.0);
    return triangle * triangle * (3.0 - 2.0 * triangle);
}

/* Light of the screen that falls on a matt place, by one place of the screen. */
static v3 from_screen(v3 at, v3 normal, int bounce, struct random *r) {
    double within = next(r), a, b, s, t;
    if (bounce == 0) {
        even(r, 3, &a, &b);
    } else {
        a = next(r);
        b = next(r);
    }
    double likelier = light_sample(a, b, within, &s, &t);
    v3 to = sub(on_screen(s, t), at);
    double square = dot(to, to), far = sqrt(square);
    v3 way = mul(to, 1.0 / far);
    double here = dot(way, normal), there = -way.z; /* the screen looks along +z */
    if (here <= 0 || there <= 0) return v(0, 0, 0);
    struct ray ray = {add(at, mul(normal, OFF)), way};
    if (!sees(&ray, far)) return v(0, 0, 0);
    double area = screen_w * screen_h;
    return mul(light_at(s, t), here * there * area / (square * likelier) * ONE_BY_PI);
}

/* One surface on a path. Whether it goes on. */
static int bounces(const struct hit *hit, int bounce, struct random *r, struct ray *ray, v3 *light, v3 *through,
                   int *counts, int *matt_before) {
    const struct matter *matter = &hit->matter;
    v3 normal = hit->normal, off = mul(normal, OFF);
    double facing = -dot(ray->way, normal);
    switch (matter->kind) {
    case GLAZED: {
        double share = glance(facing, matter->mirror), often = share * 0.7 + 0.14;
        /* Mirrors more often than it would, and weighs the less: reflections need the samples. */
        if (matter->mirror > 0 && next(r) < often) {
            *through = mul(*through, share / often);
            v3 way = unit(add(mirrored(ray->way, normal), mul(in_ball(r), matter->rough)));
            if (dot(way, normal) <= 0) return 0;
            *ray = (struct ray){add(hit->at, off), way};
            *counts = 1;
        } else {
            double rest = matter->mirror > 0 ? (1.0 - share) / (1.0 - often) : 1.0;
            *through = mul(tint(*through, matter->colour), rest);
            *light = add(*light, mul(tint(*through, from_screen(hit->at, normal, bounce, r)), LAMP));
            *ray = (struct ray){add(hit->at, off), matt(r, normal)};
            *counts = 0;
            *matt_before = 1;
        }
        return 1;
    }
    case METAL: {
        v3 white = v(1, 1, 1);
        *through = tint(*through, add(matter->colour, mul(sub(white, matter->colour), glance(facing, 0))));
        v3 way = unit(add(mirrored(ray->way, normal), mul(in_ball(r), matter->rough)));
        if (dot(way, normal) <= 0) return 0;
        *ray = (struct ray){add(hit->at, off), way};
        *counts = 1;
        return 1;
    }
    case GLASS: {
        if (hit->inside) {
            double far = length(sub(hit->at, ray->from));
            v3 takes = matter->colour;
            *through = tint(*through, v(kept(takes.x * far), kept(takes.y * far), kept(takes.z * far)));
        }
        double ratio = hit->inside ? BREAKS : 1.0 / BREAKS;
        double under = 1.0 - ratio * ratio * (1.0 - facing * facing);
        double share = under <= 0 ? 1.0 : glance(hit->inside ? sqrt(under) : facing, 0.04);
        if (next(r) < share) {
            *ray = (struct ray){add(hit->at, off), mirrored(ray->way, normal)};
        } else {
            v3 way = add(mul(ray->way, ratio), mul(normal, ratio * facing - sqrt(under)));
            *ray = (struct ray){sub(hit->at, off), unit(way)};
        }
        *counts = 1;
        return 1;
    }
    case FILM:
        if (next(r) < glance(facing, 0.10) * 0.9) {
            /* Colours of a thin film: they wander with the angle. */
            double hue = facing * 2.2 + hit->at.y * 1.7 + hit->at.x * 0.6;
            *through = tint(*through, mul(v(wave(hue), wave(hue + 0.33), wave(hue + 0.66)), 1.5));
            *ray = (struct ray){add(hit->at, off), mirrored(ray->way, normal)};
            *counts = 1;
        } else {
            *ray = (struct ray){sub(hit->at, off), ray->way};
        }
        return 1;
    }
    return 0;
}

static v3 follow(struct ray ray, struct random *r) {
    v3 light = v(0, 0, 0), through = v(1, 1, 1);
    /* Whether light of the screen counts if the ray meets it: not after a matt surface, which has asked it already. */
    int counts = 1, matt_before = 0;
    for (int bounce = 0; bounce < BOUNCES; bounce++) {
        struct hit hit = first_hit(&ray);
        if (hit.met == SCREEN) {
            if (counts) light = add(light, mul(tint(through, light_at(hit.s, hit.t)), matt_before ? LAMP : SHINE));
            break;
        }
        if (hit.met == DARK) break;
        if (hit.met == SKY) {
            light = add(light, tint(through, around(ray.way)));
            break;
        }
        if (!bounces(&hit, bounce, r, &ray, &light, &through, &counts, &matt_before)) break;
        /* Faint paths end early; those that go on make up for them. */
        if (bounce >= 3) {
            double chance = clamp(most(through), 0.05, 0.95);
            if (next(r) >= chance) break;
            through = mul(through, 1.0 / chance);
        }
    }
    return light;
}

/* Light that comes to the eye through one sample of a pixel. The eye is a little above the floor, with a small lens. */
static v3 look(int x, int y, int width, int height, uint64_t sample) {
    struct random r = random_of((uint64_t)y << 32 | (uint64_t)x, sample);
    double jx, jy, lx, ly;
    even(&r, 1, &jx, &jy);
    even(&r, 2, &lx, &ly);
    double px0 = x + jx, py0 = y + jy, w = width, h = height, wide = 0.475;
    v3 from = v(0, 2.35, 6.4), to = v(0, 1.24, -1.6), ahead = unit(sub(to, from));
    v3 right = unit(cross(ahead, v(0, 1, 0))), up = cross(right, ahead);
    double px = (px0 / w * 2.0 - 1.0) * wide, py = (1.0 - py0 / h * 2.0) * wide * h / w;
    v3 sharp = add(from, mul(add(add(ahead, mul(right, px)), mul(up, py)), 7.9));
    v3 moved = add(add(from, mul(right, (lx - 0.5) * 0.05)), mul(up, (ly - 0.5) * 0.05));
    struct ray ray = {moved, unit(sub(sharp, moved))};
    v3 seen = follow(ray, &r);
    double brightest = most(seen);
    return brightest > BRIGHTEST ? mul(seen, BRIGHTEST / brightest) : seen;
}
#endif
