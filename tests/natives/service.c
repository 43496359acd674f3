// A small HTTP/1.1 server with a thread for each connection: what the tests of services run FROM scratch.
//
// Environment: DELAY (milliseconds before it listens); PORT; BIND (127.0.0.1, 0.0.0.0, ::1, ::); FIRST (another port to listen on before); MODE (deaf: never
// listen; exit: end with code 3 at once; stubborn: ignore TERM).
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;
static atomic_int count, active, most;
static atomic_int gate;

static void put(int fd, const char *bytes, size_t length) {
  while (length > 0) {
    ssize_t written = send(fd, bytes, length, MSG_NOSIGNAL);
    if (written <= 0) return;
    bytes += written;
    length -= (size_t)written;
  }
}

static void say(int fd, const char *text) {
  char head[128];
  snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n\r\n", strlen(text));
  put(fd, head, strlen(head));
  put(fd, text, strlen(text));
}

static const char *header(const char *head, const char *name) {
  const char *found = strcasestr(head, name);
  return found ? found + strlen(name) : NULL;
}

// What this process sees of itself and of others.
static void who(int fd) {
  char host[256], folder[256], text[4096];
  gethostname(host, sizeof host);
  if (!getcwd(folder, sizeof folder)) strcpy(folder, "?");
  char status[8192] = {0}, caps[64] = "?", nnp[16] = "?", seccomp[16] = "?", groups[128] = "?";
  int file = open("/proc/self/status", O_RDONLY);
  if (file >= 0 && read(file, status, sizeof status - 1) > 0) {
    char *line;
    if ((line = strstr(status, "CapEff:"))) sscanf(line, "CapEff: %63s", caps);
    if ((line = strstr(status, "NoNewPrivs:"))) sscanf(line, "NoNewPrivs: %15s", nnp);
    if ((line = strstr(status, "Seccomp:"))) sscanf(line, "Seccomp: %15s", seccomp);
    if ((line = strstr(status, "Groups:"))) snprintf(groups, sizeof groups, "%.*s", (int)strcspn(line + 8, "\n"), line + 8);
  }
  if (file >= 0) close(file);
  snprintf(text, sizeof text,
           "{\"uid\":%d,\"gid\":%d,\"pid\":%d,\"host\":\"%s\",\"cwd\":\"%s\",\"caps\":\"%s\",\"nnp\":\"%s\","
           "\"seccomp\":\"%s\",\"groups\":\"%s\",\"port\":\"%s\",\"home\":\"%s\",\"greeting\":\"%s\",\"url\":\"%s\"}",
           getuid(), getgid(), getpid(), host, folder, caps, nnp, seccomp, groups, getenv("PORT") ? getenv("PORT") : "",
           getenv("HOME") ? getenv("HOME") : "", getenv("GREETING") ? getenv("GREETING") : "",
           getenv("DOCKLESS_URL") ? getenv("DOCKLESS_URL") : "");
  say(fd, text);
}

