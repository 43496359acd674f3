'use strict';
// Servers, captured or exported, AWS-style handlers, and waitUntil.

const assert = require('assert/strict');
const { test } = require('node:test');
const { deploy, responseTo } = require('../testkit/sandbox.cjs');

const SERVERS = [
  // [name, source, shape]
  [
    'an http.Server that listens',
    `require('http').createServer((req, res) => res.end('served ' + req.url)).listen(3000);`,
    'server',
  ],
  [
    'an http.Server that listens later',
    `setTimeout(() => require('http').createServer((req, res) => res.end('served ' + req.url)).listen(), 10);`,
    'server',
  ],
  [
    'an http.Server as export',
    `module.exports = require('http').createServer((req, res) => res.end('served ' + req.url));`,
    'server',
  ],
  [
    'an http.Server that listens, beside configuration',
    `exports.config = { maxDuration: 5 }; require('http').createServer((req, res) => res.end('served ' + req.url)).listen(3000);`,
    'server',
  ],
  [
    'an http.Server that listens, beside other exports',
    `exports.other = 1; require('http').createServer((req, res) => res.end('served ' + req.url)).listen(3000);`,
    'server',
  ],
  [
    'an Express-like function',
    `const http = require('http');
    const app = (req, res) => { if (res.send !== undefined) throw new Error('helpers'); res.end('served ' + req.url); };
    app.listen = (...args) => http.createServer(app).listen(...args);
    module.exports = app;`,
    'listener',
  ],
  [
    'an Express-like function that listens',
    `const http = require('http');
    const app = (req, res) => res.end('served ' + req.url);
    app.listen = (...args) => http.createServer(app).listen(...args);
    app.listen(3000);
    module.exports = app;`,
    'listener',
  ],
  [
    'an Express-like function that only listens',
    `const http = require('http');
    const app = (req, res) => res.end('served ' + req.url);
    app.listen = (...args) => http.createServer(app).listen(...args);
    app.listen(3000, () => console.log('up'));`,
    'server',
  ],
  [
    'a Koa-like application',
    `const http = require('http');
    class App { callback() { return (req, res) => res.end('served ' + req.url); } listen(...args) { return http.createServer(this.callback()).listen(...args); } }
    module.exports = new App();`,
    'server',
  ],
  [
    'a Koa-like application that also listens',
    `const http = require('http');
    class App { listen(...args) { return http.createServer((req, res) => res.end('served ' + req.url)).listen(...args); } }
    const app = new App();
    app.listen(3000);
    module.exports = app;`,
    'server',
  ],
  [
    'a Fastify-like application',
    `const http = require('http');
    module.exports = { async listen() { await null; const server = http.createServer((req, res) => res.end('served ' + req.url));
      await new Promise((resolve) => { server.once('listening', resolve); server.listen(3000); }); } };`,
    'server',
  ],
];
for (const [name, source, shape] of SERVERS) {
  test(`serves ${name}`, async (t) => {
    const sandbox = await deploy(t, source);
    const response = await sandbox.invoke('/path?q=1');
    assert.equal(response.body, 'served /path?q=1');
    assert.deepEqual(response.end, { context: response.id });
    assert.equal((await sandbox.frame('handler-loaded')).shape, shape);
  });
}

test('a captured server believes that it listens, and binds nothing', async (t) => {
  const sandbox = await deploy(
    t,
    `
    const server = require('http').createServer((req, res) => res.end('ok'));
    server.listen(8080, '0.0.0.0', () => console.log(JSON.stringify([server.listening, server.address().port])));`,
  );
  await sandbox.invoke();
  await sandbox.until(() => sandbox.stdout === '[true,8080]\n');
  assert.ok(!require('fs').readFileSync(`/proc/${sandbox.pid}/net/tcp`, 'utf8').includes(':1F90 00000000:0000 0A'));
});

test('an application whose listen fails is reported', async (t) => {
  const sandbox = await deploy(t, `module.exports = { async listen() { throw new Error('no database'); } };`);
  assert.equal((await sandbox.frame('unrecoverable-error')).message, 'Error: no database');
});

for (const [name, preparation] of [
  ['', ''],
  [
    ', also when listen is instrumented',
    `const { listen } = http.Server.prototype;
     http.Server.prototype.listen = function (...args) { return listen.apply(this, args); };`,
  ],
]) {
  test(`only the first server is captured, the next one listens for real${name}`, async (t) => {
    const sandbox = await deploy(
      t,
      `const http = require('http');
       ${preparation}
       http.createServer((req, res) => http.get({ port: second.address().port }, (inner) => inner.pipe(res))).listen(3000);
       const second = http.createServer((req, res) => res.end('second')).listen(0, '127.0.0.1');`,
    );
    assert.equal((await sandbox.invoke()).body, 'second');
  });
}

