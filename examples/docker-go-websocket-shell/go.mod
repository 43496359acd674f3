module example.org/websocket-shell

go 1.19
