// The smallest useful server: answers every request with its path, the time it started, and who it is. Listens on $PORT,
// or on 8080.
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    const char *port = getenv("PORT");
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(port ? port : "8080"))};
    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 128)) {
        perror("listen");
        return 1;
    }
    char folder[256];
    getcwd(folder, sizeof folder);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0) continue;
        char request[8192], path[1024] = "?", body[2048], head[256];
        size_t length = 0;
        ssize_t got;
        while (length < sizeof request - 1 && (got = read(client, request + length, sizeof request - 1 - length)) > 0) {
            length += (size_t)got;
            request[length] = 0;
            if (strstr(request, "\r\n\r\n")) break;
        }
        request[length] = 0;
        sscanf(request, "%*s %1023s", path);
        const char *greeting = getenv("GREETING");
        int size = snprintf(body, sizeof body, "path=%s uid=%d gid=%d cwd=%s greeting=%s\n", path, getuid(), getgid(),
                            folder, greeting ? greeting : "");
        int top = snprintf(head, sizeof head,
                           "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n", size);
        if (write(client, head, (size_t)top) < 0 || write(client, body, (size_t)size) < 0) perror("write");
        close(client);
    }
}
