'use strict';
// The conversation with the host: frames, ids, internal headers, descriptors.

const assert = require('assert/strict');
const fs = require('fs');
const http = require('http');
const os = require('os');
const path = require('path');
const { test } = require('node:test');
const { deploy, responseTo, start, textOf } = require('../testkit/sandbox.cjs');

const WARMUP = { 'x-dockless-internal-warmup': '1' };

test('server-started is the first frame and names the runtime', async (t) => {
  const sandbox = await start(t);
  assert.equal(sandbox.started.runtime, process.version);
  assert.ok(sandbox.started.initDuration > 0);
  assert.deepEqual(sandbox.unread, []);
});

test('go is answered by handler-loaded, a request by end with its ids', async (t) => {
  const sandbox = await deploy(t, 'module.exports = (req, res) => res.end("hi");');
  const loaded = await sandbox.frame('handler-loaded');
  assert.equal(loaded.shape, 'listener');
  assert.ok(loaded.loadDuration >= 0);
  const response = await sandbox.invoke();
  assert.equal(response.body, 'hi');
  assert.deepEqual(response.end, { context: response.id });
});

test('a request sent together with go waits for the function to load', async (t) => {
  const sandbox = await start(t);
  sandbox.write({
    'a.mjs': 'await new Promise((r) => setTimeout(r, 20)); export default (req, res) => res.end("loaded");',
  });
  const [response] = await Promise.all([sandbox.invoke(), sandbox.go({ entry: 'a.mjs' })]);
  assert.equal(response.body, 'loaded');
});

test('status tells waiting, busy and idle', async (t) => {
  const sandbox = await start(t);
  const status = () => {
    sandbox.send('status');
    return sandbox.frame('status');
  };
  assert.deepEqual(await status(), { state: 'waiting', invocationId: null, requestId: null });
  sandbox.write({ 'a.js': 'module.exports = () => console.log("in");' });
  sandbox.go({ entry: 'a.js' });
  await sandbox.frame('handler-loaded');
  assert.deepEqual(await status(), { state: 'idle', invocationId: null, requestId: null });
  const { req, id } = sandbox.open();
  req.end();
  req.on('error', () => {});
  await sandbox.until(() => sandbox.stdout.includes('in'));
  assert.deepEqual(await status(), { state: 'busy', ...id });
  req.destroy();
  await sandbox.frame('end');
  assert.deepEqual(await status(), { state: 'idle', invocationId: null, requestId: null });
});

test('internal headers never reach the function, in any form', async (t) => {
  const sandbox = await deploy(
    t,
    `module.exports = (req, res) => res.json({ headers: req.headers, raw: req.rawHeaders, distinct: req.headersDistinct });`,
  );
  const { body } = await sandbox.invoke('/', {
    headers: { 'X-Dockless-Internal-Secret': 's', 'x-dockless-other': 'kept', 'X-Twice': ['1', '2'] },
  });
  assert.ok(!body.toLowerCase().includes('x-dockless-internal'), body);
  const { headers, raw, distinct } = JSON.parse(body);
  assert.equal(headers['x-dockless-other'], 'kept');
  assert.equal(headers['x-twice'], '1, 2');
  assert.deepEqual(distinct['x-twice'], ['1', '2']);
  assert.equal(raw.length % 2, 0);
  assert.equal(raw[raw.indexOf('x-dockless-other') + 1], 'kept');
});

test('internal headers are stripped from trailers', async (t) => {
  const sandbox = await deploy(t, {
    'a.js': `module.exports = (req, res) => req.resume().on('end', () => res.json([req.trailers, req.rawTrailers]));`,
  });
  const { req } = sandbox.open('/', { method: 'POST', headers: { trailer: 'x-dockless-internal-a, x-b' } });
  req.addTrailers({ 'x-dockless-internal-a': '1', 'x-b': '2' });
  req.end('body');
  assert.deepEqual(JSON.parse(await textOf(await responseTo(req))), [{ 'x-b': '2' }, ['x-b', '2']]);
});

test('warm-up requests are answered without end, and leave no trace', async (t) => {
  const sandbox = await start(t);
  for (let i = 0; i < 3; i += 1) {
    const warm = await sandbox.fetch('/', { headers: WARMUP });
    assert.equal(warm.status, 200);
    assert.ok(warm.body.length > 0 && warm.body.length < 1000);
  }
  sandbox.send('status');
  assert.equal((await sandbox.frame('status')).state, 'waiting');
  assert.deepEqual(sandbox.unread, []);
  assert.equal(sandbox.stdout + sandbox.stderr, '');

  sandbox.write({
    'a.js': `module.exports = (req, res) => res.json({ cached: Object.keys(require.cache), cwd: process.cwd(), args: Object.keys(globalThis) });`,
  });
  sandbox.go({ entry: 'a.js' });
  const { body } = await sandbox.invoke();
  const seen = JSON.parse(body);
  assert.deepEqual(seen.cached, [`${sandbox.root}/a.js`]);
  assert.equal(seen.cwd, sandbox.root);
});

