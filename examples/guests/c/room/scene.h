/* The room: the picture as a screen that shines, a polished floor, and spheres of glass, metal and glaze. */
#ifndef ROOM_SCENE_H
#define ROOM_SCENE_H
#include "light.h"
#include "random.h"

/* Matt under a clear coat; a coloured mirror; glass; a soap film. */
enum kind { GLAZED, METAL, GLASS, FILM };

struct matter {
    enum kind kind;
    /* Of glass: what it takes of each colour for each unit of way. */
    v3 colour;
    double mirror, rough;
};

struct sphere {
    v3 centre;
    double radius;
    struct matter matter;
};

struct ray {
    v3 from, way; /* way is of length one */
};

enum met { SCREEN, DARK, SURFACE, SKY };

struct hit {
    enum met met;
    double s, t; /* of the screen */
    v3 at, normal;
    struct matter matter;
    int inside;
};

enum { SPHERES = 34, FIRST_SPHERES = 12, TRIES = 400 };
static const double DEPTH = -3.9, OFF = 1e-6, FRAME = 0.07;
static struct sphere spheres[SPHERES];
static int sphere_count;
/* Lower left corner of the screen, and its size. */
static v3 screen_corner;
static double screen_w, screen_h;

static struct matter glazed(v3 colour, double mirror, double rough) {
    return (struct matter){GLAZED, colour, mirror, rough};
}
static struct matter metal(v3 colour, double rough) { return (struct matter){METAL, colour, 0, rough}; }
static struct matter glass(v3 takes) { return (struct matter){GLASS, takes, 0, 0}; }
static struct sphere ball(double x, double z, double radius, struct matter matter) {
    return (struct sphere){v(x, radius, z), radius, matter};
}
static struct sphere bubble(double x, double y, double z, double radius) {
    return (struct sphere){v(x, y, z), radius, {FILM, {0, 0, 0}, 0, 0}};
}

static void make_spheres(void) {
    struct sphere first[FIRST_SPHERES] = {
        ball(-1.42, -0.75, 0.84, glass(v(0.03, 0.02, 0.03))),
        ball(1.55, -1.35, 0.78, metal(v(1.0, 0.74, 0.36), 0.03)),
        ball(0.24, 0.62, 0.42, metal(v(0.93, 0.94, 0.96), 0.0)),
        ball(-2.95, -1.75, 0.6, glazed(v(0.88, 0.86, 0.82), 0.05, 0.0)),
        ball(2.55, 0.25, 0.44, glass(v(2.6, 0.5, 0.12))),
        ball(0.05, -2.35, 0.5, glazed(v(0.10, 0.20, 0.62), 0.05, 0.0)),
        ball(-0.62, 1.25, 0.25, glass(v(0.25, 2.2, 3.4))),
        ball(3.15, -2.2, 0.42, metal(v(0.95, 0.60, 0.48), 0.08)),
        bubble(-0.30, 1.95, -0.6, 0.34),
        bubble(2.45, 2.3, -1.6, 0.25),
        bubble(-2.55, 2.2, -0.8, 0.2),
        bubble(0.95, 1.55, 0.4, 0.12),
    };
    for (; sphere_count < FIRST_SPHERES; sphere_count++) spheres[sphere_count] = first[sphere_count];
    /* Beads, strewn wherever there is room. */
    struct matter beads[6] = {
        glass(v(0.6, 9.0, 9.0)), glass(v(9.0, 1.2, 4.5)),         glass(v(0.3, 2.4, 12.0)),
        glass(v(9.0, 4.5, 0.5)), metal(v(0.96, 0.55, 0.42), 0.06), glass(v(1.5, 8.0, 1.2)),
    };
    for (uint64_t try = 0; sphere_count < SPHERES && try < TRIES; try++) {
        uint64_t n = mix(0x5eed0000u + try);
        double a = (double)(n & 0xffff) * (1.0 / 65536.0), b = (double)(n >> 16 & 0xffff) * (1.0 / 65536.0);
        double c = (double)(n >> 32 & 0xffff) * (1.0 / 65536.0), radius = 0.09 + 0.11 * a * a;
        struct sphere bead = ball(b * 6.4 - 3.2, c * 5.4 - 2.9, radius, beads[(n >> 48) % 6]);
        int room = 1;
        for (int i = 0; i < sphere_count; i++)
            if (!(length(sub(spheres[i].centre, bead.centre)) > spheres[i].radius + bead.radius + 0.06)) room = 0;
        if (room) spheres[sphere_count++] = bead;
    }
}

static void make_scene(void) {
    double most_w = 5.9, most_h = 3.1, aspect = clamp((double)light_w / light_h, 0.3, 3.0);
    int wide = aspect > most_w / most_h;
    screen_w = wide ? most_w : most_h * aspect;
    screen_h = wide ? most_w / aspect : most_h;
    screen_corner = v(-screen_w * 0.5, 0.3, DEPTH);
    make_spheres();
}

