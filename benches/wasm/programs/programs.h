/* For all programs: `run` does the work and gives a number that depends on all of it. With POLL each loop and each
 * recursion looks whether it is to stop, as a person would write it for a pass that unwinds at calls only (Asyncify). With SMALL
 * they are reactors of the bus that have a thousandth to do, for tests that stop them everywhere; the number is their status. */
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

#ifdef SMALL
#define SIZE(measured, small) (small)
EXPORT(softbus_main) uint32_t run(void);
#else
#define SIZE(measured, small) (measured)
EXPORT(run) uint32_t run(void);
#endif

static inline uint32_t mix(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}