test('a go during the warm-up waits for it', async (t) => {
  const sandbox = await start(t, { env: { HOME: '/tmp' } });
  sandbox.write({
    'a.js': `module.exports = (req, res) => res.json([process.cwd(), process.env.A, process.env.HOME]);`,
  });
  let isWarm = false;
  const warm = sandbox.fetch('/', { headers: WARMUP }).finally(() => (isWarm = true));
  // Rehearsing happens in a folder of its own; each answer is a chance to look.
  while (!isWarm && fs.readlinkSync(`/proc/${sandbox.pid}/cwd`) === '/') {
    sandbox.send('status');
    await sandbox.frame('status');
  }
  sandbox.go({ entry: 'a.js', env: { A: '1' } });
  assert.equal((await warm).status, 200);
  assert.deepEqual(JSON.parse((await sandbox.invoke()).body), [sandbox.root, '1', '/tmp']);
});

test('the warm-up header means nothing after go', async (t) => {
  const sandbox = await deploy(t, 'module.exports = (req, res) => res.end("mine " + Object.keys(req.headers).join());');
  const response = await sandbox.invoke('/', { headers: WARMUP });
  assert.equal(response.body, 'mine host,connection');
});

test('go replaces the environment in place', async (t) => {
  const sandbox = await deploy(
    t,
    {
      'a.js': `
        const { execFileSync } = require('child_process');
        module.exports = (req, res) => res.json({
          env: { ...process.env },
          child: execFileSync('/usr/bin/env', { encoding: 'utf8' }).trim().split('\\n').sort(),
          hour: new Date(0).getHours(),
          name: new Intl.DateTimeFormat().resolvedOptions().timeZone,
        });`,
    },
    { env: { HOME: '/tmp', GREETING: 'old', TZ: 'UTC' }, flags: ['--require', trap()] },
  );
  const sent = { GREETING: 'new', TZ: 'Asia/Tokyo', EMPTY: '', UNICODE: 'é✓' };
  // A second deployment of the same files, because `deploy` has sent its go without an environment.
  const other = await start(t, { env: { HOME: '/tmp', GREETING: 'old', TZ: 'UTC' }, flags: ['--require', trap()] });
  other.write({ 'a.js': fs.readFileSync(`${sandbox.root}/a.js`) });
  other.go({ entry: 'a.js', env: sent });

  const plain = JSON.parse((await sandbox.invoke()).body);
  assert.deepEqual(plain.env, { HOME: '/tmp', GREETING: 'old', TZ: 'UTC', PATH: process.env.PATH });
  assert.equal(plain.hour, 0);

  const replaced = JSON.parse((await other.invoke()).body);
  const expected = { HOME: '/tmp', PATH: process.env.PATH, ...sent };
  assert.deepEqual(replaced.env, expected);
  assert.deepEqual(
    replaced.child,
    Object.entries(expected)
      .map(([name, value]) => `${name}=${value}`)
      .sort(),
  );
  assert.equal(replaced.hour, 9);
  assert.equal(replaced.name, 'Asia/Tokyo');
});

// A module that pollutes the environment after the launcher has started, as the launcher's own dependencies might.
function trap() {
  const file = path.join(os.tmpdir(), `dockless-trap-${process.pid}.cjs`);
  fs.writeFileSync(file, `process.nextTick(() => { process.env.LEFTOVER = 'x'; });`);
  return file;
}

test('the function runs in its root', async (t) => {
  const sandbox = await deploy(t, {
    'api/a.js': `module.exports = (req, res) => res.end(require('fs').readFileSync('data.txt', 'utf8') + ' ' + __filename);`,
    'data.txt': 'found',
  });
  assert.equal((await sandbox.invoke()).body, `found ${sandbox.root}/api/a.js`);
});

test('frames may arrive in any pieces, unknown types and fields are ignored', async (t) => {
  const sandbox = await start(t);
  sandbox.write({ 'a.js': 'module.exports = (req, res) => res.end("é");' });
  const go = {
    type: 'go',
    from: 'tomorrow',
    payload: { entry: 'a.js', root: sandbox.root, env: { A: 'é' }, novelty: [1] },
  };
  const bytes = Buffer.from(`{"type":"novelty"}\0{"type":"status"}\0${JSON.stringify(go)}\0{"type":"status"}\0`);
  for (const byte of bytes) sandbox.control.write(Buffer.from([byte]));
  assert.equal((await sandbox.frame('status')).state, 'waiting');
  await sandbox.frame('handler-loaded');
  await sandbox.frame('status');
  assert.equal((await sandbox.invoke()).body, 'é');
});

test('a go of almost a megabyte is taken', async (t) => {
  const sandbox = await start(t);
  sandbox.write({ 'a.js': 'module.exports = (req, res) => res.end(String(process.env.BIG.length));' });
  sandbox.go({ entry: 'a.js', env: { BIG: 'x'.repeat(1_000_000) } });
  assert.equal((await sandbox.invoke()).body, '1000000');
});

