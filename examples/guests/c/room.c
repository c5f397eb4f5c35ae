/* Paints a picture: a dark room, lit by another picture that hangs in it, with spheres of glass, metal and glaze on a
 * polished floor. Light is gathered pass by pass; a last pass takes out what is left of the noise.
 *
 *     room PICTURE.ppm [WIDTH [SAMPLES]]
 *
 * It leaves room.png, and says on its way how far it is ("12.5 %") and now and then what the picture looks like so far:
 * a line "picture WIDTH HEIGHT", then a line of hexadecimal digits (red, green, blue) for each of its rows. Nothing in
 * here knows that it may be moved. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "room/finish.h"
#include "room/frame.h"
#include "room/png.h"
#include "room/trace.h"

/* Work of one sample of one pixel, and of the last pass for one pixel, as they were measured beside each other. */
enum { SAMPLE_WORK = 160, FINISH_WORK = 290 };
/* Most samples of a pixel that one pass adds. */
enum { PASS_MOST = 8 };
/* Width of the small pictures, in pixels, and how many there are. */
enum { SHOWN_WIDTH = 48, SHOWN = 20 };

static unsigned char *rgb;
static uint64_t done, all;
static int shown;

/* What there is so far, small. In the last pass it is taken from what is finished. */
static void show(const uint32_t *samples) {
    int scale = (width + SHOWN_WIDTH - 1) / SHOWN_WIDTH, w = width / scale, h = height / scale;
    printf("picture %d %d\n", w, h);
    for (int y = 0; y < h; y++) {
        for (int x = 0; x < w; x++) {
            v3 light = v(0, 0, 0);
            unsigned bytes[3] = {0, 0, 0};
            for (int i = 0; i < scale * scale; i++) {
                int px = scale * x + i % scale, py = scale * y + i / scale;
                if (samples) {
                    light = add(light, mean(px, py, samples[py / TILE]));
                } else {
                    for (int c = 0; c < 3; c++) bytes[c] += rgb[3 * ((size_t)py * (size_t)width + (size_t)px) + (size_t)c];
                }
            }
            double part = 1.0 / (scale * scale);
            if (samples) {
                bytes[0] = tone((float)(light.x * part)), bytes[1] = tone((float)(light.y * part));
                bytes[2] = tone((float)(light.z * part));
            } else {
                for (int c = 0; c < 3; c++) bytes[c] /= (unsigned)(scale * scale);
            }
            printf("%02x%02x%02x", bytes[0], bytes[1], bytes[2]);
        }
        putchar('\n');
    }
}

static void say(const char *what, const uint32_t *samples) {
    unsigned permille = (unsigned)(done * 1000 / all);
    if (shown < (int)(permille * SHOWN / 1000)) {
        shown = (int)(permille * SHOWN / 1000);
        show(samples);
    }
    printf("%u.%u %% %s\n", permille / 10, permille % 10, what);
    fflush(stdout);
}

/* Few samples at first, for an early look at it, then more. */
static void gather(uint32_t samples) {
    uint32_t *had = calloc((size_t)tiles_down, sizeof *had);
    if (!had) exit(1);
    for (uint32_t gathered = 0; gathered < samples;) {
        uint32_t pass = gathered < 1 ? 1 : gathered < PASS_MOST ? gathered : PASS_MOST;
        if (pass > samples - gathered) pass = samples - gathered;
        for (int down = 0; down < tiles_down; down++) {
            int end_y = least((down + 1) * TILE, height);
            for (int across = 0; across < tiles_across; across++)
                for (int y = down * TILE; y < end_y; y++)
                    for (int x = across * TILE; x < (across + 1) * TILE && x < width; x++)
                        for (uint32_t sample = gathered; sample < gathered + pass; sample++)
                            add_sample(x, y, sample, look(x, y, width, height, sample));
            had[down] = gathered + pass;
            done += (uint64_t)width * (uint64_t)(end_y - down * TILE) * pass * SAMPLE_WORK;
            char what[64];
            snprintf(what, sizeof what, "light of %u of %u samples", (unsigned)(gathered + pass), (unsigned)samples);
            say(what, had);
        }
        gathered += pass;
    }
    free(had);
}

static void finish(uint32_t samples) {
    if (!make_glow(samples)) exit(1);
    for (int down = 0; down < tiles_down; down++) {
        for (int across = 0; across < tiles_across; across++) finish_tile(down * tiles_across + across, samples, rgb);
        done += (uint64_t)width * (uint64_t)(least((down + 1) * TILE, height) - down * TILE) * FINISH_WORK;
        say("noise taken out", 0);
    }
}

int main(int argc, char **argv) {
    int w = argc > 2 ? atoi(argv[2]) : 960, samples = argc > 3 ? atoi(argv[3]) : 24;
    if (argc < 2 || w < 16 || w > 3840 || samples < 1 || samples > 1024) {
        fputs("usage: room PICTURE.ppm [WIDTH (16-3840) [SAMPLES (1-1024)]]\n", stderr);
        return 64;
    }
    const char *wrong = light_read(argv[1]);
    if (wrong) {
        fprintf(stderr, "%s %s\n", argv[1], wrong);
        return 65;
    }
    int h = w / 16 * 9 + w % 16 * 9 / 16;
    rgb = calloc((size_t)w * (size_t)h, 3);
    if (!rgb || !make_frame(w, h)) {
        fputs("there is not enough memory\n", stderr);
        return 1;
    }
    make_scene();
    all = (uint64_t)w * (uint64_t)h * ((uint64_t)samples * SAMPLE_WORK + FINISH_WORK);
    gather((uint32_t)samples);
    finish((uint32_t)samples);
    if (!write_png("room.png", rgb, (uint32_t)w, (uint32_t)h)) {
        perror("room.png");
        return 1;
    }
    printf("room.png: %d x %d\n", w, h);
    return 0;
}
