'use strict';
// What `(req, res)` handlers find on their arguments, and how request bodies reach them.

const assert = require('assert/strict');
const crypto = require('crypto');
const { test } = require('node:test');
const { bytesOf, deploy, responseTo, textOf } = require('../testkit/sandbox.cjs');

const ECHO = `module.exports = (req, res) => {
  const { query, cookies } = req;
  let body;
  try { body = req.body; } catch (error) { body = { caught: error.message, status: error.statusCode }; }
  res.json({ query, cookies, body, type: Buffer.isBuffer(body) ? 'Buffer' : typeof body });
};`;

async function echo(sandbox, target, { type, ...options } = {}) {
  const headers = { ...options.headers, ...(type === undefined ? {} : { 'content-type': type }) };
  const response = await sandbox.invoke(target, { ...options, headers });
  return JSON.parse(response.body);
}

test('req.query: repeated keys become arrays today, the last one wins in 2019', async (t) => {
  const today = await deploy(t, ECHO);
  const old = await deploy(t, ECHO, { queryStyle: '2019' });
  const target = '/x?a=1&b=2&b=3&b=4&c=%C3%A9+z&d&toString=s&__proto__=p';
  assert.deepEqual((await echo(today, target)).query, { a: '1', b: ['2', '3', '4'], c: 'é z', d: '', toString: 's' });
  assert.deepEqual((await echo(old, target)).query, { a: '1', b: '4', c: 'é z', d: '', toString: 's' });
  assert.deepEqual((await echo(today, '/x')).query, {});
});

test('req.cookies: decoded, first occurrence wins', async (t) => {
  const sandbox = await deploy(t, ECHO);
  const cookie = 'a=1; b=%C3%A9; a=2; q="quoted"; bad=%zz; lonely; e=; toString=x';
  assert.deepEqual((await echo(sandbox, '/', { headers: { cookie } })).cookies, {
    a: '1',
    b: 'é',
    q: 'quoted',
    bad: '%zz',
    e: '',
    toString: 'x',
  });
  assert.deepEqual((await echo(sandbox)).cookies, {});
});

const BODIES = [
  // [content-type, sent, seen today, seen in 2019 if it differs]
  ['application/json', '{"a":[1]}', { a: [1] }],
  ['Application/JSON; charset=utf-8', '"text"', 'text'],
  ['application/json', '', {}, { caught: 'Invalid JSON', status: 400 }],
  ['application/json', '{"a":', { caught: 'Invalid JSON', status: 400 }],
  ['application/x-www-form-urlencoded', 'a=1&b=x+y&b=%C3%A9', { a: '1', b: ['x y', 'é'] }],
  ['text/plain; charset=utf-8', 'héllo', 'héllo'],
  ['text/plain', '', ''],
  ['application/octet-stream', 'bytes', { type: 'Buffer', data: [98, 121, 116, 101, 115] }],
  ['text/html', '<p>', undefined],
  ['application/vnd.api+json', '{}', undefined],
  [undefined, 'untyped', '', undefined],
];
for (const [type, sent, today, old = today] of BODIES) {
  test(`req.body: ${type ?? 'no content-type'} with ${JSON.stringify(sent)}`, async (t) => {
    for (const [queryStyle, expected] of [
      ['today', today],
      ['2019', type === undefined ? undefined : old],
    ]) {
      const sandbox = await deploy(t, ECHO, { queryStyle });
      assert.deepEqual((await echo(sandbox, '/', { method: 'POST', type, body: sent })).body, expected);
    }
  });
}

