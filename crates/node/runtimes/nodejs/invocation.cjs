'use strict';
// One request on its way through the function.
//
//   received ─► handled ─► responded (or connection closed) ─► promises settled ─► ended
//
// It has ended when the response is complete and everything given to `waitUntil` has settled. The host hears of it by
// an `end` frame, and may then freeze the process at any moment.

const http = require('http');
const { firstLine, describe, tell } = require('./report.cjs');

const { setImmediate, setTimeout, clearTimeout } = globalThis;
// Middleware replaces these on the response (compression, sessions); a failure is answered past it.
const { writeHead, end } = http.ServerResponse.prototype;

const FAILED = 'FUNCTION_FAILED';

class Invocation {
  #id;
  #response;
  #onEnd;
  #waitUntilMs = 0;
  #pending = 0;
  #timer = null;
  #error = undefined;
  #isResponded = false;
  #hasEnded = false;

  // `id` is `{ invocationId, requestId }`; `onEnd(invocation, error)` is called once.
  constructor(id, onEnd) {
    this.#id = id;
    this.#onEnd = onEnd;
  }

  get id() {
    return this.#id;
  }

  get hasEnded() {
    return this.#hasEnded;
  }

  // Follows the response. Nothing else ends an ordinary invocation.
  follow(res) {
    this.#response = res;
    // Node stamps responses from a clock it refreshes by a timer, which is stale after a freeze. The host stamps them.
    res.sendDate = false;
    res.once('close', () => this.#leave());
  }

  // Follows a connection that has been handed over to the function.
  followSocket(socket) {
    socket.once('close', () => this.#leave());
  }

  // How long promises may stay pending after the response, in milliseconds.
  boundWaiting(ms) {
    this.#waitUntilMs = ms;
  }

  waitUntil(promise) {
    this.#pending += 1;
    Promise.resolve(promise).then(
      () => this.#settle(),
      (reason) => {
        tell(describe(reason));
        this.#settle();
      },
    );
  }

  // The handler threw, or the promise it returned was rejected.
  fail(kind, thrown) {
    tell(describe(thrown));
    this.answerFailure(kind, thrown);
  }

  // The client made a mistake that the handler left to the platform. Headers set so far (CORS) are kept.
  refuse(status, message) {
    const res = this.#response;
    if (res.headersSent) {
      res.destroy();
      return;
    }
    res.removeHeader('content-length');
    res.removeHeader('transfer-encoding');
    res.statusCode = status;
    res.statusMessage = message;
    res.end();
  }

  // Answers for the function; never with what was thrown, which may hold secrets.
  answerFailure(kind, thrown) {
    this.#error ??= { kind, message: firstLine(thrown) };
    const res = this.#response;
    if (res === undefined || res.writableEnded) return;
    if (res.headersSent) res.destroy();
    else answerError(res, 500, FAILED);
  }

  // The process is about to exit: answers and ends without waiting for anything.
  die(thrown) {
    this.answerFailure('uncaught', thrown);
    this.#end();
  }

  #leave() {
    // User code listening for the same event, or awaiting it, runs and logs before the process may be frozen.
    setImmediate(() => {
      this.#isResponded = true;
      if (this.#pending === 0) this.#end();
      else this.#timer = setTimeout(() => this.#giveUp(), this.#waitUntilMs);
    });
  }

  #settle() {
    this.#pending -= 1;
    if (this.#pending > 0 || !this.#isResponded) return;
    // The promise may have been awaited by code that logs, or passes on another one.
    setImmediate(() => {
      if (this.#pending === 0) this.#end();
    });
  }

  #giveUp() {
    tell(
      `waitUntil: ${this.#pending} still pending ${this.#waitUntilMs} ms after the response, not waiting any longer`,
    );
    this.#end();
  }

  #end() {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#onEnd(this, this.#error);
  }
}

// An empty answer that carries one of the platform's codes, whatever the function had prepared.
function answerError(res, status, code) {
  for (const name of res.getHeaderNames()) res.removeHeader(name);
  writeHead.call(res, status, http.STATUS_CODES[status], { 'x-dockless-internal-error': code, 'content-length': '0' });
  end.call(res);
}

module.exports = { Invocation };
