// Leaves its parent, its session and its process group, closes everything, ignores what can be ignored, and stays.
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(void) {
  if (fork() != 0) return 0;
  setsid();
  if (fork() != 0) _exit(0);
  for (int signal = 1; signal < 65; signal++) (void)sigaction(signal, &(struct sigaction){.sa_handler = SIG_IGN}, NULL);
  for (int fd = 0; fd < 64; fd++) close(fd);
  for (;;) {
    int file = open("/tmp/daemon", O_CREAT | O_WRONLY | O_APPEND, 0644);
    if (write(file, ".", 1) < 0) return 1;
    close(file);
    usleep(5000);
  }
}
