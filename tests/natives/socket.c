// A server of upgrades: a request with Upgrade becomes a connection on which letters come back as capitals, any other
// request is answered with 200. A process for each connection. Listens on $PORT, or on 8080.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

static int all(int to, const char *bytes, ssize_t left) {
    while (left > 0) {
        ssize_t written = write(to, bytes, (size_t)left);
        if (written <= 0) return 0;
        bytes += written;
        left -= written;
    }
    return 1;
}

static void serve(int client) {
    char request[8192];
    size_t length = 0;
    ssize_t got;
    do {
        got = read(client, request + length, sizeof request - 1 - length);
        if (got <= 0) return;
        length += (size_t)got;
        request[length] = 0;
    } while (!strstr(request, "\r\n\r\n"));
    if (!strcasestr(request, "\r\nupgrade:")) {
        const char *plain = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nplain";
        all(client, plain, (ssize_t)strlen(plain));
        return;
    }
    const char *key = strcasestr(request, "\r\nsec-websocket-key:") ? "yes" : "no";
    char head[256];
    int size = snprintf(head, sizeof head,
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
                        "sec-websocket-accept: x\r\nx-key: %s\r\n\r\n", key);
    if (!all(client, head, size)) return;
    char bytes[16384];
    while ((got = read(client, bytes, sizeof bytes)) > 0) {
        for (ssize_t n = 0; n < got; n++) bytes[n] = (char)toupper((unsigned char)bytes[n]);
        if (!all(client, bytes, got)) return;
    }
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    const char *port = getenv("PORT");
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port ? port : "8080"))};
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 128)) {
        perror("listen");
        return 1;
    }
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        if (fork() == 0) {
            close(listener);
            serve(client);
            _exit(0);
        }
        close(client);
    }
}
