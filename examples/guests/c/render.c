/* Draws the Mandelbrot set into a picture (PPM), row by row, and says each row. Arguments: width, height, iterations.
 * Nothing in here knows that it may be moved. */
#include <stdio.h>
#include <stdlib.h>

static int escape(double cx, double cy, int most) {
    double x = 0, y = 0;
    int n = 0;
    while (n < most && x * x + y * y < 4) {
        double t = x * x - y * y + cx;
        y = 2 * x * y + cy;
        x = t;
        n++;
    }
    return n;
}

int main(int argc, char **argv) {
    int width = argc > 1 ? atoi(argv[1]) : 320, height = argc > 2 ? atoi(argv[2]) : 200;
    int most = argc > 3 ? atoi(argv[3]) : 500;
    if (width < 1 || height < 1 || width > 8192 || height > 8192 || most < 1) {
        fputs("usage: render WIDTH HEIGHT ITERATIONS\n", stderr);
        return 64;
    }
    unsigned char *row = malloc((size_t)width * 3);
    FILE *out = fopen("picture.ppm", "wb");
    if (!out || !row) {
        perror("picture.ppm");
        return 1;
    }
    fprintf(out, "P6\n%d %d\n255\n", width, height);
    unsigned long total = 0;
    for (int j = 0; j < height; j++) {
        for (int i = 0; i < width; i++) {
            int n = escape(-2.2 + 3.2 * i / width, -1.2 + 2.4 * j / height, most);
            total += (unsigned long)n;
            row[3 * i] = (unsigned char)(n == most ? 0 : n * 7);
            row[3 * i + 1] = (unsigned char)(n == most ? 0 : n * 3);
            row[3 * i + 2] = (unsigned char)(n == most ? 0 : 255 - n);
        }
        if (fwrite(row, 3, (size_t)width, out) != (size_t)width) return 1;
        if ((j + 1) % 20 == 0 || j + 1 == height) printf("row %d of %d\n", j + 1, height);
        fflush(stdout);
    }
    if (fclose(out)) return 1;
    printf("%lu iterations\n", total);
    return 0;
}
