// A library with thread-local storage, loaded while threads already run (see tls_dynamic.c).
__thread int module_number = 7;
__thread char module_space[9000];

int *module_number_address(void) { return &module_number; }

char *module_space_address(void) { return module_space; }