static void answer(int fd, char *head, char *body, size_t have) {
  char method[16], path[1024], text[1100];
  if (sscanf(head, "%15s %1023s", method, path) != 2) return;
  const char *length = header(head, "content-length:");
  size_t wanted = length ? strtoul(length, NULL, 10) : 0;
  int now = atomic_fetch_add(&active, 1) + 1, seen = atomic_load(&most);
  while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now)) {
  }
  if (!strncmp(path, "/who", 4)) {
    who(fd);
  } else if (!strncmp(path, "/count", 6)) {
    snprintf(text, sizeof text, "%d", atomic_fetch_add(&count, 1) + 1);
    say(fd, text);
  } else if (!strncmp(path, "/most", 5)) {
    snprintf(text, sizeof text, "%d", atomic_load(&most));
    say(fd, text);
  } else if (!strncmp(path, "/nap", 4)) {
    // So many milliseconds.
    usleep((unsigned)atoi(path + 5) * 1000);
    say(fd, "awake");
  } else if (!strncmp(path, "/free", 5)) {
    atomic_fetch_add(&gate, 1);
    say(fd, "free");
  } else if (!strncmp(path, "/keep", 5)) {
    // State in the file system: a byte more each time.
    mkdir("/state", 0755);
    int file = open("/state/bytes", O_CREAT | O_WRONLY | O_APPEND, 0644);
    struct stat found = {0};
    if (file < 0 || write(file, ".", 1) != 1 || fstat(file, &found)) perror("keep");
    if (file >= 0) close(file);
    snprintf(text, sizeof text, "%ld", (long)found.st_size);
    say(fd, text);
  } else if (!strncmp(path, "/read", 5)) {
    // The file named behind it.
    static __thread char content[65536];
    int file = open(path + 5, O_RDONLY | O_NONBLOCK);
    ssize_t got = file < 0 ? -1 : read(file, content, sizeof content - 1);
    if (file >= 0) close(file);
    if (got < 0) strcpy(content, "(cannot)");
    else content[got] = 0;
    say(fd, content);
  } else if (!strncmp(path, "/dial/", 6)) {
    // The page that ADDRESS/PORT has, or why not.
    static __thread char page[4096];
    char host[64] = {0};
    int port = 0, there = socket(AF_INET, SOCK_STREAM, 0);
    sscanf(path + 6, "%63[^/]/%d", host, &port);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    inet_pton(AF_INET, host, &address.sin_addr);
    size_t length = 0;
    if (connect(there, (struct sockaddr *)&address, sizeof address) != 0) {
      snprintf(page, sizeof page, "failed: %s", strerror(errno));
    } else {
      put(there, "GET /of-a-service HTTP/1.0\r\n\r\n", 31);
      ssize_t got;
      while (length < sizeof page - 1 && (got = read(there, page + length, sizeof page - 1 - length)) > 0) length += (size_t)got;
      page[length] = 0;
    }
    close(there);
    say(fd, page);
  } else if (!strncmp(path, "/spawn/", 7)) {
    // What the program PROGRAM/ARGUMENT says.
    static __thread char said[32768];
    char program[64] = "/", argument[64] = {0};
    sscanf(path + 7, "%62[^/]/%63s", program + 1, argument);
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return say(fd, "no pipe");
    pid_t child = fork();
    if (child == 0) {
      dup2(ends[1], 1);
      dup2(ends[1], 2);
      execl(program, program, argument[0] ? argument : NULL, NULL);
      _exit(127);
    }
    close(ends[1]);
    size_t length = 0;
    ssize_t got;
    while (length < sizeof said - 1 && (got = read(ends[0], said + length, sizeof said - 1 - length)) > 0) length += (size_t)got;
    said[length] = 0;
    close(ends[0]);
    waitpid(child, NULL, 0);
    say(fd, said);
  } else if (!strncmp(path, "/orphan", 7)) {
    // A grandchild that nobody but the first process can reap.
    pid_t child = fork();
    if (child == 0) {
      if (fork() == 0) _exit(0);
      _exit(0);
    }
    waitpid(child, NULL, 0);
    usleep(20000);
    int zombies = 0;
    for (int pid = 2; pid < 200; pid++) {
      char name[64], line[512] = {0};
      snprintf(name, sizeof name, "/proc/%d/stat", pid);
      int file = open(name, O_RDONLY);
      if (file < 0) continue;
      if (read(file, line, sizeof line - 1) > 0 && strstr(line, ") Z ")) zombies++;
      close(file);
    }
    snprintf(text, sizeof text, "%d", zombies);
    say(fd, text);
  } else if (!strncmp(path, "/exit", 5)) {
    printf("leaving on request\n");
    fflush(stdout);
    exit(atoi(path + 6));
  } else if (!strncmp(path, "/eat", 4)) {
    for (;;) {
      char *memory = malloc(1 << 20);
      if (memory) memset(memory, 1, 1 << 20);
    }
  } else if (!strncmp(path, "/grow", 5)) {
    // Holds so many MiB, and nothing of what it held before.
    static char *held;
    static size_t bytes;
    if (held) munmap(held, bytes);
    held = NULL;
    bytes = (size_t)atoi(path + 6) << 20;
    if (bytes) {
      held = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      memset(held, 1, bytes);
    }
    say(fd, "grown");
  } else if (!strncmp(path, "/echo", 5)) {
    char out[160];
    snprintf(out, sizeof out, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\n\r\n", wanted);
    put(fd, out, strlen(out));
    put(fd, body, have < wanted ? have : wanted);
    static __thread char more[65536];
    for (size_t left = wanted > have ? wanted - have : 0; left > 0;) {
      ssize_t got = recv(fd, more, left < sizeof more ? left : sizeof more, 0);
      if (got <= 0) break;
      put(fd, more, (size_t)got);
      left -= (size_t)got;
    }
  } else if (!strncmp(path, "/swallow", 8)) {
    // How many bytes came.
    static __thread char more[65536];
    size_t total = have < wanted ? have : wanted;
    while (total < wanted) {
      ssize_t got = recv(fd, more, wanted - total < sizeof more ? wanted - total : sizeof more, 0);
      if (got <= 0) break;
      total += (size_t)got;
    }
    snprintf(text, sizeof text, "%zu", total);
    say(fd, text);
  } else if (!strncmp(path, "/stream", 7)) {
    // Three pieces, the next one when /free was asked.
    const char *start = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    put(fd, start, strlen(start));
    for (int piece = 0; piece < 3; piece++) {
      int before = atomic_load(&gate);
      put(fd, "5\r\npiece\r\n", 10);
      while (piece < 2 && atomic_load(&gate) == before) usleep(1000);
    }
    put(fd, "0\r\n\r\n", 5);
  } else if (!strncmp(path, "/socket", 7)) {
    // Another protocol from here on, whichever is asked for: what comes goes back, in capitals.
    char wanted_protocol[64] = "shout", switched[256];
    const char *asked = header(head, "upgrade: ");
    while (asked && strcasestr(asked, "upgrade: ")) asked = header(asked, "upgrade: ");
    if (asked) sscanf(asked, "%63[^\r]", wanted_protocol);
    snprintf(switched, sizeof switched, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: %s\r\n\r\n",
             wanted_protocol);
    put(fd, switched, strlen(switched));
    static __thread char bytes[4096];
    ssize_t got;
    while ((got = recv(fd, bytes, sizeof bytes, 0)) > 0) {
      for (ssize_t at = 0; at < got; at++)
        if (bytes[at] >= 'a' && bytes[at] <= 'z') bytes[at] -= 32;
      put(fd, bytes, (size_t)got);
    }
    shutdown(fd, SHUT_RDWR);
  } else {
    snprintf(text, sizeof text, "%s %s", method, path);
    say(fd, text);
  }
  atomic_fetch_sub(&active, 1);
}

