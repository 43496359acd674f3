'use strict';
// Functions that throw, reject, exit, hang up, or lose their client.

const assert = require('assert/strict');
const { test } = require('node:test');
const { deploy, responseTo, start, textOf } = require('../testkit/sandbox.cjs');

function assertFailed(response) {
  assert.equal(response.status, 500);
  assert.equal(response.headers['x-dockless-internal-error'], 'FUNCTION_FAILED');
  assert.equal(response.body, '');
}

const FAILURES = [
  [
    'threw',
    `module.exports = (req, res) => { if (req.url === '/ok') return res.end('ok'); throw new TypeError('boom\\nsecond'); };`,
  ],
  [
    'rejected',
    `module.exports = async (req, res) => { if (req.url === '/ok') return res.end('ok'); await null; throw new TypeError('boom\\nsecond'); };`,
  ],
];
for (const [kind, source] of FAILURES) {
  test(`a handler that ${kind}: 500 without details, the stack in the log, and the process lives`, async (t) => {
    const sandbox = await deploy(t, source);
    const response = await sandbox.invoke();
    assertFailed(response);
    assert.deepEqual(response.end, { context: response.id, error: { kind, message: 'TypeError: boom' } });
    // The log comes by another way than the answer.
    await sandbox.until(() => /^TypeError: boom\nsecond\n +at .*\(?.*api\/index\.js:1:/.test(sandbox.stderr), 'the stack');
    assert.equal((await sandbox.invoke('/ok')).body, 'ok');
  });
}

test('headers prepared by a failing handler are not sent', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => {
    res.setHeader('set-cookie', 'a=1'); res.setHeader('content-length', 10); res.statusMessage = 'Fine';
    res.writeHead = res.end = () => { throw new Error('middleware') };
    throw new Error('x');
  };`,
  );
  const response = await sandbox.invoke();
  assertFailed(response);
  assert.deepEqual(
    [response.headers['set-cookie'], response.headers['content-length'], response.statusText],
    [undefined, '0', 'Internal Server Error'],
  );
});

test('a handler that fails after its head is sent has its connection cut', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = async (req, res) => {
    res.write('partial');
    await new Promise((resolve) => setImmediate(resolve));
    throw new Error('late');
  };`,
  );
  const { req, id } = sandbox.open();
  req.end();
  const response = await responseTo(req);
  assert.equal(response.statusCode, 200);
  await assert.rejects(textOf(response), { code: 'ECONNRESET' });
  assert.deepEqual(await sandbox.frame('end'), { context: id, error: { kind: 'rejected', message: 'Error: late' } });
});

test('a handler that fails after its response is complete only tells the log', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = async (req, res) => {
    res.end('fine');
    await new Promise((resolve) => res.on('close', () => setTimeout(resolve, 5)));
    throw new Error('afterwards');
  };`,
  );
  const response = await sandbox.invoke();
  assert.equal(response.body, 'fine');
  assert.equal(response.end.error, undefined);
  await sandbox.until(() => sandbox.stderr.includes('afterwards'));
  assert.equal((await sandbox.invoke()).body, 'fine');
});

test('things that are no errors can be thrown', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req) => {
    const thrown = { '/undefined': undefined, '/text': 'just text', '/null': null };
    if (req.url === '/proxy') throw new Proxy({}, { get() { throw new Error('no'); } });
    throw thrown[req.url];
  };`,
  );
  for (const [target, message] of [
    ['/undefined', 'undefined'],
    ['/text', 'just text'],
    ['/null', 'null'],
    ['/proxy', 'a value that cannot be printed was thrown'],
  ]) {
    const response = await sandbox.invoke(target);
    assertFailed(response);
    assert.equal(response.end.error.message, message);
  }
});

test('a long message is cut so that the frame stays small', async (t) => {
  const sandbox = await deploy(t, `module.exports = () => { throw new Error('\\u0001'.repeat(1e6)); };`);
  const { message } = (await sandbox.invoke()).end.error;
  assert.ok(message.length > 1000 && Buffer.byteLength(JSON.stringify(message)) < 60_000);
});

