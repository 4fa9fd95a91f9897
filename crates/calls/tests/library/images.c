/* Decodes images, whole at first and then damaged by chance, and counts what came of it. */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
unsigned char *stbi_load_from_memory(const unsigned char *, int, int *, int *, int *, int);
void stbi_image_free(void *);
static uint64_t state = 88172645463325252u;
static unsigned below(unsigned limit)
{
    state ^= state << 13; state ^= state >> 7; state ^= state << 17;
    return (unsigned)(state >> 11) % limit;
}
static unsigned char tga[18 + 300] = {0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 0, 10, 0, 24, 0, 0x89, 1, 2, 3, 0x89, 3, 2, 1,
    0x89, 9, 2, 7, 0x89, 1, 2, 3, 0x89, 3, 2, 1, 0x89, 9, 2, 7, 0x89, 1, 2, 3, 0x89, 3, 2, 1, 0x89, 9, 2, 7, 0x89, 1, 2, 3};
static unsigned char gif[] = {'G', 'I', 'F', '8', '9', 'a', 10, 0, 10, 0, 0x91, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0, 255, 0, 0, 0,
    0x2c, 0, 0, 0, 0, 10, 0, 10, 0, 0, 2, 0x16, 0x8c, 0x2d, 0x99, 0x87, 0x2a, 0x1c, 0xdc, 0x33, 0xa0, 2, 0x75, 0xec, 0x95, 0xfa,
    0xa8, 0xde, 0x60, 0x8c, 4, 0x91, 0x4c, 1, 0, 0x3b};
static unsigned char bmp[54 + 192] = {'B', 'M', 246, 0, 0, 0, 0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0, 0, 1, 0, 24};
static unsigned char pic[] = {0x53, 0x80, 0xf6, 0x34, 0, 0, 0, 0};
static struct { unsigned char *bytes; int length; } seeds[] =
    {{tga, sizeof tga}, {gif, sizeof gif}, {bmp, sizeof bmp}, {pic, sizeof pic}};
int main(int count, char **texts)
{
    int runs = atoi(texts[1]), good = 0, bad = 0, crashed = 0, late = 0;
    for (int i = 0; i < 192; i++) bmp[54 + i] = (unsigned char)(i * 7);
    for (int i = 0; i < (runs ? runs : 4); i++) {
        int which = i % 4, length = seeds[which].length, x, y, n;
        unsigned char *copy = malloc(length);
        memcpy(copy, seeds[which].bytes, length);
        for (unsigned k = runs ? 1 + below(5) : 0; k; k--) {
            unsigned at = below(3) ? below(length < 40 ? length : 40) : below(length);
            copy[at] = below(2) ? below(256) : copy[at] ^ (1 << below(8));
        }
        if (runs && !below(4)) length = 1 + below(length);
        errno = 0;
        unsigned char *pixels = stbi_load_from_memory(copy, length, &x, &y, &n, 0);
        if (!pixels && errno == EIO) crashed++;
        else if (!pixels && errno == ETIMEDOUT) late++;
        else if (!pixels) bad++;
        else good++;
        if (pixels && !runs) {
            unsigned long h = 1;
            for (int p = 0; p < x * y * n; p++) h = h * 31 + pixels[p];
            printf("%d: %d x %d x %d %lx\n", which, x, y, n, h);
        }
        stbi_image_free(pixels);
        free(copy);
    }
    printf("%d images: %d decoded, %d refused, %d crashes and %d hangs absorbed\n", runs, good, bad, crashed, late);
    return 0;
}