const GARBAGE = {
  'not JSON': 'hello\0',
  'an empty frame': '\0',
  'JSON that is no object': '17\0',
  'an object without a type': '{"payload":{}}\0',
  'an oversize frame': `{"type":"x","payload":"${'x'.repeat(1024 * 1024)}`,
  'a go without entry': '{"type":"go","payload":{"root":"/"}}\0',
};
for (const [name, bytes] of Object.entries(GARBAGE)) {
  test(`garbage from the host ends the process: ${name}`, async (t) => {
    const sandbox = await start(t);
    sandbox.control.write(bytes);
    assert.deepEqual(await sandbox.exited, { code: 1, signal: null });
    assert.match(sandbox.stderr, /^dockless: the host broke the control protocol: /);
  });
}

test('a second go ends the process', async (t) => {
  const sandbox = await deploy(t, 'module.exports = () => {};');
  await sandbox.frame('handler-loaded');
  sandbox.go({ entry: 'api/index.js' });
  assert.equal((await sandbox.exited).code, 1);
});

test('the process outlives the control channel', async (t) => {
  const sandbox = await deploy(
    t,
    `
    const fs = require('fs');
    module.exports = (req, res) => {
      // Its number must not have become free for files of the user.
      const fd = fs.openSync(__filename, 'r');
      fs.closeSync(fd);
      res.end(String(fd > 4));
    };`,
  );
  await sandbox.frame('handler-loaded');
  const closed = new Promise((resolve) => sandbox.control.once('close', resolve));
  sandbox.control.destroy();
  await closed;
  for (let i = 0; i < 3; i += 1) assert.equal((await sandbox.fetch()).body, 'true');
  assert.equal(sandbox.stderr, '');
});

test('children inherit neither the listener nor the control channel', async (t) => {
  const sandbox = await deploy(t, {
    'a.js': `
      const { execFileSync, fork, spawnSync } = require('child_process');
      const list = 'for f in /proc/self/fd/*; do readlink $f; done; true';
      module.exports = (req, res) => {
        const spawned = execFileSync('/bin/sh', ['-c', list], { encoding: 'utf8', stdio: ['inherit', 'pipe', 'inherit'] });
        const child = fork(__dirname + '/child.js', { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
        let forked = '';
        child.stdout.on('data', (text) => (forked += text)).on('close', () => res.json({ spawned, forked }));
      };`,
    'child.js': `
      const fs = require('fs');
      for (const fd of fs.readdirSync('/proc/self/fd')) try { console.log(fs.readlinkSync('/proc/self/fd/' + fd)); } catch {}
      process.disconnect();`,
  });
  const { spawned, forked } = JSON.parse((await sandbox.invoke()).body);
  const ours = [3, 4].map((fd) => fs.readlinkSync(`/proc/${sandbox.pid}/fd/${fd}`));
  assert.match(ours[0], /^socket:/);
  for (const descriptor of ours) {
    assert.ok(!spawned.includes(descriptor), spawned);
    assert.ok(!forked.includes(descriptor), forked);
  }
});

test('user code does not find the control channel by looking around', async (t) => {
  const sandbox = await deploy(
    t,
    `
    const path = require('path');
    module.exports = (req, res) => res.json({
      globals: Object.getOwnPropertyNames(globalThis).filter((name) => /dockless|launcher/i.test(name)),
      cached: Object.keys(require.cache).filter((file) => file !== __filename),
      children: require.main ? require.main.children.length : 0,
      parent: module.parent ? module.parent.filename : null,
      isMain: require.main === module,
      handles: process._getActiveHandles().filter((handle) => handle._handle && handle._handle.fd === 4).length,
      on: Object.getOwnPropertySymbols(req).filter((symbol) => /internal/i.test(symbol.description)),
    });`,
  );
  const { body } = await sandbox.invoke();
  assert.deepEqual(JSON.parse(body), {
    globals: [],
    cached: [],
    children: 0,
    parent: null,
    isMain: false,
    handles: 0,
    on: [],
  });
});

test('a connection is kept open and reused', async (t) => {
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  const sandbox = await deploy(
    t,
    'module.exports = (req, res) => { globalThis.s ??= req.socket; res.end(String(s === req.socket)); };',
  );
  for (let i = 0; i < 3; i += 1) {
    const response = await sandbox.invoke('/', { agent });
    assert.equal(response.body, 'true');
    assert.equal(response.headers['keep-alive'], undefined);
  }
});

test('headers of 60 KiB and hundreds of them are accepted', async (t) => {
  const sandbox = await deploy(t, 'module.exports = (req, res) => res.end(String(Object.keys(req.headers).length));');
  const headers = Object.fromEntries(Array.from({ length: 2500 }, (_, i) => [`x-${i}`, 'twelve bytes']));
  assert.equal((await sandbox.invoke('/', { headers })).body, '2502');
});

test("the clock of responses is the host's", async (t) => {
  const sandbox = await deploy(t, 'module.exports = (req, res) => res.end();');
  assert.equal((await sandbox.invoke()).headers.date, undefined);
});
