#include "programs.h"
/* A machine whose instructions are functions. */
struct machine { uint32_t stack[16], at, pc, sum, left; };
typedef void instruction(struct machine *);
static void push(struct machine *m) { m->stack[m->at++ & 15] = m->left; }
static void add(struct machine *m) { m->sum += m->stack[--m->at & 15]; }
static void twist(struct machine *m) { m->sum = (m->sum << 5 | m->sum >> 27) ^ m->pc; }
static void back(struct machine *m) { m->left--, m->pc = 0xffffffff; }
static instruction *volatile const table[4] = {push, add, twist, back};
uint32_t run(void) {
    instruction *program[4] = {table[0], table[1], table[2], table[3]};
    struct machine m = {{0}, 0, 0, 1, SIZE(8000000, 5000)};
    while (m.left) {
        LOOK();
        program[m.pc & 3](&m);
        m.pc++;
    }
    return m.sum;
}