test('reading an invalid JSON body without catching answers 400, and is no failure', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = async (req, res) => { res.setHeader('access-control-allow-origin', '*'); res.json(req.body); };`,
  );
  const response = await sandbox.invoke('/', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{',
  });
  assert.equal(response.status, 400);
  assert.equal(response.statusText, 'Invalid JSON');
  assert.equal(response.body, '');
  assert.equal(response.headers['access-control-allow-origin'], '*');
  assert.deepEqual(response.end, { context: response.id });
  assert.equal(sandbox.stderr, '');
  assert.equal(
    (await sandbox.invoke('/', { method: 'POST', headers: { 'content-type': 'application/json' }, body: '7' })).body,
    '7',
  );
});

test('the members are lazy, enumerable, configurable and overwritable', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => {
    const before = Object.getOwnPropertyDescriptor(req, 'query');
    const first = req.query;
    const after = Object.getOwnPropertyDescriptor(req, 'query');
    req.body = 'mine';
    const keys = Object.keys(req);
    res.json({
      lazy: typeof before.get, same: first === req.query, after: [after.enumerable, after.configurable, after.writable],
      body: req.body, listed: ['query', 'cookies', 'body'].every((name) => keys.includes(name)), redefined: delete req.cookies,
    });
  };`,
  );
  const response = await sandbox.invoke('/', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{',
  });
  assert.deepEqual(JSON.parse(response.body), {
    lazy: 'function',
    same: true,
    after: [true, true, true],
    body: 'mine',
    listed: true,
    redefined: true,
  });
});

test('the stream can still be read after req.body', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = async (req, res) => {
    const parsed = req.body;
    const chunks = [];
    for await (const chunk of req) chunks.push(chunk);
    res.json({ parsed, raw: Buffer.concat(chunks).toString(), ended: req.readableEnded, complete: req.complete });
  };`,
  );
  const body = JSON.stringify({ a: 'x'.repeat(1_000_000) });
  const headers = { 'content-type': 'application/json' };
  const seen = JSON.parse((await sandbox.invoke('/', { method: 'POST', headers, body })).body);
  assert.equal(seen.raw, body);
  assert.equal(seen.parsed.a.length, 1_000_000);
  assert.deepEqual([seen.ended, seen.complete], [true, true]);
  // Chunked, too: no content-length announces the body.
  const { req } = sandbox.open('/', { method: 'POST', headers });
  req.write('{"a":');
  req.end('2}');
  assert.equal(JSON.parse(await textOf(await responseTo(req))).raw, '{"a":2}');
});

test('a body that nobody reads does not block the connection', async (t) => {
  const http = require('http');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const sandbox = await deploy(t, `module.exports = (req, res) => res.end(req.url);`);
  for (const [target, type] of [
    ['/1', 'application/json'],
    ['/2', 'video/mp4'],
    ['/3', 'text/plain'],
  ]) {
    const options = { agent, method: 'POST', headers: { 'content-type': type }, body: Buffer.alloc(4_000_000, 'x') };
    assert.equal((await sandbox.invoke(target, options)).body, target);
  }
});

test('types that are not parsed are streamed: the handler runs before the body is complete', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => {
    console.log('called');
    req.on('data', (chunk) => console.log('got ' + chunk)).on('end', () => res.end('done'));
  };`,
  );
  const { req } = sandbox.open('/', { method: 'POST', headers: { 'content-type': 'application/x-ndjson' } });
  req.flushHeaders();
  await sandbox.until(() => sandbox.stdout === 'called\n');
  req.write('one');
  await sandbox.until(() => sandbox.stdout === 'called\ngot one\n');
  req.end('two');
  assert.equal(await textOf(await responseTo(req)), 'done');
  assert.equal(sandbox.stdout, 'called\ngot one\ngot two\n');
});

test('types that are parsed are complete before the handler runs', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => { console.log('called'); res.send(req.body); };`);
  const { req } = sandbox.open('/', { method: 'POST', headers: { 'content-type': 'text/plain' } });
  req.write('one ');
  // The status answer comes after the launcher has seen the request.
  sandbox.send('status');
  await sandbox.frame('status');
  assert.equal(sandbox.stdout, '');
  req.end('two');
  assert.equal(await textOf(await responseTo(req)), 'one two');
});

test('a client that leaves during its upload is never seen by the handler', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => { console.log('called'); res.send(req.body); };`);
  await sandbox.frame('handler-loaded');
  const { req, id } = sandbox.open('/', {
    method: 'POST',
    headers: { 'content-type': 'text/plain', 'content-length': '100' },
  });
  req.on('error', () => {});
  await new Promise((resolve) => req.write('half', resolve));
  sandbox.send('status');
  await sandbox.frame('status');
  req.destroy();
  assert.deepEqual(await sandbox.frame('end'), { context: id });
  assert.equal(sandbox.stdout + sandbox.stderr, '');
});

