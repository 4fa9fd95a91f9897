// Every thread writes to places all over the same pages, as a radix sort or the building of a graph does,
// in words of its own, so that each node wants all of the pages all of the time.
#include "check.h"

#define PAGES 64
#define PAGE_WORDS 1024
#define OWN_WORDS (PAGE_WORDS / 8)
#define WRITES 6000000

static uint32_t *words;

// The thread's next word: one of OWN_WORDS in any of the pages.
static uint32_t *choose(uint32_t *of, int self, uint64_t *state) {
    uint64_t number = next_number(state);
    return &of[number % PAGES * PAGE_WORDS + self * OWN_WORDS + (number >> 32) % OWN_WORDS];
}

static void *scatter(void *argument) {
    int self = (int)(intptr_t)argument;
    uint64_t state = self + 1;
    for (int count = 0; count < WRITES; count++) (*choose(words, self, &state))++;
    return NULL;
}

int main(void) {
    words = aligned_alloc(4096, PAGES * PAGE_WORDS * sizeof *words);
    CHECK(words != NULL, "no memory");
    memset(words, 0, PAGES * PAGE_WORDS * sizeof *words);
    run_threads(THREADS, scatter);
    uint32_t *expected = calloc(PAGES * PAGE_WORDS, sizeof *expected);
    for (int self = 0; self < THREADS; self++) {
        uint64_t state = self + 1;
        for (int count = 0; count < WRITES; count++) (*choose(expected, self, &state))++;
    }
    for (int word = 0; word < PAGES * PAGE_WORDS; word++)
        CHECK(words[word] == expected[word], "word %d is %u, not %u", word, words[word], expected[word]);
    return finish();
}
