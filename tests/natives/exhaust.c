// Takes as much of one thing as it is given, for some seconds at most, and says "THING count errno".
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char page[65536];
static pid_t children[65536];
static long born;

static void *sleeper(void *unused) {
  for (;;) pause();
  return unused;
}

static int step(const char *thing, long count) {
  char name[300];
  if (!strcmp(thing, "descriptors")) return dup(0) < 0;
  if (!strcmp(thing, "processes")) {
    pid_t child = fork();
    if (child == 0) for (;;) pause();
    if (child > 0) children[born++ % 65536] = child;
    return child < 0;
  }
  if (!strcmp(thing, "threads")) {
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 65536);
    int error = pthread_create(&thread, &small, sleeper, NULL);
    errno = error;
    return error != 0;
  }
  if (!strcmp(thing, "pipes")) {
    int ends[2];
    if (pipe2(ends, O_NONBLOCK) != 0) return 1;
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    while (write(ends[1], page, sizeof page) > 0) {
    }
    return 0;
  }
  if (!strcmp(thing, "sockets")) {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0) return 1;
    for (int end = 0; end < 2; end++) while (write(ends[end], page, sizeof page) > 0) {
      }
    return 0;
  }
  if (!strcmp(thing, "inotify")) {
    int fd = inotify_init1(0);
    if (fd < 0) return 1;
    return 0;
  }
  if (!strcmp(thing, "epoll")) return epoll_create1(0) < 0;
  if (!strcmp(thing, "timers")) {
    timer_t timer;
    struct sigevent none = {.sigev_notify = SIGEV_NONE};
    return timer_create(CLOCK_MONOTONIC, &none, &timer) != 0;
  }
  if (!strcmp(thing, "queues")) {
    snprintf(name, sizeof name, "/q%ld", count);
    return mq_open(name, O_CREAT | O_RDWR, 0600, NULL) == (mqd_t)-1;
  }
  if (!strcmp(thing, "segments")) return shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600) < 0;
  if (!strcmp(thing, "semaphores")) return semget(IPC_PRIVATE, 250, IPC_CREAT | 0600) < 0;
  if (!strcmp(thing, "messages")) {
    static int queue = -1;
    struct { long kind; char text[8192]; } message = {1, {0}};
    for (int again = 0; again < 2; again++) {
      if (queue >= 0 && msgsnd(queue, &message, sizeof message.text, IPC_NOWAIT) == 0) return 0;
      queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600);
    }
    return 1;
  }
  if (!strcmp(thing, "files")) {
    snprintf(name, sizeof name, "/tmp/f%ld", count);
    int fd = open(name, O_CREAT | O_WRONLY, 0600);
    if (fd < 0) return 1;
    close(fd);
    return 0;
  }
  if (!strcmp(thing, "folders")) return mkdir("d", 0700) != 0 || chdir("d") != 0;
  if (!strcmp(thing, "locks")) {
    static int fd = -1;
    if (fd < 0) fd = open("/tmp/lock", O_CREAT | O_RDWR, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_start = 2 * count, .l_len = 1};
    return fcntl(fd, F_SETLK, &lock) != 0;
  }
  if (!strcmp(thing, "mappings")) {
    return mmap(NULL, 4096, count % 2 ? PROT_READ : PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
  }
  if (!strcmp(thing, "memfds")) {
    int fd = (int)syscall(SYS_memfd_create, "x", 0);
    return fd < 0 || write(fd, page, sizeof page) < 0;
  }
  fprintf(stderr, "exhaust: what is %s?\n", thing);
  exit(98);
}

int main(int count, char **arguments) {
  if (!is_confined()) {
    fputs("exhaust: this is no sandbox\n", stderr);
    return 99;
  }
  if (count < 2) return 98;
  const char *thing = arguments[1];
  long most = 2000000, taken = 0;
  memset(page, 1, sizeof page);
  if (!strcmp(thing, "folders") && chdir("/tmp") != 0) return 1;
  time_t end = time(NULL) + 5;
  errno = 0;
  while (taken < most && time(NULL) < end && !step(thing, taken)) taken++;
  printf("%s %ld %d\n", thing, taken, errno);
  fflush(stdout);
  // Whoever waits for what we say must not wait for them.
  for (long child = 0; child < born && child < 65536; child++) kill(children[child], SIGKILL);
  return 0;
}