test('an upload that waits for the function to load arrives whole', async (t) => {
  const body = 'y'.repeat(3_000_000);
  const sandbox = await deploy(t, {
    'a.mjs': `
      console.log('loading');
      await new Promise((resolve) => process.once('SIGUSR2', resolve));
      export default (req, res) => res.send(String(req.body.length));`,
  });
  await sandbox.until(() => sandbox.stdout.includes('loading'));
  const answer = sandbox.invoke('/', { method: 'POST', headers: { 'content-type': 'text/plain' }, body });
  sandbox.send('status');
  assert.equal((await sandbox.frame('status')).state, 'busy');
  process.kill(sandbox.pid, 'SIGUSR2');
  assert.equal((await answer).body, '3000000');
});

test('a handler without helpers gets plain arguments', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => res.end(JSON.stringify([typeof req.query, typeof req.cookies, typeof req.body, typeof res.send, typeof res.status]));`,
    { helpers: false },
  );
  const response = await sandbox.invoke('/', {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: '{',
  });
  assert.equal(response.body, JSON.stringify(Array(5).fill('undefined')));
});

function etag(text) {
  const bytes = Buffer.from(text);
  return `W/"${bytes.length.toString(16)}-${crypto.createHash('sha1').update(bytes).digest('base64').slice(0, 27)}"`;
}

const HTML = 'text/html; charset=utf-8';
const JSON_TYPE = 'application/json; charset=utf-8';
const SENT = [
  // [expression, status, content-type, body, etag]
  [`res.send('hi bob')`, 200, HTML, 'hi bob', 'W/"6-AA8QYtyOBnaPV7c/k/+kpSIuyUY"'],
  [`res.send('é'.repeat(2000))`, 200, HTML, 'é'.repeat(2000), etag('é'.repeat(2000))],
  [`res.send('')`, 200, HTML, '', etag('')],
  [`(res.setHeader('content-type', 'text/css'), res.send('a'))`, 200, 'text/css; charset=utf-8', 'a', etag('a')],
  [
    `(res.setHeader('content-type', 'text/css; charset=latin1'), res.send('a'))`,
    200,
    'text/css; charset=utf-8',
    'a',
    etag('a'),
  ],
  [
    `(res.setHeader('content-type', 'text/plain; Charset="x;y"; format=flowed'), res.send('a'))`,
    200,
    'text/plain; format=flowed; charset=utf-8',
    'a',
    etag('a'),
  ],
  [`res.send(Buffer.from('b'))`, 200, 'application/octet-stream', 'b', etag('b')],
  [`(res.setHeader('content-type', 'image/png'), res.send(Buffer.from('b')))`, 200, 'image/png', 'b', etag('b')],
  [`res.send({ a: 1 })`, 200, JSON_TYPE, '{"a":1}', etag('{"a":1}')],
  [`res.send([1])`, 200, JSON_TYPE, '[1]', etag('[1]')],
  [`res.send(7)`, 200, JSON_TYPE, '7', etag('7')],
  [`res.send(true)`, 200, JSON_TYPE, 'true', etag('true')],
  [`res.send(null)`, 200, undefined, '', etag('')],
  [`res.send(undefined)`, 200, undefined, '', undefined],
  [`res.json(null)`, 200, JSON_TYPE, 'null', etag('null')],
  [`res.json(undefined)`, 200, JSON_TYPE, '', undefined],
  [
    `(res.setHeader('content-type', 'application/hal+json'), res.json(1))`,
    200,
    'application/hal+json; charset=utf-8',
    '1',
    etag('1'),
  ],
  [`res.status(404).send('no')`, 404, HTML, 'no', etag('no')],
  [`res.status(204).send('dropped')`, 204, undefined, '', etag('dropped')],
  [`res.status(304).json({})`, 304, undefined, '', etag('{}')],
  [`(res.setHeader('etag', '"own"'), res.send('x'))`, 200, HTML, 'x', '"own"'],
];
test('res.send, res.json and res.status', async (t) => {
  const sandbox = await deploy(
    t,
    `const cases = [${SENT.map(([expression]) => `(res) => ${expression}`).join(',\n')}];
     module.exports = (req, res) => void cases[req.query.case](res);`,
  );
  for (const [i, [expression, status, type, body, tag]] of SENT.entries()) {
    const response = await sandbox.invoke(`/?case=${i}`);
    assert.equal(response.status, status, expression);
    assert.equal(response.headers['content-type'], type, expression);
    assert.equal(response.body, body, expression);
    assert.equal(response.headers.etag, tag, expression);
    const length = status === 204 || status === 304 ? undefined : String(Buffer.byteLength(body));
    assert.equal(response.headers['content-length'], length, expression);
    assert.equal(response.headers['transfer-encoding'], undefined, expression);
  }
});

test('HEAD has the headers of GET and no body', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => res.send('hi bob');`);
  const { status, headers, body } = await sandbox.invoke('/', { method: 'HEAD' });
  assert.deepEqual(
    [status, headers['content-length'], headers.etag, body],
    [200, '6', 'W/"6-AA8QYtyOBnaPV7c/k/+kpSIuyUY"', ''],
  );
});

