/* Points, directions and colours. Only + - * / and square roots, which IEEE 754 defines to the last bit. */
#ifndef ROOM_VECTOR_H
#define ROOM_VECTOR_H
#include <math.h>
#include <stdint.h>

typedef struct {
    double x, y, z;
} v3;

static inline v3 v(double x, double y, double z) { return (v3){x, y, z}; }
static inline v3 add(v3 a, v3 b) { return v(a.x + b.x, a.y + b.y, a.z + b.z); }
static inline v3 sub(v3 a, v3 b) { return v(a.x - b.x, a.y - b.y, a.z - b.z); }
static inline v3 mul(v3 a, double s) { return v(a.x * s, a.y * s, a.z * s); }
static inline v3 tint(v3 a, v3 b) { return v(a.x * b.x, a.y * b.y, a.z * b.z); }
static inline double dot(v3 a, v3 b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static inline v3 cross(v3 a, v3 b) {
    return v(a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x);
}
static inline double length(v3 a) { return sqrt(dot(a, a)); }
/* Of length one; something harmless if it has none. */
static inline v3 unit(v3 a) {
    double l = length(a);
    return l > 1e-12 ? mul(a, 1.0 / l) : v(0, 1, 0);
}
/* As a mirror with this normal throws it back. */
static inline v3 mirrored(v3 a, v3 normal) { return sub(a, mul(normal, 2.0 * dot(a, normal))); }
static inline double most(v3 a) {
    double m = a.x > a.y ? a.x : a.y;
    return m > a.z ? m : a.z;
}
static inline double luminance(v3 a) { return 0.2126 * a.x + 0.7152 * a.y + 0.0722 * a.z; }
static inline double clamp(double x, double least, double most) { return x < least ? least : x > most ? most : x; }
/* To a whole number that holds it; what is no number becomes nought. */
static inline uint32_t whole(double x) {
    if (!(x > 0)) return 0;
    return x >= 4294967295.0 ? UINT32_MAX : (uint32_t)x;
}
#endif