/* A place of the screen in the room. */
static v3 on_screen(double s, double t) { return add(screen_corner, v(s * screen_w, (1.0 - t) * screen_h, 0)); }

/* How far along a ray it meets the sphere, if nearer than `nearest`; else -1. */
static inline double meets(const struct sphere *sphere, const struct ray *ray, double nearest) {
    v3 to = sub(sphere->centre, ray->from);
    double along = dot(to, ray->way), under = along * along - dot(to, to) + sphere->radius * sphere->radius;
    if (under <= 0) return -1;
    double half = sqrt(under), near = along - half, far = along + half;
    if (near > OFF && near < nearest) return near;
    return far > OFF && far < nearest && near <= OFF ? far : -1;
}

/* Noise that wanders like veins in stone, 0 to 1. */
static double veins(double x, double z) {
    double sum = 0, weight = 0.5, scale = 1;
    for (int octave = 0; octave < 4; octave++) {
        double ridge = 1.0 - fabs(2.0 * noise(x * scale + octave * 17.0, z * scale) - 1.0);
        sum += weight * ridge * ridge;
        weight *= 0.5;
        scale *= 2.1;
    }
    return sum;
}

/* Slabs of dark polished stone, each a little different, with veins. */
static struct matter floor_at(v3 at) {
    double gx = at.x / 0.9 + 0.5, gz = at.z / 0.9, ix = floor(gx), iz = floor(gz), fx = gx - ix, fz = gz - iz;
    if (fx < 0.012 || fz < 0.012) return glazed(v(0.02, 0.02, 0.02), 0, 0.5);
    uint64_t slab = mix((uint64_t)(int64_t)ix ^ mix((uint64_t)(int64_t)iz));
    int is_even = (((int64_t)ix + (int64_t)iz) & 1) == 0;
    double vein = veins(at.x * 2.1 + (double)(slab & 7), at.z * 2.1 + (double)(slab >> 3 & 7));
    double shade = (is_even ? 0.42 : 0.20) + 0.10 * (vein - 0.5);
    double warm = (double)(slab >> 8 & 15) * (0.02 / 15.0);
    return glazed(v(shade + warm, shade, shade - warm * 0.5), is_even ? 0.10 : 0.26, is_even ? 0.05 : 0.006);
}

/* What a ray meets first. */
static struct hit first_hit(const struct ray *ray) {
    struct hit hit = {.met = SKY};
    double nearest = INFINITY;
    if (ray->way.y < -1e-9) {
        double far = -ray->from.y / ray->way.y;
        if (far > OFF) {
            nearest = far;
            hit.met = SURFACE;
        }
    }
    if (fabs(ray->way.z) >= 1e-9) {
        double far = (DEPTH - ray->from.z) / ray->way.z;
        if (far > OFF && far < nearest) {
            v3 at = add(ray->from, mul(ray->way, far));
            double x = at.x - screen_corner.x, y = at.y - screen_corner.y;
            if (x > -FRAME && y > -FRAME && x < screen_w + FRAME && y < screen_h + FRAME) {
                double s = x / screen_w, t = 1.0 - y / screen_h;
                int shows = s >= 0 && s < 1 && t >= 0 && t < 1 && ray->way.z < 0;
                nearest = far;
                hit.met = shows ? SCREEN : DARK;
                hit.s = s;
                hit.t = t;
            }
        }
    }
    const struct sphere *met = 0;
    for (int i = 0; i < sphere_count; i++) {
        double far = meets(&spheres[i], ray, nearest);
        if (far >= 0) {
            nearest = far;
            met = &spheres[i];
        }
    }
    if (met) hit.met = SURFACE;
    if (hit.met != SURFACE) return hit;
    hit.at = add(ray->from, mul(ray->way, nearest));
    if (!met) {
        hit.normal = v(0, 1, 0);
        hit.matter = floor_at(hit.at);
        return hit;
    }
    v3 normal = mul(sub(hit.at, met->centre), 1.0 / met->radius);
    hit.inside = dot(normal, ray->way) > 0;
    hit.normal = hit.inside ? v(-normal.x, -normal.y, -normal.z) : normal;
    hit.matter = met->matter;
    return hit;
}

/* Whether nothing but soap film is between a ray's begin and the screen `far` away. */
static int sees(const struct ray *ray, double far) {
    for (int i = 0; i < sphere_count; i++)
        if (spheres[i].matter.kind != FILM && meets(&spheres[i], ray, far - 1e-6) >= 0) return 0;
    return 1;
}

/* Light from where nothing is: far away the picture goes on all around, faint and without outlines. */
static v3 around(v3 way) {
    double flat = fabs(way.x) + fabs(way.z) + 1e-9, s = 0.5 + 0.5 * way.x / flat, t = 0.62 - 0.6 * way.y;
    double behind = way.z > 0 ? way.z : 0, up = way.y > 0 ? way.y : 0;
    double strength = 0.04 + 0.20 * up + 0.40 * behind * (1.0 - up);
    return mul(between(patches, PATCH_W, PATCH_H, s, t), strength);
}
#endif
