'use strict';
// Handlers of the Web platform: `(Request) -> Response`.

const assert = require('assert/strict');
const crypto = require('crypto');
const { test } = require('node:test');
const { bytesOf, deploy, responseTo } = require('../testkit/sandbox.cjs');

const web = (source) => ({ 'api/index.mjs': source });

test('named methods', async (t) => {
  const sandbox = await deploy(
    t,
    web(`
    export const GET = (request) => new Response('got', { headers: { 'x-a': '1' } });
    export async function POST(request) { return Response.json(await request.json(), { status: 201, statusText: 'Made' }); }`),
  );
  assert.equal((await sandbox.frame('handler-loaded')).shape, 'web');
  const got = await sandbox.invoke();
  assert.deepEqual([got.status, got.body, got.headers['x-a'], got.headers['content-length']], [200, 'got', '1', '3']);
  const posted = await sandbox.invoke('/', { method: 'POST', body: '{"a":1}' });
  assert.deepEqual([posted.status, posted.statusText, posted.body], [201, 'Made', '{"a":1}']);
  const head = await sandbox.invoke('/', { method: 'HEAD' });
  assert.deepEqual([head.status, head.body, head.headers['x-a']], [200, '', '1']);
  const missing = await sandbox.invoke('/', { method: 'DELETE', body: 'x' });
  assert.deepEqual(
    [missing.status, missing.body, missing.headers.allow, missing.end.error],
    [405, '', 'GET, POST, HEAD', undefined],
  );
});

const SHAPES = [
  ['fetch as a named export', `export const fetch = (request) => new Response('fetch ' + request.method);`],
  [
    'an application object',
    `class App { #name = 'fetch '; fetch(request) { return new Response(this.#name + request.method); } } export default new App();`,
  ],
  ['a CommonJS export', null, `exports.fetch = async (request) => new Response('fetch ' + request.method);`],
];
for (const [name, esm, cjs] of SHAPES) {
  test(`fetch serves all methods: ${name}`, async (t) => {
    const sandbox = await deploy(t, esm ? web(esm) : { 'api/index.js': cjs });
    for (const method of ['GET', 'PUT', 'OPTIONS', 'PROPFIND']) {
      assert.equal((await sandbox.invoke('/', { method })).body, `fetch ${method}`);
    }
    assert.equal((await sandbox.invoke('/', { method: 'HEAD' })).status, 200);
  });
}

test('a named method goes before fetch', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export const fetch = () => new Response('fetch'); export const GET = () => new Response('GET');`),
  );
  assert.equal((await sandbox.invoke('/', { method: 'POST' })).body, 'fetch');
  assert.equal((await sandbox.invoke()).body, 'GET');
});

test('the Request has the URL, headers and method of the client', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export const fetch = (request) => Response.json({
    url: request.url, method: request.method, headers: [...request.headers], body: request.body === null });`),
  );
  const seen = async (target, headers, options) =>
    JSON.parse((await sandbox.invoke(target, { headers, ...options })).body);
  const forwarded = await seen('/p%20a/?q=%C3%A9', {
    'x-forwarded-proto': 'https',
    'x-forwarded-host': 'shop.example.com',
    cookie: ['a=1', 'b=2'],
  });
  assert.equal(forwarded.url, 'https://shop.example.com/p%20a/?q=%C3%A9');
  assert.equal(forwarded.body, true);
  const headers = Object.fromEntries(forwarded.headers);
  assert.deepEqual([headers.host, headers.cookie], ['app.localhost', 'a=1; b=2']);
  assert.ok(!Object.keys(headers).some((name) => name.startsWith('x-dockless-internal')));
  assert.equal((await seen('/plain')).url, 'http://app.localhost/plain');
  assert.equal((await seen('//other.example/x')).url, 'http://app.localhost//other.example/x');
  assert.equal((await seen('http://absolute.example/x')).url, 'http://absolute.example/x');
  assert.equal((await seen('*', {}, { method: 'OPTIONS' })).url, 'http://app.localhost/');
});

test('cookies are set one by one', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export function GET() {
    const headers = new Headers({ 'x-b': '1' });
    headers.append('set-cookie', 'a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT'); headers.append('set-cookie', 'b=2'); headers.append('x-b', '2');
    return new Response(null, { headers });
  }`),
  );
  const { headers, body } = await sandbox.invoke();
  assert.deepEqual(
    [headers['set-cookie'], headers['x-b'], body],
    [['a=1; Expires=Wed, 21 Oct 2026 07:28:00 GMT', 'b=2'], '1, 2', ''],
  );
});

test('bodies stream both ways, chunk by chunk', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export const POST = (request) => new Response(request.body.pipeThrough(new TextDecoderStream()).pipeThrough(new TransformStream({
    start(controller) { controller.enqueue(new TextEncoder().encode('ready')); },
    transform(text, controller) { controller.enqueue(new TextEncoder().encode(text.toUpperCase())); },
  })));`),
  );
  const { req } = sandbox.open('/', { method: 'POST' });
  req.flushHeaders();
  const chunks = (await responseTo(req)).setEncoding('utf8')[Symbol.asyncIterator]();
  assert.equal((await chunks.next()).value, 'ready');
  for (const text of ['one', 'two']) {
    req.write(text);
    assert.equal((await chunks.next()).value, text.toUpperCase());
  }
  req.end();
  assert.equal((await chunks.next()).done, true);
  await sandbox.frame('end');
});

