// Sends datagrams to 169.254.1.1 port 53 as fast as it can, from one socket: half of them questions, half garbage. Runs so many
// seconds as it is told; says how many it sent. It goes nowhere but from a sandbox, where that address is.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **arguments) {
  if (access("/home", F_OK) == 0 || getuid() != 1000) {
    fputs("flood: this is no sandbox\n", stderr);
    return 99;
  }
  time_t end = time(NULL) + (count > 1 ? atoi(arguments[1]) : 1);
  unsigned char question[] = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05" "flood" "\x04" "test" "\x07" "example" "\x00\x00\x01\x00\x01";
  struct mmsghdr messages[64];
  struct iovec parts[64];
  memset(messages, 0, sizeof messages);
  for (int n = 0; n < 64; n++) {
    parts[n].iov_base = n % 2 ? (void *)question : (void *)arguments[0];
    parts[n].iov_len = n % 2 ? sizeof question - 1 : 1;
    messages[n].msg_hdr.msg_iov = &parts[n];
    messages[n].msg_hdr.msg_iovlen = 1;
  }
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
  inet_pton(AF_INET, "169.254.1.1", &to.sin_addr);
  if (connect(fd, (struct sockaddr *)&to, sizeof to) != 0) return 1;
  long sent = 0;
  while (time(NULL) < end) {
    int done = sendmmsg(fd, messages, 64, 0);
    if (done > 0) sent += done;
  }
  printf("%ld\n", sent);
  return 0;
}
