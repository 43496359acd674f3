package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"unsafe"
)

// What a text message may ask: another size of the terminal.
type resize struct {
	Columns uint16 `json:"columns"`
	Rows    uint16 `json:"rows"`
}

// serve runs a shell on a terminal until one of both sides ends: binary messages are what is typed and what is shown.
func serve(socket *websocket) error {
	defer socket.Close()
	control, terminal, err := openTerminal()
	if err != nil {
		return err
	}
	defer control.Close()
	shell := exec.Command("/bin/sh", "-i")
	shell.Env = append(os.Environ(), "TERM=xterm")
	shell.Stdin, shell.Stdout, shell.Stderr = terminal, terminal, terminal
	shell.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	err = shell.Start()
	terminal.Close()
	if err != nil {
		return err
	}
	go func() {
		shown := make([]byte, 4096)
		for {
			n, err := control.Read(shown)
			if n > 0 && socket.Write(binary, shown[:n]) != nil {
				break
			}
			if err != nil {
				socket.Write(closing, []byte{0x03, 0xe8})
				break
			}
		}
		socket.Close()
	}()
	for {
		kind, message, err := socket.Read()
		if err != nil || kind == closing {
			break
		}
		if kind == text {
			var size resize
			if json.Unmarshal(message, &size) == nil {
				ioctl(control, syscall.TIOCSWINSZ, unsafe.Pointer(&[4]uint16{size.Rows, size.Columns}))
			}
			continue
		}
		if _, err := control.Write(message); err != nil {
			break
		}
	}
	syscall.Kill(-shell.Process.Pid, syscall.SIGHUP)
	control.Close()
	return shell.Wait()
}

// openTerminal makes a pair of pseudo-terminals, pts(4): ours, and the program's.
func openTerminal() (control, terminal *os.File, err error) {
	control, err = os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	var unlocked int32
	var number uint32
	if err = ioctl(control, syscall.TIOCSPTLCK, unsafe.Pointer(&unlocked)); err == nil {
		err = ioctl(control, syscall.TIOCGPTN, unsafe.Pointer(&number))
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	}
	if err != nil {
		control.Close()
		return nil, nil, err
	}
	return control, terminal, nil
}

func ioctl(file *os.File, request uintptr, argument unsafe.Pointer) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = syscall.Syscall(syscall.SYS_IOCTL, fd, request, uintptr(argument))
	})
	if err == nil && failed != 0 {
		err = failed
	}
	return err
}
