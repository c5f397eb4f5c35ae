#include "programs.h"
struct node { struct node *left, *right; };
static struct node pool[SIZE(1 << 19, 1 << 9)];
static size_t used;
static __attribute__((noinline)) struct node *grow(int depth) {
    LOOK();
    struct node *node = &pool[used++];
    node->left = depth ? grow(depth - 1) : 0;
    node->right = depth ? grow(depth - 1) : 0;
    return node;
}
static __attribute__((noinline)) uint32_t count(const struct node *node) {
    LOOK();
    return node->left ? 1 + count(node->left) + count(node->right) : 1;
}
uint32_t run(void) {
    uint32_t total = 0;
    for (int round = 0; round < SIZE(24, 12); round++) {
        LOOK();
        used = 0;
        total += count(grow(SIZE(17, 8)));
    }
    return total;
}
