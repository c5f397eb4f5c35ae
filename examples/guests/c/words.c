/* Counts how often each word occurs, in files named as arguments or in standard input. The counts go to a file, the most
 * frequent words to standard output. Nothing in here knows that it may be moved. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
    char *text;
    unsigned long count;
    struct word *next;
};

static struct word *table[4096];
static size_t distinct;

static unsigned hash(const char *text) {
    unsigned h = 2166136261u;
    while (*text) h = (h ^ (unsigned char)*text++) * 16777619u;
    return h % (sizeof table / sizeof *table);
}

static void count(const char *text) {
    struct word **at = &table[hash(text)];
    while (*at && strcmp((*at)->text, text)) at = &(*at)->next;
    if (!*at) {
        *at = calloc(1, sizeof **at);
        if (!*at || !((*at)->text = strdup(text))) {
            fputs("out of memory\n", stderr);
            exit(3);
        }
        distinct++;
    }
    (*at)->count++;
}

static void read_all(FILE *from) {
    char text[64];
    size_t len = 0;
    for (int c; (c = getc(from)) != EOF;) {
        if (isalpha(c)) {
            if (len + 1 < sizeof text) text[len++] = (char)tolower(c);
        } else if (len) {
            text[len] = 0;
            count(text);
            len = 0;
        }
    }
    if (len) {
        text[len] = 0;
        count(text);
    }
}

static int by_count(const void *a, const void *b) {
    const struct word *x = *(struct word *const *)a, *y = *(struct word *const *)b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return strcmp(x->text, y->text);
}

int main(int argc, char **argv) {
    if (argc < 2) read_all(stdin);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "r");
        if (!file) {
            fprintf(stderr, "%s: %s\n", argv[i], strerror(errno));
            return 2;
        }
        read_all(file);
        fclose(file);
    }
    struct word **all = malloc((distinct + 1) * sizeof *all);
    size_t n = 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        for (struct word *w = table[i]; w; w = w->next) all[n++] = w;
    qsort(all, n, sizeof *all, by_count);
    const char *name = getenv("COUNTS");
    FILE *out = fopen(name ? name : "counts.txt", "w");
    if (!out) {
        perror("counts");
        return 2;
    }
    for (size_t i = 0; i < n; i++) fprintf(out, "%lu %s\n", all[i]->count, all[i]->text);
    if (fclose(out)) return 2;
    for (size_t i = 0; i < n && i < 5; i++) printf("%-12s %lu\n", all[i]->text, all[i]->count);
    printf("%zu words\n", n);
    return 0;
}