const UNCAUGHT = [
  ['an exception in a timer', `module.exports = () => { setTimeout(() => { throw new RangeError('astray'); }, 1); };`],
  ['an unhandled rejection', `module.exports = () => { Promise.reject(new RangeError('astray')); };`],
  [
    'an error event without listener',
    `module.exports = () => { process.nextTick(() => new (require('events'))().emit('error', new RangeError('astray'))); };`,
  ],
];
for (const [name, source] of UNCAUGHT) {
  test(`uncaught, ${name}: the request is answered, then the process exits`, async (t) => {
    const sandbox = await deploy(t, source);
    const response = await sandbox.invoke();
    assertFailed(response);
    assert.deepEqual(response.end, {
      context: response.id,
      error: { kind: 'uncaught', message: 'RangeError: astray' },
    });
    assert.deepEqual(await sandbox.exited, { code: 1, signal: null });
    assert.match(sandbox.stderr, /RangeError: astray\n +at .*api\/index\.js:1:/s);
    assert.ok(!sandbox.unread.some((frame) => frame.type === 'unrecoverable-error'));
  });
}

test('uncaught while the upload is still coming: the request is answered all the same', async (t) => {
  const sandbox = await deploy(t, `module.exports = () => { setTimeout(() => { throw new Error('astray'); }, 1); };`);
  const { req } = sandbox.open('/', {
    method: 'POST',
    headers: { 'content-type': 'video/mp4', 'content-length': '1000000' },
  });
  req.on('error', () => {});
  req.write(Buffer.alloc(300_000));
  const response = await responseTo(req);
  assert.equal(response.headers['x-dockless-internal-error'], 'FUNCTION_FAILED');
  await sandbox.exited;
});

test('uncaught with no request in flight is unrecoverable', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => { res.end(); process.once('SIGUSR2', () => { throw new Error('idle'); }); };`,
  );
  await sandbox.invoke();
  process.kill(sandbox.pid, 'SIGUSR2');
  assert.deepEqual(await sandbox.frame('unrecoverable-error'), { exitCode: 1, message: 'Error: idle' });
  assert.equal((await sandbox.exited).code, 1);
});

test('the function may exit', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => { console.log('bye '.repeat(50_000)); process.exit(3); };`,
  );
  await assert.rejects(sandbox.fetch(), { code: 'ECONNRESET' });
  assert.deepEqual(await sandbox.exited, { code: 3, signal: null });
  assert.equal(sandbox.stdout.length, 200_001);
});

