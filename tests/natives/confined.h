// Programs that do harm run nowhere but in a sandbox: users that are others outside, a filter of system
// calls, and no privilege to gain. That is true of no ordinary process, and of no container of other engines.
//
// Put before their source.
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>

static int is_confined(void) {
  char line[512];
  int filtered = 0, bound = 0;
  unsigned inside = 0, outside = 0, count = 0;
  FILE *file = fopen("/proc/self/status", "r");
  while (file != NULL && fgets(line, sizeof line, file) != NULL) {
    filtered |= strcmp(line, "Seccomp:\t2\n") == 0;
    bound |= strcmp(line, "NoNewPrivs:\t1\n") == 0;
  }
  if (file != NULL) fclose(file);
  file = fopen("/proc/self/uid_map", "r");
  if (file == NULL || fscanf(file, "%u %u %u", &inside, &outside, &count) != 3) return 0;
  fclose(file);
  return filtered && bound && count <= 65536 && (inside != outside || count < 65536) && outside >= 0x10000;
}