test('a matching etag is not turned into a 304', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => res.send('hi bob');`);
  const headers = { 'if-none-match': 'W/"6-AA8QYtyOBnaPV7c/k/+kpSIuyUY"' };
  assert.equal((await sandbox.invoke('/', { headers })).status, 200);
});

test('response helpers chain, and work taken off the object', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, { status, json }) => { json(status(201) === undefined ? 'no' : 'yes'); };`,
  );
  const response = await sandbox.invoke();
  assert.deepEqual([response.status, response.body], [201, '"yes"']);
});

test('res.redirect', async (t) => {
  const sandbox = await deploy(
    t,
    `const cases = {
    plain: (res) => res.redirect('/to'),
    status: (res) => res.redirect(301, 'https://example.com/é'.replace('é', '%C3%A9')),
    bad: (res) => res.redirect(301),
  };
  module.exports = (req, res) => { cases[req.query.case](res); };`,
  );
  const plain = await sandbox.invoke('/?case=plain');
  assert.deepEqual([plain.status, plain.headers.location, plain.body], [307, '/to', '']);
  const status = await sandbox.invoke('/?case=status');
  assert.deepEqual([status.status, status.headers.location], [301, 'https://example.com/%C3%A9']);
  const bad = await sandbox.invoke('/?case=bad');
  assert.deepEqual([bad.status, bad.end.error.kind], [500, 'threw']);
  assert.match(bad.end.error.message, /^Error: Invalid redirect arguments/);
});

test('res.send of something that cannot be sent is a failure', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => { res.send(() => {}); };`);
  assert.match((await sandbox.invoke()).end.error.message, /is not a valid string, object, boolean/);
});

test('big bodies pass in both directions', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => { res.send(req.body); };`);
  const body = crypto.randomBytes(5 * 1024 * 1024);
  const { req } = sandbox.open('/', { method: 'POST', headers: { 'content-type': 'application/octet-stream' } });
  req.end(body);
  assert.ok((await bytesOf(await responseTo(req))).equals(body));
});

test('an Expect: 100-continue request is told to go on', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => res.send(req.body);`);
  const { req } = sandbox.open('/', {
    method: 'POST',
    headers: { expect: '100-continue', 'content-type': 'text/plain' },
  });
  req.flushHeaders();
  await new Promise((resolve) => req.once('continue', resolve));
  req.end('sent after');
  assert.equal(await textOf(await responseTo(req)), 'sent after');
});
