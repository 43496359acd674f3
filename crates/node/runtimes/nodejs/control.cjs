'use strict';
// The control channel: JSON objects, each followed by one NUL byte, both ways over the stream socket on fd 4.
//
// Reading goes through the event loop. Writing does not: a frame is in the kernel when `send` returns, so that nothing
// is lost when the process is frozen or exits right after it. Only a full socket makes frames wait.

const { writeSync } = require('fs');
const net = require('net');
const { pause } = require('./report.cjs');

// Largest frame the host may send, in bytes.
const FRAME_LIMIT = 1024 * 1024;

// How long `flush` waits for a host that does not read, in milliseconds.
const FLUSH_LIMIT_MS = 1000;

// How soon a full socket is tried again, in milliseconds.
const RETRY_MS = 5;

// Users may replace these (fake timers, mocked file systems); the channel keeps the originals.
const { setTimeout } = globalThis;

// Cuts a byte stream into frames.
class FrameReader {
  #parts = [];
  #length = 0;

  // Calls `onFrame` with each object completed by `chunk`. Throws if the stream is not made of frames.
  push(chunk, onFrame) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0, start);
      const part = start === 0 && end === -1 ? chunk : chunk.subarray(start, end === -1 ? chunk.length : end);
      this.#length += part.length;
      if (this.#length > FRAME_LIMIT) throw new Error(`a frame is larger than ${FRAME_LIMIT} bytes`);
      if (end === -1) {
        if (part.length > 0) this.#parts.push(part);
        return;
      }
      const bytes = this.#parts.length === 0 ? part : Buffer.concat([...this.#parts, part]);
      this.#parts = [];
      this.#length = 0;
      onFrame(parseFrame(bytes));
      start = end + 1;
    }
  }
}

function parseFrame(bytes) {
  let frame;
  try {
    frame = JSON.parse(bytes.toString());
  } catch (error) {
    throw new Error(`a frame is not JSON: ${error.message}`);
  }
  if (frame === null || typeof frame !== 'object' || typeof frame.type !== 'string') {
    throw new Error('a frame has no type');
  }
  return frame;
}

function encodeFrame(type, payload) {
  return Buffer.from(`${JSON.stringify({ type, payload })}\0`);
}

class Control {
  #fd;
  #open = true;
  #backlog = [];

  constructor(fd) {
    this.#fd = fd;
  }

  // Starts reading. `onGarbage` gets the reason when the far end does not speak the protocol; nothing follows it.
  listen(onFrame, onGarbage) {
    // The far end may close because its process was replaced, and its successor holds a duplicate: neither an end nor
    // an error may close our end. Above all its number must not become free, or a file opened by the user would get it
    // and our next frame.
    const socket = new net.Socket({ fd: this.#fd, readable: true, writable: true, allowHalfOpen: true });
    socket.destroy = () => socket;
    socket.unref();

    const reader = new FrameReader();
    socket.on('error', () => {});
    socket.on('data', (chunk) => {
      try {
        reader.push(chunk, onFrame);
      } catch (error) {
        socket.pause();
        onGarbage(error.message);
      }
    });
  }

  send(type, payload) {
    const bytes = encodeFrame(type, payload);
    if (this.#backlog.length > 0) this.#backlog.push(bytes);
    else this.#write(bytes);
  }

  // Blocks until every frame is in the kernel, or the host has not read for a second.
  flush() {
    for (let waited = 0; this.#backlog.length > 0 && waited < FLUSH_LIMIT_MS; waited += 1) {
      this.#retry();
      if (this.#backlog.length > 0) pause(1);
    }
  }

  #write(bytes) {
    let written = 0;
    while (this.#open && written < bytes.length) {
      try {
        written += writeSync(this.#fd, bytes, written);
      } catch (error) {
        if (error.code === 'EAGAIN') {
          this.#backlog.unshift(bytes.subarray(written));
          setTimeout(() => this.#retry(), RETRY_MS).unref();
          return;
        }
        if (error.code !== 'EINTR') this.#open = false; // nobody is left to read
      }
    }
  }

  #retry() {
    const waiting = this.#backlog;
    this.#backlog = [];
    while (waiting.length > 0 && this.#backlog.length === 0) this.#write(waiting.shift());
    this.#backlog.push(...waiting);
  }
}

module.exports = { Control, FrameReader, encodeFrame };
