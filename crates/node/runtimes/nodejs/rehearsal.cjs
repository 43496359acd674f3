'use strict';
// Runs functions of our own through everything a real one will need, while nobody is waiting. What runs for the first
// time has to be compiled, and Node loads much of itself on first use: after a rehearsal, the first byte of a small
// function comes in a third of the time.
//
// A rehearsal is an instance like the real one, except that its frames go nowhere. Everything is rehearsed a few times
// at most: hundreds of times would start optimising compilations, which would then still be running after `go`.

const http = require('http');
const path = require('path');
const { Writable } = require('stream');
const { FrameReader, encodeFrame } = require('./control.cjs');
const { IncomingMessage } = require('./front.cjs');
const { Instance } = require('./instance.cjs');

const FOLDER = path.join(__dirname, 'rehearsal');

// What is rehearsed stays in memory, in every instance: an ES module costs 0.15 MB. Web handlers would cost
// 2 MB (Node's own fetch) and frequently used parts of Node 1 MB: those load when a function asks for them.
const REHEARSED = ['module.mjs'];

const HEADERS = [
  ['Host', 'rehearsal.localhost'],
  ['Cookie', 'a=1; b=%20'],
  ['X-Forwarded-Proto', 'https'],
  ['X-Forwarded-Host', 'rehearsal.localhost'],
  ['x-dockless-internal-invocation-id', 'rehearsal'],
  ['x-dockless-internal-request-id', '1'],
].flat();

const JSON_BODY = Buffer.from('{"a":1}');
const JSON_HEADERS = ['Content-Type', 'application/json', 'Content-Length', String(JSON_BODY.length)];

let whenReady = null;

// Answers a warm-up request. The first one comes back when everything has been rehearsed; each one exercises the real
// connection, which nothing else can.
async function rehearse(req, res) {
  whenReady ??= rehearseAll();
  const instance = await whenReady;
  instance.onRequest(req, res);
}

async function rehearseAll() {
  rehearseConsole();
  const folder = process.cwd();
  for (const entry of REHEARSED) {
    const instance = await prepare(entry);
    await perform(instance);
    await perform(instance);
  }
  const listener = await prepare('listener.js');
  await perform(listener);
  await perform(listener, JSON_BODY);
  process.chdir(folder);
  for (const file of Object.keys(require.cache)) delete require.cache[file];
  return listener;
}

function prepare(entry) {
  return new Promise((resolve) => {
    const control = {
      send(type, payload) {
        encodeFrame(type, payload);
        if (type === 'handler-loaded') resolve(instance);
      },
      flush() {},
    };
    const instance = new Instance(control, rehearse);
    const go = encodeFrame('go', { entry, root: FOLDER, env: {} });
    new FrameReader().push(go, (frame) => instance.onFrame(frame));
  });
}

// A request without a connection.
async function perform(instance, body) {
  const req = new IncomingMessage(null);
  Object.assign(req, { url: '/?a=1&a=2', httpVersion: '1.1', httpVersionMajor: 1, httpVersionMinor: 1 });
  req.method = body === undefined ? 'GET' : 'POST';
  const headers = body === undefined ? HEADERS : [...HEADERS, ...JSON_HEADERS];
  req._addHeaderLines(headers, headers.length);
  const res = new http.ServerResponse(req);
  instance.onRequest(req, res);
  if (body !== undefined) req.push(body);
  req.complete = true;
  req.push(null);
  await nextTurn();
  await nextTurn();
  res.emit('close');
  await nextTurn();
}

function nextTurn() {
  return new Promise((resolve) => setImmediate(resolve));
}

// Nothing may appear in the log of a function, so most of it writes into the void.
function rehearseConsole() {
  const nowhere = new Writable({ write: (chunk, encoding, done) => done() });
  const rehearsed = new console.Console(nowhere, nowhere);
  rehearsed.log('%s %d %j', 'text', 1, { a: 1 });
  rehearsed.log('text', 1, { a: 1 }, ['b'], new Date());
  rehearsed.error(new Error('rehearsal'));
  process.stdout.write('');
  process.stderr.write('');
}

module.exports = { rehearse };
