'use strict';
// The HTTP side: a server on the listening socket the host hands us, and requests without the host's own headers.

const http = require('http');

// Headers with this prefix are between the host and this program.
const INTERNAL_PREFIX = 'x-dockless-internal-';

// The host bounds headers before they come here; this only has to be larger than its bound.
const HEADER_LIMIT = 128 * 1024;

// A request as user code sees it. It carries its name because it shows when a user logs it.
class IncomingMessage extends http.IncomingMessage {
  #internal = null;
  // Body chunks seen so far, until it is decided whether anybody wants them as a whole.
  #chunks = [];
  #onBody = null;

  // What the host said about this request, by header name without the prefix.
  static internalOf(req) {
    return req.#internal ?? {};
  }

  // Calls `onBody` with the chunks of the whole body, at once if it is already here. They stay in the stream too, so
  // that the body can still be read from it. If the client leaves before, `onBody` is never called.
  static readAhead(req, onBody) {
    if (req.complete) {
      const chunks = req.#chunks;
      req.#chunks = null;
      onBody(chunks);
      return;
    }
    req.#onBody = onBody;
    // The stream may have asked the socket to stop while the request was waiting for the function to load.
    req.socket?.resume();
  }

  // The body will be read as a stream only.
  static forgetBody(req) {
    req.#chunks = null;
  }

  // Called by Node with the header lines, before anything is derived from them, and again with the trailers.
  _addHeaderLines(lines, count) {
    const kept = lines ? this.#withoutInternal(lines, count) : lines;
    super._addHeaderLines(kept, kept === lines ? count : kept.length);
  }

  // Called by Node's parser with each piece of the body, and with null after the last.
  push(chunk, encoding) {
    if (this.#chunks === null) return super.push(chunk, encoding);
    if (chunk !== null) this.#chunks.push(chunk);
    const wantsMore = super.push(chunk, encoding);
    if (this.#onBody === null) return wantsMore;
    if (chunk === null) {
      const onBody = this.#onBody;
      const chunks = this.#chunks;
      this.#onBody = null;
      this.#chunks = null;
      onBody(chunks);
    }
    // The stream is over its mark because nobody reads it yet, but the rest has to come in nevertheless.
    return true;
  }

  #withoutInternal(lines, count) {
    let kept = null;
    for (let i = 0; i < count; i += 2) {
      const name = lines[i];
      if (isInternal(name)) {
        kept ??= lines.slice(0, i);
        this.#internal ??= Object.create(null);
        this.#internal[name.slice(INTERNAL_PREFIX.length).toLowerCase()] ??= lines[i + 1];
      } else if (kept !== null) {
        kept.push(name, lines[i + 1]);
      }
    }
    return kept ?? lines;
  }
}

function isInternal(name) {
  const first = name.charCodeAt(0) | 0x20;
  return first === 0x78 /* x */ && name.slice(0, INTERNAL_PREFIX.length).toLowerCase() === INTERNAL_PREFIX;
}

// Accepts connections on `fd`; `onReady` is called once it does.
function serve(fd, { onRequest, onUpgrade, onReady }) {
  const server = http.createServer({
    IncomingMessage,
    maxHeaderSize: HEADER_LIMIT,
    requireHostHeader: false,
    // The host owns every deadline. A process that is frozen between requests would find its own ones expired.
    keepAliveTimeout: 0,
    headersTimeout: 0,
    requestTimeout: 0,
    connectionsCheckingInterval: 2 ** 31 - 1,
  });
  server.timeout = 0;
  server.maxHeadersCount = 0;
  server.on('request', onRequest);
  server.on('upgrade', onUpgrade);
  server.listen({ fd }, onReady);
  return server;
}

module.exports = {
  IncomingMessage,
  forgetBody: IncomingMessage.forgetBody,
  internalOf: IncomingMessage.internalOf,
  readAhead: IncomingMessage.readAhead,
  serve,
};