test('the head of a response leaves before its first chunk', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export const GET = () => new Response(new ReadableStream({
    async pull(controller) { await new Promise((resolve) => process.once('SIGUSR2', resolve)); controller.enqueue(Buffer.from('late')); controller.close(); } }));`),
  );
  const { req } = sandbox.open();
  req.end();
  const response = await responseTo(req);
  assert.equal(response.statusCode, 200);
  process.kill(sandbox.pid, 'SIGUSR2');
  assert.equal(String(await bytesOf(response)), 'late');
});

test('big bodies pass in both directions', async (t) => {
  const sandbox = await deploy(
    t,
    web(
      `export const POST = async (request) => new Response(request.headers.get('x-whole') ? await request.arrayBuffer() : request.body);`,
    ),
  );
  const body = crypto.randomBytes(5 * 1024 * 1024);
  for (const headers of [{}, { 'x-whole': '1' }]) {
    const { req } = sandbox.open('/', { method: 'POST', headers });
    req.end(body);
    assert.ok((await bytesOf(await responseTo(req))).equals(body));
  }
});

test('a response to a slow client is held back, and cancelled when the client leaves', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export const GET = (request) => {
    let pulled = 0;
    request.signal.addEventListener('abort', () => console.log('aborted'));
    return new Response(new ReadableStream({
      pull(controller) { pulled += 1; controller.enqueue(new Uint8Array(64 * 1024)); if (pulled === 10_000) console.log('endless'); },
      cancel() { console.log('cancelled'); },
    }));
  };`),
  );
  const { req, id } = sandbox.open();
  req.end();
  const response = await responseTo(req);
  response.pause();
  sandbox.send('status');
  await sandbox.frame('status');
  req.destroy();
  await sandbox.until(() => sandbox.stdout.includes('cancelled') && sandbox.stdout.includes('aborted'));
  assert.deepEqual(await sandbox.frame('end'), { context: id });
  assert.ok(!sandbox.stdout.includes('endless'));
  assert.equal(sandbox.stderr, '');
});

test('a client that leaves during its upload makes reading the body fail', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export const POST = async (request) => {
    try { for await (const chunk of request.body) console.log('chunk'); } catch (error) { console.log('failed'); }
    return new Response('to nobody');
  };`),
  );
  const { req } = sandbox.open('/', { method: 'POST' });
  req.on('error', () => {});
  req.write('half');
  await sandbox.until(() => sandbox.stdout.includes('chunk'));
  req.destroy();
  assert.equal((await sandbox.frame('end')).error, undefined);
  await sandbox.until(() => sandbox.stdout.includes('failed'));
  assert.equal(sandbox.stderr, '');
});

test('waitUntil is the second argument', async (t) => {
  const sandbox = await deploy(
    t,
    web(`export const GET = (request, { waitUntil }) => {
    waitUntil(new Promise((resolve) => setTimeout(resolve, 5)).then(() => console.log('settled')));
    return new Response('early');
  };`),
  );
  await sandbox.invoke();
  await sandbox.until(() => sandbox.stdout === 'settled\n');
});

const FAILING = [
  ['throws', `() => { throw new Error('t'); }`, { kind: 'threw', message: 'Error: t' }],
  ['rejects', `async () => { throw new Error('r'); }`, { kind: 'rejected', message: 'Error: r' }],
  [
    'answers nothing',
    `() => {}`,
    { kind: 'rejected', message: 'TypeError: the handler answered undefined instead of a Response' },
  ],
  [
    'answers a text',
    `() => 'text'`,
    { kind: 'rejected', message: 'TypeError: the handler answered a string instead of a Response' },
  ],
];
for (const [name, source, error] of FAILING) {
  test(`a handler that ${name}`, async (t) => {
    const sandbox = await deploy(t, web(`export const GET = ${source};`));
    const response = await sandbox.invoke();
    assert.deepEqual(
      [response.status, response.headers['x-dockless-internal-error'], response.body],
      [500, 'FUNCTION_FAILED', ''],
    );
    assert.deepEqual(response.end, { context: response.id, error });
    await sandbox.until(() => sandbox.stderr.length > 0, 'anything in the log');
  });
}

test('a body that fails cuts the connection', async (t) => {
  const sandbox = await deploy(
    t,
    web(`let n = 0; export const GET = () => new Response(new ReadableStream({
    async pull(controller) { await new Promise((resolve) => setImmediate(resolve)); if (n++ < 3) controller.enqueue(Buffer.from('x')); else controller.error(new Error('midway')); } }));`),
  );
  const { req, id } = sandbox.open();
  req.end();
  await assert.rejects(bytesOf(await responseTo(req)), { code: 'ECONNRESET' });
  assert.deepEqual(await sandbox.frame('end'), { context: id, error: { kind: 'rejected', message: 'Error: midway' } });
});

test('foreign Response classes with Node streams are understood', async (t) => {
  const sandbox = await deploy(
    t,
    web(`import { Readable } from 'stream';
    export const GET = () => ({ status: 203, headers: new Map([['x-a', '1']]), body: Readable.from(['a', Buffer.from('b')]) });`),
  );
  const response = await sandbox.invoke();
  assert.deepEqual([response.status, response.headers['x-a'], response.body], [203, '1', 'ab']);
});

test('no body where none is allowed', async (t) => {
  const sandbox = await deploy(t, web(`export const GET = () => new Response(null, { status: 204 });`));
  const response = await sandbox.invoke();
  assert.deepEqual([response.status, response.body, response.headers['content-length']], [204, '', undefined]);
});
