'use strict';
// What `(req, res)` handlers find on their arguments beyond plain Node: req.query, req.cookies, req.body, res.status,
// res.send, res.json, res.redirect. Two eras differ in small ways; `era` is 'today' or '2019'.

const { parse: parseForm } = require('querystring');
const { sha1Base64 } = require('./sha1.cjs');

// A mistake of the client that a helper found: answered with its status, not a failure of the function.
class RequestError extends Error {
  constructor(status, message) {
    super(message);
    this.statusCode = status;
  }
}

// Media types whose body is parsed. Others are left to stream.
const PARSED_TYPES = new Set([
  'application/json',
  'application/octet-stream',
  'application/x-www-form-urlencoded',
  'text/plain',
]);

// Whether `req.body` will need the body as a whole.
function wantsBody(req) {
  const { headers } = req;
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length']) > 0;
  return hasBody && PARSED_TYPES.has(mediaType(headers['content-type']));
}

// `chunks` is the body if `wantsBody`, otherwise empty.
function addHelpers(req, res, chunks, era) {
  defineLazily(req, 'query', () => parseQuery(req.url, era));
  defineLazily(req, 'cookies', () => parseCookies(req.headers.cookie));
  defineLazily(req, 'body', () => parseBody(chunks, req.headers['content-type'], era));
  // Plain properties, so that they can be taken off the object: `const { json } = res`.
  res.status = (code) => {
    res.statusCode = code;
    return res;
  };
  res.send = (body) => send(req, res, body);
  res.json = (value) => sendJson(req, res, value);
  res.redirect = (statusOrUrl, url) => redirect(res, statusOrUrl, url);
}

function defineLazily(object, name, compute) {
  const settle = (value) =>
    Object.defineProperty(object, name, { configurable: true, enumerable: true, writable: true, value });
  Object.defineProperty(object, name, {
    configurable: true,
    enumerable: true,
    get() {
      const value = compute();
      settle(value);
      return value;
    },
    set: settle,
  });
}

// Today a repeated key becomes an array; in 2019 its last value won.
function parseQuery(target = '/', era) {
  const query = {};
  const start = target.indexOf('?');
  if (start === -1) return query;
  for (const [key, value] of new URLSearchParams(target.slice(start))) {
    if (key === '__proto__') continue; // would change the object, not be stored in it
    if (era === '2019' || !Object.hasOwn(query, key)) query[key] = value;
    else if (Array.isArray(query[key])) query[key].push(value);
    else query[key] = [query[key], value];
  }
  return query;
}

// As the `cookie` package reads them: the first of a name wins, quotes around a value go, undecodable values stay.
function parseCookies(header) {
  const cookies = {};
  if (!header) return cookies;
  for (const pair of header.split(';')) {
    const equals = pair.indexOf('=');
    if (equals === -1) continue;
    const name = pair.slice(0, equals).trim();
    if (name === '__proto__' || Object.hasOwn(cookies, name)) continue;
    const value = pair.slice(equals + 1).trim();
    cookies[name] = decodeLeniently(value.startsWith('"') ? value.slice(1, -1) : value);
  }
  return cookies;
}

function decodeLeniently(text) {
  if (!text.includes('%')) return text;
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function parseBody(chunks, contentType, era) {
  if (!contentType) return era === '2019' ? undefined : '';
  switch (mediaType(contentType)) {
    case 'application/json':
      return parseJson(joined(chunks).toString(), era);
    case 'application/octet-stream':
      return joined(chunks);
    case 'application/x-www-form-urlencoded':
      return parseForm(joined(chunks).toString());
    case 'text/plain':
      return joined(chunks).toString();
    default:
      return undefined;
  }
}

function parseJson(text, era) {
  if (text === '' && era !== '2019') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw new RequestError(400, 'Invalid JSON');
  }
}

function joined(chunks) {
  return chunks.length === 1 ? chunks[0] : Buffer.concat(chunks);
}

// The type without parameters: `text/plain; charset=latin1` is `text/plain`.
function mediaType(contentType) {
  if (contentType === undefined) return '';
  const end = contentType.indexOf(';');
  return (end === -1 ? contentType : contentType.slice(0, end)).trim().toLowerCase();
}

function send(req, res, body) {
  let bytes;
  if (body === undefined) {
    bytes = undefined;
  } else if (body === null) {
    bytes = text(res, '');
  } else if (typeof body === 'string') {
    if (!res.getHeader('content-type')) res.setHeader('content-type', 'text/html; charset=utf-8');
    bytes = text(res, body);
  } else if (Buffer.isBuffer(body)) {
    if (!res.getHeader('content-type')) res.setHeader('content-type', 'application/octet-stream');
    bytes = body;
  } else if (typeof body === 'object' || typeof body === 'number' || typeof body === 'boolean') {
    return sendJson(req, res, body);
  } else {
    throw new Error('`body` is not a valid string, object, boolean, number, Stream, or Buffer');
  }

  if (bytes !== undefined) {
    res.setHeader('content-length', bytes.length);
    if (!res.getHeader('etag')) res.setHeader('etag', weakEtag(bytes));
  }
  if (res.statusCode === 204 || res.statusCode === 304) {
    res.removeHeader('content-type');
    res.removeHeader('content-length');
    res.removeHeader('transfer-encoding');
    bytes = undefined;
  }
  if (req.method === 'HEAD') bytes = undefined;
  return res.end(bytes);
}

function sendJson(req, res, value) {
  if (!res.getHeader('content-type')) res.setHeader('content-type', 'application/json; charset=utf-8');
  return send(req, res, JSON.stringify(value));
}

// Text goes out as UTF-8, and the type has to say so.
function text(res, body) {
  const type = res.getHeader('content-type');
  if (typeof type === 'string') res.setHeader('content-type', withUtf8(type));
  return Buffer.from(body);
}

const CHARSET_PARAMETER = /;\s*charset\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;\s]*)/gi;

function withUtf8(type) {
  if (type.endsWith('; charset=utf-8') && type.indexOf('charset') === type.lastIndexOf('charset')) return type;
  return `${type.replace(CHARSET_PARAMETER, '').replace(/[;\s]+$/, '')}; charset=utf-8`;
}

// As the `etag` package writes it: length in hexadecimal, then 27 characters of base64 SHA-1 (the 28th is padding).
function weakEtag(bytes) {
  return `W/"${bytes.length.toString(16)}-${sha1Base64(bytes).slice(0, 27)}"`;
}

function redirect(res, statusOrUrl, url) {
  const status = typeof statusOrUrl === 'string' ? 307 : statusOrUrl;
  const target = typeof statusOrUrl === 'string' ? statusOrUrl : url;
  if (typeof status !== 'number' || typeof target !== 'string') {
    throw new Error(
      "Invalid redirect arguments. Please use a single argument URL, e.g. res.redirect('/destination') or use a " +
        "status code and URL, e.g. res.redirect(307, '/destination').",
    );
  }
  res.writeHead(status, { Location: target }).end();
  return res;
}

module.exports = { RequestError, addHelpers, wantsBody };
