/* For all programs: `run` does the work and gives a number that depends on all of it. With POLL each loop and each
 * recursion looks whether it is to stop, as a person would write it for a pass that unwinds at calls only (Asyncify). */
#include <stddef.h>
#include <stdint.h>

#define EXPORT(name) __attribute__((export_name(#name)))

#ifdef POLL
__attribute__((import_module("host"), import_name("poll"))) void host_poll(void);
volatile int ask;
#define LOOK()                                \
    do {                                      \
        if (__builtin_expect(ask, 0)) host_poll(); \
    } while (0)
#else
#define LOOK() (void)0
#endif

EXPORT(run) uint32_t run(void);

static inline uint32_t mix(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
