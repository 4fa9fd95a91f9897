/* Structures and unions by value, in registers, on the stack and by a hidden address. */
#include "torture.h"
#ifndef PROGRAM
struct t_one v_one(struct t_one a) { a.c ^= 0x55; return a; }
struct t_pair v_pair(struct t_pair a) { return (struct t_pair){a.b, -a.a}; }
struct t_point v_point(struct t_point a, double by) { return (struct t_point){a.y * by, a.x - by}; }
struct t_mixed v_mixed(struct t_mixed a, int by) { return (struct t_mixed){a.number * by, a.real / by}; }
struct t_mixed_other v_mixed_other(struct t_mixed_other a) { return (struct t_mixed_other){a.real + 1, a.number - 1}; }
struct t_floats v_floats(struct t_floats a) { return (struct t_floats){a.z, a.x, a.y}; }
struct t_two_floats v_two_floats(struct t_two_floats a) { return (struct t_two_floats){a.y, a.x}; }
struct t_float_int v_float_int(struct t_float_int a) { return (struct t_float_int){a.real * 2, a.number * 2}; }
struct t_large v_large(struct t_large a, int by) { for (int i = 0; i < 5; i++) a.values[i] *= by; return a; }
struct t_large v_large_from(int by) { struct t_large a; for (int i = 0; i < 5; i++) a.values[i] = i * by; return a; }
long v_large_in(struct t_large a, struct t_large b) { return a.values[4] - b.values[0]; }
struct t_wide v_wide(struct t_wide a) { a.value *= 3; return a; }
struct t_packed v_packed(struct t_packed a) { a.b++; return a; }
union t_either v_either(union t_either a) { a.bits ^= 1; return a; }
union t_either_long v_either_long(union t_either_long a) { a.real += 1; return a; }
struct t_bits v_bits(struct t_bits a) { return (struct t_bits){a.b & 7, a.a + a.b, a.c + 1}; }
struct t_text v_text(struct t_text a) { char c = a.text[0]; a.text[0] = a.text[2]; a.text[2] = c; return a; }
struct t_nested v_nested(struct t_nested a) { a.inner.b += a.tag; a.tag++; return a; }
struct t_empty v_empty(struct t_empty a, int b) { (void)b; return a; }
struct t_pointers v_pointers(struct t_pointers a) { *a.number += 5; a.text++; return a; }
struct t_function v_function(struct t_function a) { a.number = a.function(a.number); return a; }
struct t_pair v_pair_spilled(long a, long b, long c, long d, long e, struct t_pair f, long g)
{
    return (struct t_pair){a + b + c + d + e + g, f.a * f.b};
}
struct t_point v_point_spilled(double a, double b, double c, double d, double e, double f, double g, struct t_point h, double i)
{
    return (struct t_point){a + b + c + d + e + f + g + i, h.x - h.y};
}
struct t_mixed v_mixed_spilled(long a, long b, long c, long d, long e, long f, struct t_mixed g)
{
    return (struct t_mixed){(int)(a + b + c + d + e + f) + g.number, g.real};
}
struct t_aligned v_aligned(int a, struct t_aligned b) { b.values[0] += a; return b; }
double v_many(struct t_point a, struct t_pair b, struct t_mixed c, struct t_large d, struct t_floats e, struct t_one f)
{
    return a.x * b.a + a.y * b.b + c.number * c.real + d.values[2] + e.x * e.y * e.z + f.c;
}
struct t_huge v_huge(struct t_huge a) { for (int i = 0; i < 32; i++) a.values[i] ^= i; return a; }
#else
#include "rows.h"
static int doubled(int a) { return 2 * a; }
#define LARGE (struct t_large){{1, 2, 3, 4, 5}}
#define ROWS(X) \
    X(v_one, say("%d", v_one((struct t_one){65}).c)) \
    X(v_pair, struct t_pair r = v_pair((struct t_pair){1, 2}); say("%ld %ld", r.a, r.b)) \
    X(v_point, struct t_point r = v_point((struct t_point){1, 2}, 3); say("%g %g", r.x, r.y)) \
    X(v_mixed, struct t_mixed r = v_mixed((struct t_mixed){6, 7}, 2); say("%d %g", r.number, r.real)) \
    X(v_mixed_other, struct t_mixed_other r = v_mixed_other((struct t_mixed_other){6, 7}); say("%g %ld", r.real, r.number)) \
    X(v_floats, struct t_floats r = v_floats((struct t_floats){1, 2, 3}); say("%g %g %g", r.x, r.y, r.z)) \
    X(v_two_floats, struct t_two_floats r = v_two_floats((struct t_two_floats){1, 2}); say("%g %g", r.x, r.y)) \
    X(v_float_int, struct t_float_int r = v_float_int((struct t_float_int){1.5, 2}); say("%g %d", r.real, r.number)) \
    X(v_large, struct t_large r = v_large(LARGE, 3); say("%ld %ld", r.values[0], r.values[4])) \
    X(v_large_from, struct t_large r = v_large_from(7); say("%ld %ld", r.values[1], r.values[4])) \
    X(v_large_in, say("%ld", v_large_in(LARGE, LARGE))) \
    X(v_wide, say("%La", v_wide((struct t_wide){1.1L}).value)) \
    X(v_packed, struct t_packed r = v_packed((struct t_packed){'p', 1L << 40}); say("%c %ld", r.a, r.b)) \
    X(v_either, say("%u", v_either((union t_either){.real = 1}).bits)) \
    X(v_either_long, say("%g", v_either_long((union t_either_long){.real = 1}).real)) \
    X(v_bits, struct t_bits r = v_bits((struct t_bits){3, 12, -4}); say("%d %d %d", r.a, r.b, r.c)) \
    X(v_text, say("%.3s", v_text((struct t_text){"abc"}).text)) \
    X(v_nested, struct t_nested r = v_nested((struct t_nested){3, {4, 5}}); say("%d %ld %ld", r.tag, r.inner.a, r.inner.b)) \
    X(v_empty, v_empty((struct t_empty){}, 3); say("returned")) \
    X(v_pointers, int n = 1; struct t_pointers r = v_pointers((struct t_pointers){&n, "text"}); say("%d %s", n, r.text)) \
    X(v_function, say("%d", v_function((struct t_function){doubled, 21}).number)) \
    X(v_pair_spilled, struct t_pair r = v_pair_spilled(1, 2, 3, 4, 5, (struct t_pair){6, 7}, 8); say("%ld %ld", r.a, r.b)) \
    X(v_point_spilled, struct t_point r = v_point_spilled(1, 2, 3, 4, 5, 6, 7, (struct t_point){9, 2}, 8); say("%g %g", r.x, r.y)) \
    X(v_mixed_spilled, struct t_mixed r = v_mixed_spilled(1, 2, 3, 4, 5, 6, (struct t_mixed){9, 2.5}); say("%d %g", r.number, r.real)) \
    X(v_aligned, say("%ld", v_aligned(3, (struct t_aligned){{4, 5}}).values[0])) \
    X(v_many, say("%g", v_many((struct t_point){1, 2}, (struct t_pair){3, 4}, (struct t_mixed){5, 6}, LARGE, (struct t_floats){7, 8, 9}, (struct t_one){'a'}))) \
    X(v_huge, struct t_huge h; memset(&h, 1, sizeof h); h = v_huge(h); say("%x", sum_of(&h, sizeof h)))
SUBJECT(structures)
#endif
