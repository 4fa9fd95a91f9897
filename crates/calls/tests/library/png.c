/* Writes an image and reads it back by libpng's classic interface, then reads it damaged. */
#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static unsigned long sum(const unsigned char *p, size_t n, unsigned long h)
{
    while (n--) h = (h ^ *p++) * 1099511628211ul;
    return h;
}
static int reads;
static void read_from(png_structp png, png_bytep to, png_size_t n)
{
    reads++;
    if (fread(to, 1, n, png_get_io_ptr(png)) != n) png_error(png, "too short");
}
static int load(FILE *file)
{
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, 0, 0, 0);
    png_infop info = png_create_info_struct(png);
    if (setjmp(png_jmpbuf(png))) {
        png_destroy_read_struct(&png, &info, 0);
        return puts("an error, handled");
    }
    png_set_read_fn(png, file, read_from);
    png_read_info(png, info);
    unsigned width = png_get_image_width(png, info), height = png_get_image_height(png, info);
    unsigned char *row = malloc(png_get_rowbytes(png, info));
    unsigned long h = 1;
    for (unsigned y = 0; y < height; y++) {
        png_read_row(png, row, 0);
        h = sum(row, png_get_rowbytes(png, info), h);
    }
    free(row);
    png_read_end(png, 0);
    png_destroy_read_struct(&png, &info, 0);
    return printf("%u x %u: %lx\n", width, height, h);
}
int main(int count, char **texts)
{
    unsigned width = atoi(texts[1]), height = atoi(texts[2]);
    FILE *file = tmpfile();
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, 0, 0, 0);
    png_infop info = png_create_info_struct(png);
    if (setjmp(png_jmpbuf(png))) return 3;
    png_init_io(png, file);
    png_set_IHDR(png, info, width, height, 8, PNG_COLOR_TYPE_RGBA, 0, 0, 0);
    png_set_compression_level(png, 1);
    png_write_info(png, info);
    unsigned char *image = malloc(4ul * width * height);
    for (size_t i = 0; i < 4ul * width * height; i++) image[i] = (unsigned char)((i * i >> 9) ^ i);
    for (unsigned y = 0; y < height; y++) png_write_row(png, image + 4ul * width * y);
    png_write_end(png, 0);
    png_destroy_write_struct(&png, &info);
    long size = ftell(file);
    unsigned char *all = malloc(size);
    rewind(file);
    if (fread(all, 1, size, file) != (size_t)size) return 4;
    printf("%ld bytes: %lx\n", size, sum(all, size, 1));
    rewind(file);
    load(file);
    printf("%d reads\n", reads);
    fseek(file, size / 2, SEEK_SET);
    fputs("damage", file);
    rewind(file);
    load(file);
    free(image);
    free(all);
    return 0;
}
