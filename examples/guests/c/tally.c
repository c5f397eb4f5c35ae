/* Keeps a table of numbers, adds to a part of it round by round, and to another part after each thousand rounds; says now
 * and then how far it is, and leaves what the numbers amount to. Arguments: the table's size in MiB, that of the part in
 * KiB, and rounds. Nothing in here knows that it may be moved. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Numbers of a page of 4 KiB, of which so many are used. */
enum { PAGE = 512, USED = 4, SAID = 16 };

int main(int argc, char **argv) {
    int mib = argc > 1 ? atoi(argv[1]) : 16, kib = argc > 2 ? atoi(argv[2]) : 64, rounds = argc > 3 ? atoi(argv[3]) : 10000;
    if (mib < 1 || mib > 1024 || kib < 4 || kib > mib * 1024 || rounds < 1) {
        fputs("usage: tally MIB KIB ROUNDS\n", stderr);
        return 64;
    }
    size_t pages = (size_t)mib * 256, part = (size_t)kib / 4;
    uint64_t *table = calloc(pages * PAGE, sizeof *table), x = 1;
    if (!table) {
        fputs("there is not enough memory\n", stderr);
        return 1;
    }
    for (size_t page = 0; page < pages; page++) table[page * PAGE] = page + 1;
    printf("a table of %d MiB\n", mib);
    fflush(stdout);
    for (int round = 0, said = 0; round < rounds; round++) {
        size_t begin = (size_t)(round / 1000) * part % pages;
        for (size_t i = 0; i < part; i++) {
            x = (x ^ (x >> 29)) * 0xbf58476d1ce4e5b9u + i;
            table[(begin + i) % pages * PAGE + (size_t)(round % USED)] += x;
        }
        if ((int64_t)(round + 1) * SAID / rounds > said) {
            said++;
            printf("%d.%d %% %016llx\n", said * 100 / SAID, said * 1000 / SAID % 10, (unsigned long long)x);
            fflush(stdout);
        }
    }
    for (size_t page = 0; page < pages; page++)
        for (size_t i = 0; i < USED; i++) x = (x << 1 | x >> 63) ^ table[page * PAGE + i];
    FILE *out = fopen("tally.txt", "w");
    if (!out) {
        perror("tally.txt");
        return 1;
    }
    fprintf(out, "%016llx\n", (unsigned long long)x);
    if (fclose(out)) return 1;
    printf("it amounts to %016llx\n", (unsigned long long)x);
    return 0;
}