test('a client that leaves is seen as in plain Node, and ends the invocation', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => {
    req.on('aborted', () => console.log('req aborted')).on('close', () => console.log('req close'));
    res.on('close', () => { console.log('res close ' + res.writableFinished); res.write('to nobody'); res.end(); });
    res.write('begun');
  };`,
  );
  const { req, id } = sandbox.open();
  req.end();
  const response = await responseTo(req);
  await new Promise((resolve) => response.once('data', resolve));
  req.destroy();
  assert.deepEqual(await sandbox.frame('end'), { context: id });
  for (const line of ['req aborted', 'req close', 'res close false'])
    await sandbox.until(() => sandbox.stdout.includes(line), line);
  assert.equal(sandbox.stderr, '');
});

test('a client that leaves before the function is loaded does not reach it', async (t) => {
  const sandbox = await deploy(t, {
    'a.mjs': `
      console.log('loading');
      await new Promise((resolve) => process.once('SIGUSR2', resolve));
      export default (req, res) => { console.log('called ' + req.url); res.end(); };`,
  });
  await sandbox.until(() => sandbox.stdout.includes('loading'));
  const { req, id } = sandbox.open('/gone');
  req.on('error', () => {});
  req.flushHeaders();
  req.end();
  const busy = async () => {
    sandbox.send('status');
    return (await sandbox.frame('status')).invocationId === id.invocationId;
  };
  while (!(await busy()));
  req.destroy();
  assert.deepEqual(await sandbox.frame('end'), { context: id });
  process.kill(sandbox.pid, 'SIGUSR2');
  await sandbox.invoke('/there');
  assert.equal(sandbox.stdout, 'loading\ncalled /there\n');
});

test('streamed chunks leave in order, each when it is written', async (t) => {
  const sandbox = await deploy(
    t,
    `let stream;
    module.exports = (req, res) => {
      if (stream === undefined) return (stream = res).write('first');
      stream.write(req.url);
      if (req.url === '/last') stream.end();
      res.end();
    };`,
  );
  const { req } = sandbox.open();
  req.end();
  const chunks = (await responseTo(req)).setEncoding('utf8')[Symbol.asyncIterator]();
  assert.equal((await chunks.next()).value, 'first');
  for (const target of ['/a', '/b', '/last']) {
    await sandbox.fetch(target);
    assert.equal((await chunks.next()).value, target);
  }
  assert.equal((await chunks.next()).done, true);
});

test('a response to a slow client is held back', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => {
    let n = 0;
    const fill = () => { while (n < 400) { n += 1; if (!res.write(Buffer.alloc(64 * 1024))) { console.log('full'); res.once('drain', fill); return; } } res.end(); };
    fill();
  };`,
  );
  const { req } = sandbox.open();
  req.end();
  const stream = await responseTo(req);
  await sandbox.until(() => sandbox.stdout.includes('full'));
  let size = 0;
  for await (const chunk of stream) size += chunk.length;
  assert.equal(size, 400 * 64 * 1024);
  await sandbox.frame('end');
});

test('console output is complete, and in the pipe before end', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => {
    res.on('finish', () => console.log('finish'));
    res.on('close', () => console.log('close'));
    console.log('x'.repeat(1_000_000));
    console.error('y'.repeat(1_000_000));
    res.end();
    process.stdout.write('last ');
  };`,
  );
  await sandbox.invoke();
  // Everything was written before the frame was, so it needs no more than being read.
  await sandbox.until(() => sandbox.stdout.endsWith('close\n'));
  assert.equal(sandbox.stdout, `${'x'.repeat(1_000_000)}\nlast finish\nclose\n`);
  assert.equal(sandbox.stderr.length, 1_000_001);
});

test('frames survive a host that does not read for a while', async (t) => {
  const sandbox = await deploy(t, `module.exports = () => { throw new Error('z'.repeat(8000)); };`);
  await sandbox.frame('handler-loaded');
  sandbox.control.pause();
  for (let i = 0; i < 100; i += 1) await sandbox.fetch();
  sandbox.control.resume();
  for (let i = 1; i <= 100; i += 1) assert.equal((await sandbox.frame('end')).context.requestId, i);
});

test('websockets are refused', async (t) => {
  const sandbox = await deploy(t, `module.exports = (req, res) => res.end('not me');`);
  const upgrade = { connection: 'Upgrade', upgrade: 'websocket' };
  for (let i = 0; i < 2; i += 1) {
    const response = await sandbox.invoke('/', { headers: upgrade });
    assert.equal(response.status, 501);
    assert.equal(response.headers['x-dockless-internal-error'], 'WEBSOCKET_IN_FUNCTION');
    assert.deepEqual(response.end, { context: response.id });
  }
});

test('requests may come before go', async (t) => {
  const sandbox = await start(t);
  sandbox.write({ 'a.js': `module.exports = (req, res) => res.end(req.url);` });
  const answers = ['/1', '/2'].map((target) => sandbox.fetch(target));
  sandbox.go({ entry: 'a.js' });
  assert.deepEqual(
    (await Promise.all(answers)).map(({ body }) => body),
    ['/1', '/2'],
  );
});
