'use strict';
// Programs that start a server instead of exporting a handler. The first `http.Server` that calls `listen` is taken: it
// never binds what it asked for, and its requests come from our own listener.

const http = require('http');
const net = require('net');

const { setTimeout, clearTimeout } = globalThis;

class ServerCapture {
  #server = null;
  #onCaptured = null;
  #isWaiting = true;
  #trap;

  // Lies in wait until the first call, or until `release`.
  constructor() {
    const capture = this;
    this.#trap = function listen(...args) {
      // Instrumentation may have wrapped the trap, and go on calling it.
      if (!capture.#isWaiting) return net.Server.prototype.listen.apply(this, args);
      capture.release();
      pretendListening(this, args);
      capture.#server = this;
      capture.#onCaptured?.();
      return this;
    };
    http.Server.prototype.listen = this.#trap;
  }

  get server() {
    return this.#server;
  }

  // Later servers listen for real, by the method they inherit from net.Server.
  release() {
    this.#isWaiting = false;
    if (http.Server.prototype.listen === this.#trap) delete http.Server.prototype.listen;
  }

  // Resolves to the server, or to null if none has called `listen` in time.
  wait(limitMs) {
    if (this.#server !== null) return Promise.resolve(this.#server);
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, limitMs, null);
      this.#onCaptured = () => {
        clearTimeout(timer);
        resolve(this.#server);
      };
    });
  }
}

// Frameworks await `listening` before they finish starting, and print the address they got.
function pretendListening(server, args) {
  const port = requestedPort(args);
  server.address = () => ({ address: '127.0.0.1', family: 'IPv4', port });
  Object.defineProperty(server, 'listening', { configurable: true, writable: true, value: true });
  const callback = args.at(-1);
  if (typeof callback === 'function') server.once('listening', callback);
  process.nextTick(() => server.emit('listening'));
}

function requestedPort([first]) {
  const port = Number(first !== null && typeof first === 'object' ? first.port : first);
  return port > 0 ? port : Number(process.env.PORT) || 3000;
}

module.exports = { ServerCapture };