static void *serve(void *argument) {
  int fd = (int)(long)argument;
  char *buffer = malloc(70000);
  size_t have = 0;
  for (;;) {
    char *end;
    buffer[have] = 0;
    while (!(end = strstr(buffer, "\r\n\r\n"))) {
      ssize_t got = have < 65536 ? recv(fd, buffer + have, 65536 - have, 0) : -1;
      if (got <= 0) goto done;
      have += (size_t)got;
      buffer[have] = 0;
    }
    *end = 0;
    char *body = end + 4;
    size_t rest = have - (size_t)(body - buffer);
    const char *length = header(buffer, "content-length:");
    size_t wanted = length ? strtoul(length, NULL, 10) : 0;
    int switches = strcasestr(buffer, "upgrade:") != NULL;
    answer(fd, buffer, body, rest);
    if (switches) break;
    size_t used = rest < wanted ? rest : wanted;
    memmove(buffer, body + used, rest - used);
    have = rest - used;
  }
done:
  close(fd);
  free(buffer);
  return NULL;
}

static int open_port(const char *address, int port) {
  int v6 = strchr(address, ':') != NULL, yes = 1;
  int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(v6 ? AF_INET6 : AF_INET, address, v6 ? (void *)&six.sin6_addr : (void *)&four.sin_addr);
  if (bind(fd, v6 ? (void *)&six : (void *)&four, v6 ? sizeof six : sizeof four)) perror("bind"), exit(1);
  if (listen(fd, 128)) perror("listen"), exit(1);
  return fd;
}

static void leave(int signal) {
  const char *text = "asked to end\n";
  if (write(1, text, strlen(text)) < 0) _exit(1);
  _exit(signal == SIGTERM ? 0 : 128 + signal);
}

int main(void) {
  const char *mode = getenv("MODE") ? getenv("MODE") : "", *address = getenv("BIND") ? getenv("BIND") : "0.0.0.0";
  if (!strcmp(mode, "exit")) {
    fprintf(stderr, "no configuration, no service\n");
    return 3;
  }
  if (!strcmp(mode, "deaf")) {
    printf("warming up, for ever\n");
    fflush(stdout);
    for (;;) pause();
  }
  if (getenv("DELAY")) usleep((unsigned)atoi(getenv("DELAY")) * 1000);
  struct sigaction action = {.sa_handler = !strcmp(mode, "stubborn") ? SIG_IGN : leave};
  sigaction(SIGTERM, &action, NULL);
  sigaction(SIGUSR1, &action, NULL);
  if (getenv("FIRST")) open_port(address, atoi(getenv("FIRST")));
  int port = getenv("PORT") ? atoi(getenv("PORT")) : 8080;
  int listener = open_port(address, port);
  printf("listening on %s port %d\n", address, port);
  fflush(stdout);
  for (;;) {
    int fd = accept(listener, NULL, NULL);
    if (fd < 0) continue;
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, serve, (void *)(long)fd)) close(fd);
  }
}
