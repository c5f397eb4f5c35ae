/* Writes a PNG file (RFC 2083) whose pixels are not compressed (RFC 1951, section 3.2.4). */
#ifndef ROOM_PNG_H
#define ROOM_PNG_H
#include <stdint.h>
#include <stdio.h>

enum { STORED = 65535 };

static uint32_t crc_table[256], crc, adler_a, adler_b;

static void put(FILE *out, const unsigned char *bytes, size_t len) {
    for (size_t i = 0; i < len; i++) crc = crc_table[(crc ^ bytes[i]) & 255] ^ crc >> 8;
    fwrite(bytes, 1, len, out);
}

static void put_u32(FILE *out, uint32_t n) {
    unsigned char bytes[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16), (unsigned char)(n >> 8), (unsigned char)n};
    put(out, bytes, 4);
}

static void begin_chunk(FILE *out, uint32_t len, const char *name) {
    put_u32(out, len);
    crc = 0xffffffffu;
    put(out, (const unsigned char *)name, 4);
}

static void end_chunk(FILE *out) { put_u32(out, crc ^ 0xffffffffu); }

/* Bytes of the picture, in blocks of so many. */
static void store(FILE *out, const unsigned char *bytes, size_t len, uint32_t *at, uint32_t all) {
    for (size_t i = 0; i < len; i++, ++*at) {
        if (*at % STORED == 0) {
            uint32_t block = all - *at < STORED ? all - *at : STORED;
            unsigned char head[5] = {block == all - *at, (unsigned char)block, (unsigned char)(block >> 8),
                                     (unsigned char)~block, (unsigned char)(~block >> 8)};
            put(out, head, 5);
        }
        put(out, bytes + i, 1);
        adler_a = (adler_a + bytes[i]) % 65521;
        adler_b = (adler_b + adler_a) % 65521;
    }
}

/* Whether it could be written. */
static int write_png(const char *path, const unsigned char *rgb, uint32_t width, uint32_t height) {
    FILE *out = fopen(path, "wb");
    if (!out) return 0;
    for (uint32_t n = 0; n < 256; n++) {
        crc_table[n] = n;
        for (int k = 0; k < 8; k++) crc_table[n] = (crc_table[n] & 1 ? 0xedb88320u : 0) ^ crc_table[n] >> 1;
    }
    put(out, (const unsigned char *)"\x89PNG\r\n\x1a\n", 8);
    begin_chunk(out, 13, "IHDR");
    put_u32(out, width);
    put_u32(out, height);
    put(out, (const unsigned char *)"\x08\x02\0\0", 5); /* 8 bits of red, green and blue */
    end_chunk(out);
    uint32_t all = height * (1 + 3 * width), blocks = (all + STORED - 1) / STORED, at = 0;
    begin_chunk(out, 2 + 5 * blocks + all + 4, "IDAT");
    put(out, (const unsigned char *)"\x78\x01", 2);
    adler_a = 1, adler_b = 0;
    for (uint32_t y = 0; y < height; y++) {
        store(out, (const unsigned char *)"", 1, &at, all); /* no filter */
        store(out, rgb + 3 * (size_t)width * y, 3 * (size_t)width, &at, all);
    }
    put_u32(out, adler_b << 16 | adler_a);
    end_chunk(out);
    begin_chunk(out, 0, "IEND");
    end_chunk(out);
    int wrong = ferror(out);
    return !fclose(out) && !wrong;
}
#endif
