/* A library with a defect, and one that never comes back. */
#ifndef FRAGILE_H
#define FRAGILE_H

/* The sum of the numbers in `text`; -1 for bad text. An empty text crashes it. */
int fragile_sum(const char *text);

/* Counts down from `from`; with a negative one it takes for ever. */
int fragile_wait(int from);

#endif