test("a server gets no helpers and its listeners' exceptions are answered", async (t) => {
  const sandbox = await deploy(
    t,
    `require('http').createServer((req, res) => {
    if (req.url === '/throw') throw new Error('in listener');
    res.end(typeof res.send + typeof req.body);
  }).listen();`,
  );
  assert.equal((await sandbox.invoke()).body, 'undefinedundefined');
  const failed = await sandbox.invoke('/throw');
  assert.deepEqual([failed.status, failed.end.error], [500, { kind: 'threw', message: 'Error: in listener' }]);
});

const UPGRADE = `.on('upgrade', (req, socket, head) => {
    socket.write('HTTP/1.1 101 Switching Protocols\\r\\nconnection: upgrade\\r\\nupgrade: echo\\r\\n\\r\\n' + JSON.stringify(req.headers));
    socket.on('data', (chunk) => (String(chunk) === 'bye' ? socket.end() : socket.write(chunk)));
  })`;
for (const [when, source] of [
  ['already loaded', `require('http').createServer((req, res) => res.end('plain'))${UPGRADE}.listen();`],
  [
    'still loading',
    `setTimeout(() => require('http').createServer((req, res) => res.end('plain'))${UPGRADE}.listen(), 20);`,
  ],
]) {
  test(`a server that takes upgrades gets them, ${when}; end comes with the last byte`, async (t) => {
    const sandbox = await deploy(t, source);
    if (when === 'already loaded') await sandbox.frame('handler-loaded');
    const { req, id } = sandbox.open('/', { headers: { connection: 'upgrade', upgrade: 'echo' } });
    req.end();
    const [socket, head] = await new Promise((resolve, reject) =>
      req
        .on('upgrade', (response, ...rest) => resolve(rest))
        .on('response', reject)
        .on('error', reject),
    );
    let received = String(head);
    const until = (text) =>
      new Promise((resolve) => {
        const check = () => received.endsWith(text) && resolve();
        socket.on('data', check);
        check();
      });
    socket.on('data', (chunk) => (received += chunk));
    await until('}');
    assert.ok(!received.includes('x-dockless-internal'));
    socket.write('ping');
    await until('ping');
    sandbox.send('status');
    assert.deepEqual(await sandbox.frame('status'), { state: 'busy', ...id });
    socket.write('bye');
    assert.deepEqual(await sandbox.frame('end'), { context: id });
    assert.equal((await sandbox.invoke()).body, 'plain');
  });
}

test('AWS-style handlers get an API Gateway event', async (t) => {
  const sandbox = await deploy(
    t,
    `exports.run = async (event, context) => ({
    statusCode: 201,
    headers: { 'content-type': 'application/json', 'set-cookie': ['a=1', 'b=2'], 'content-length': 3, connection: 'close' },
    body: JSON.stringify({ event, id: context.awsRequestId, left: context.getRemainingTimeInMillis() }),
  });`,
    { awsHandler: 'run' },
  );
  assert.equal((await sandbox.frame('handler-loaded')).shape, 'aws');
  const response = await sandbox.invoke('/p/a%20th?a=1&b=2&b=3', {
    method: 'POST',
    headers: { 'content-type': 'video/mp4', cookie: ['c=1', 'd=2'], 'x-twice': ['1', '2'] },
    body: 'héllo',
  });
  assert.equal(response.status, 201);
  assert.deepEqual(response.headers['set-cookie'], ['a=1', 'b=2']);
  const { event, id, left } = JSON.parse(response.body);
  const { headers, ...rest } = event;
  assert.deepEqual(rest, {
    resource: '/{proxy+}',
    path: '/p/a%20th?a=1&b=2&b=3',
    httpMethod: 'POST',
    body: Buffer.from('héllo').toString('base64'),
    isBase64Encoded: true,
    queryStringParameters: { a: '1' },
    multiValueQueryStringParameters: { a: '1', b: ['2', '3'] },
  });
  assert.deepEqual([headers.host, headers.cookie, headers['x-twice']], ['app.localhost', 'c=1; d=2', '1, 2']);
  assert.ok(!Object.keys(headers).some((name) => name.startsWith('x-dockless-internal')));
  assert.equal(id, response.id.invocationId);
  assert.ok(left > 0 && left <= 20_000);
});

