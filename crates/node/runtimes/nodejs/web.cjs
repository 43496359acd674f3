'use strict';
// Handlers of the Web platform: named methods or `fetch`, `(Request, { waitUntil }) -> Response`.

const { Readable } = require('stream');

const METHODS = ['GET', 'HEAD', 'OPTIONS', 'POST', 'PUT', 'DELETE', 'PATCH'];

const { setImmediate, clearImmediate } = globalThis;

function isWebHandler(exported) {
  return [...METHODS, 'fetch'].some((name) => typeof exported[name] === 'function');
}

// Throws if the handler does, otherwise gives a promise that the response has been written.
function callWebHandler(exported, req, res, waitUntil) {
  const handler = chooseHandler(exported, req.method);
  if (handler === undefined) {
    res.writeHead(405, { allow: allowedMethods(exported).join(', ') }).end();
    return undefined;
  }
  // A method call: `exported` may be an application object (Hono) whose `fetch` uses `this`.
  return sendResponse(exported[handler](toRequest(req, res), { waitUntil }), req, res);
}

// A named method goes before `fetch`; HEAD without a handler of its own is GET without the body.
function chooseHandler(exported, method) {
  const candidates = METHODS.includes(method) ? [method, 'fetch'] : ['fetch'];
  if (method === 'HEAD') candidates.push('GET');
  return candidates.find((name) => typeof exported[name] === 'function');
}

function allowedMethods(exported) {
  const allowed = METHODS.filter((method) => typeof exported[method] === 'function');
  if (allowed.includes('GET') && !allowed.includes('HEAD')) allowed.push('HEAD');
  return allowed;
}

function toRequest(req, res) {
  const { method } = req;
  const left = new AbortController();
  res.once('close', () => {
    if (!res.writableFinished) left.abort();
  });
  const hasBody = method !== 'GET' && method !== 'HEAD';
  return new Request(absoluteUrl(req), {
    method,
    headers: toHeaders(req.headers),
    signal: left.signal,
    body: hasBody && !isKnownEmpty(req) ? Readable.toWeb(req) : undefined,
    duplex: 'half',
  });
}

function isKnownEmpty(req) {
  return req.headers['transfer-encoding'] === undefined && !(Number(req.headers['content-length']) > 0);
}

function toHeaders(received) {
  const headers = new Headers();
  for (const name in received) {
    const value = received[name];
    if (typeof value === 'string') headers.append(name, value);
    else for (const item of value) headers.append(name, item);
  }
  return headers;
}

function absoluteUrl(req) {
  const { headers, url } = req;
  if (url[0] !== '/' && url !== '*') return url;
  const scheme = firstOf(headers['x-forwarded-proto']) ?? 'http';
  const host = firstOf(headers['x-forwarded-host']) ?? headers.host ?? 'localhost';
  // Joined as text: resolved as a reference, a path that begins with `//` would name another host.
  return `${scheme}://${host}${url === '*' ? '/' : url}`;
}

function firstOf(header) {
  return header?.split(',', 1)[0].trim();
}

async function sendResponse(answer, req, res) {
  const response = await answer;
  if (response === null || typeof response !== 'object' || typeof response.status !== 'number') {
    throw new TypeError(`the handler answered ${describeKind(response)} instead of a Response`);
  }
  if (res.destroyed) {
    await response.body?.cancel?.();
    return;
  }
  res.statusCode = response.status;
  if (response.statusText) res.statusMessage = response.statusText;
  for (const [name, value] of response.headers) {
    if (name === 'set-cookie') res.appendHeader(name, value);
    else res.setHeader(name, value);
  }
  const { body } = response;
  if (body === null || body === undefined) {
    res.end();
  } else if (req.method === 'HEAD') {
    res.end();
    await body.cancel?.();
  } else {
    await pump(iterate(body), res);
  }
}

function describeKind(value) {
  if (value === undefined || value === null) return String(value);
  return typeof value === 'object' ? (value.constructor?.name ?? 'an object') : `a ${typeof value}`;
}

// `{ read, cancel }` over a web stream, or over the Node stream that older Response classes carry.
function iterate(body) {
  if (typeof body.getReader === 'function') return body.getReader();
  const iterator = body[Symbol.asyncIterator]();
  return { read: () => iterator.next(), cancel: async () => iterator.return?.() };
}

// Copies the body as it comes, no faster than the client takes it.
//
// The first chunk is held back for one turn of the event loop: most bodies end within it, and then go out in one write
// with their length. A body that takes longer is streamed, its head first.
async function pump(reader, res) {
  res.once('close', () => {
    if (!res.writableFinished) reader.cancel().catch(() => {});
  });
  let held = null;
  let turn = setImmediate(release);
  function release() {
    clearImmediate(turn);
    turn = null;
    if (res.destroyed) return;
    if (held === null) res.flushHeaders();
    else res.write(held);
    held = null;
  }
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (res.destroyed) return;
      if (done) break;
      const chunk = toBytes(value);
      if (turn !== null && held === null) {
        held = chunk;
        continue;
      }
      if (turn !== null) release();
      if (!res.write(chunk)) await roomOrClose(res);
    }
    res.end(held ?? undefined);
  } finally {
    if (turn !== null) clearImmediate(turn);
  }
}

function toBytes(chunk) {
  if (typeof chunk === 'string' || chunk instanceof Uint8Array) return chunk;
  if (ArrayBuffer.isView(chunk)) return new Uint8Array(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (chunk instanceof ArrayBuffer) return new Uint8Array(chunk);
  throw new TypeError(`a Response body yielded ${describeKind(chunk)} instead of bytes`);
}

function roomOrClose(res) {
  if (res.destroyed || !res.writableNeedDrain) return undefined;
  return new Promise((resolve) => {
    const settle = () => {
      res.off('drain', settle);
      res.off('close', settle);
      resolve();
    };
    res.once('drain', settle);
    res.once('close', settle);
  });
}

module.exports = { callWebHandler, isWebHandler };
