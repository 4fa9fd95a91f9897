// Whether a touch of a mapping is one too far: beyond the last page of its file, where SIGBUS says so.
#pragma once
#include "check.h"
#include <setjmp.h>
#include <signal.h>

static _Thread_local sigjmp_buf back;
static _Thread_local volatile unsigned char *touched;

static void on_bus(int signal, siginfo_t *information, void *context) {
    (void)context;
    CHECK(signal == SIGBUS && information->si_code == BUS_ADRERR, "signal %d, code %d", signal, information->si_code);
    CHECK(information->si_addr == touched, "at %p, not %p", information->si_addr, (void *)touched);
    siglongjmp(back, 1);
}

// Needs the handler for SIGBUS.
static int ends(unsigned char *address, int writes) {
    touched = address;
    if (sigsetjmp(back, 1) != 0) return 1;
    if (writes) *touched = 1;
    else (void)*touched;
    return 0;
}
