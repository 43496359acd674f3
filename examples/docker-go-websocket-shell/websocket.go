package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
)

// Kinds of messages and of control frames, RFC 6455 §5.2.
const (
	more    = 0x0
	text    = 0x1
	binary  = 0x2
	closing = 0x8
	ping    = 0x9
	pong    = 0xa
)

// Longest message of a client.
const longest = 64 * 1024

// The server's side of one WebSocket, without extensions.
type websocket struct {
	net.Conn
	reader  *bufio.Reader
	writing sync.Mutex
}

// accept answers the handshake of RFC 6455 §4.2.
func accept(w http.ResponseWriter, r *http.Request) (*websocket, error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	if !strings.EqualFold(r.Header.Get("Upgrade"), "websocket") || key == "" {
		return nil, errors.New("this is a WebSocket: open it from a page or with a WebSocket client")
	}
	if r.Header.Get("Sec-WebSocket-Version") != "13" {
		return nil, errors.New("only version 13 is spoken")
	}
	hijacker, ok := w.(http.Hijacker)
	if !ok {
		return nil, errors.New("HTTP/1.1 only")
	}
	connection, buffered, err := hijacker.Hijack()
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	answer := "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: " + base64.StdEncoding.EncodeToString(sum[:]) + "\r\n\r\n"
	if _, err := connection.Write([]byte(answer)); err != nil {
		connection.Close()
		return nil, err
	}
	return &websocket{Conn: connection, reader: buffered.Reader}, nil
}

// Read returns the next message, answering pings on the way.
func (s *websocket) Read() (kind byte, message []byte, err error) {
	for {
		final, opcode, payload, err := s.frame(longest - len(message))
		if err != nil {
			return 0, nil, err
		}
		switch opcode {
		case ping:
			if err := s.Write(pong, payload); err != nil {
				return 0, nil, err
			}
			continue
		case pong:
			continue
		case closing:
			return closing, payload, nil
		case more:
		default:
			kind = opcode
		}
		message = append(message, payload...)
		if final {
			return kind, message, nil
		}
	}
}

func (s *websocket) frame(room int) (final bool, opcode byte, payload []byte, err error) {
	var head [14]byte
	if _, err = io.ReadFull(s.reader, head[:2]); err != nil {
		return
	}
	final, opcode = head[0]&0x80 != 0, head[0]&0x0f
	length := int(head[1] & 0x7f)
	if head[1]&0x80 == 0 {
		return false, 0, nil, errors.New("a client's frame is not masked")
	}
	extra := 0
	switch length {
	case 126:
		extra = 2
	case 127:
		return false, 0, nil, errors.New("a frame is too long")
	}
	if _, err = io.ReadFull(s.reader, head[2:2+extra+4]); err != nil {
		return
	}
	if extra == 2 {
		length = int(head[2])<<8 | int(head[3])
	}
	if length > room {
		return false, 0, nil, errors.New("a message is too long")
	}
	mask := head[2+extra : 2+extra+4]
	payload = make([]byte, length)
	if _, err = io.ReadFull(s.reader, payload); err != nil {
		return
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	return
}

// Write sends one message, at most 65,535 bytes.
func (s *websocket) Write(kind byte, message []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	head := []byte{0x80 | kind, byte(len(message))}
	if len(message) > 125 {
		head = []byte{0x80 | kind, 126, byte(len(message) >> 8), byte(len(message))}
	}
	_, err := s.Conn.Write(append(head, message...))
	return err
}