const AWS = [
  ['by callback', `(event, context, callback) => { setTimeout(callback, 1, null, { body: 'cb' }); }`, 200, 'cb'],
  ['by promise', `async () => ({ statusCode: 202, body: 'p' })`, 202, 'p'],
  ['by context.succeed', `(event, context) => { context.succeed({ body: 's' }); }`, 200, 's'],
  ['in base64', `async () => ({ body: Buffer.from('bin').toString('base64'), isBase64Encoded: true })`, 200, 'bin'],
  [
    'in base64, as in 2019',
    `async () => ({ body: Buffer.from('bin').toString('base64'), encoding: 'base64' })`,
    200,
    'bin',
  ],
  ['with an empty object', `async () => ({})`, 200, ''],
  ['with multiValueHeaders', `async () => ({ multiValueHeaders: { 'x-a': ['1'] }, body: 'm' })`, 200, 'm'],
  ['with an exception', `() => { throw new Error('t'); }`, 500, '', { kind: 'threw', message: 'Error: t' }],
  ['with a rejection', `async () => { throw new Error('r'); }`, 500, '', { kind: 'rejected', message: 'Error: r' }],
  [
    'with an error for the callback',
    `(event, context, callback) => callback(new Error('c'))`,
    500,
    '',
    { kind: 'rejected', message: 'Error: c' },
  ],
  [
    'with nothing',
    `async () => {}`,
    500,
    '',
    { kind: 'rejected', message: 'TypeError: the handler answered no object with statusCode, headers and body' },
  ],
];
test('AWS-style handlers answer in many ways', async (t) => {
  const sandbox = await deploy(
    t,
    `const cases = [${AWS.map(([, source]) => source).join(',\n')}];
     exports.run = (event, context, callback) => cases[event.queryStringParameters.case](event, context, callback);`,
    { awsHandler: 'run' },
  );
  for (const [i, [name, , status, body, error]] of AWS.entries()) {
    const response = await sandbox.invoke(`/?case=${i}`);
    assert.deepEqual([response.status, response.body, response.end.error], [status, body, error], name);
  }
});

const WAIT_UNTIL = `const context = () => globalThis[Symbol.for('@vercel/request-context')].get();`;

test('end waits for the promises given to waitUntil, also for later ones', async (t) => {
  const sandbox = await deploy(
    t,
    `${WAIT_UNTIL}
    const signal = () => new Promise((resolve) => process.once('SIGUSR2', resolve));
    module.exports = (req, res) => {
      context().waitUntil(signal().then(() => {
        console.log('first');
        context().waitUntil(signal().then(() => console.log('second')));
      }));
      res.end('early');
    };`,
  );
  const response = await sandbox.fetch();
  assert.equal(response.body, 'early');
  const busy = { state: 'busy', ...response.id };
  const status = () => {
    sandbox.send('status');
    return sandbox.frame('status');
  };
  assert.deepEqual(await status(), busy);
  process.kill(sandbox.pid, 'SIGUSR2');
  await sandbox.until(() => sandbox.stdout === 'first\n');
  assert.deepEqual(await status(), busy);
  assert.ok(!sandbox.unread.some(({ type }) => type === 'end'));
  process.kill(sandbox.pid, 'SIGUSR2');
  assert.deepEqual(await sandbox.frame('end'), { context: response.id });
  await sandbox.until(() => sandbox.stdout === 'first\nsecond\n');
});

test('a promise that is rejected is told to the log and fails nothing', async (t) => {
  const sandbox = await deploy(
    t,
    `${WAIT_UNTIL} module.exports = (req, res) => { context().waitUntil(Promise.reject(new Error('background'))); res.end('fine'); };`,
  );
  const response = await sandbox.invoke();
  assert.equal(response.body, 'fine');
  assert.equal(response.end.error, undefined);
  await sandbox.until(() => /^Error: background\n/.test(sandbox.stderr), 'the error in the log');
});

test('promises are waited for as long as go allows', async (t) => {
  const sandbox = await deploy(
    t,
    `${WAIT_UNTIL} module.exports = (req, res) => { context().waitUntil(new Promise(() => {})); res.end(); };`,
    { waitUntilMs: 30 },
  );
  await sandbox.invoke();
  await sandbox.until(() => sandbox.stderr.includes('waitUntil: 1 still pending 30 ms after the response'));
  await sandbox.invoke();
});

test('a client that leaves does not cut the promises short', async (t) => {
  const sandbox = await deploy(
    t,
    `${WAIT_UNTIL} module.exports = (req, res) => {
    context().waitUntil(new Promise((resolve) => process.once('SIGUSR2', resolve)));
    res.on('close', () => console.log('left'));
    res.write('begun');
  };`,
  );
  const { req, id } = sandbox.open();
  req.end();
  (await responseTo(req)).on('error', () => {});
  req.destroy();
  await sandbox.until(() => sandbox.stdout.includes('left'));
  sandbox.send('status');
  assert.deepEqual(await sandbox.frame('status'), { state: 'busy', ...id });
  process.kill(sandbox.pid, 'SIGUSR2');
  assert.deepEqual(await sandbox.frame('end'), { context: id });
});

test('outside of a request there is no context', async (t) => {
  const sandbox = await deploy(
    t,
    `${WAIT_UNTIL} const outside = typeof context(); module.exports = (req, res) => { res.end(outside + ' ' + Object.keys(globalThis).length + ' ' + typeof context()); };`,
  );
  await sandbox.frame('handler-loaded');
  assert.match((await sandbox.invoke()).body, /^undefined \d+ object$/);
});
