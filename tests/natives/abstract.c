// Connects to an abstract unix socket; prints errno, 0 if it was there.
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

int main(int count, char **words) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen(words[count - 1]);
  memcpy(address.sun_path + 1, words[count - 1], length);
  int channel = socket(AF_UNIX, SOCK_STREAM, 0);
  socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + length;
  errno = 0;
  connect(channel, (struct sockaddr *)&address, size);
  printf("%d\n", errno);
  return 0;
}
