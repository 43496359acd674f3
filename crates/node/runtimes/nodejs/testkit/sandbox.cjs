'use strict';
// Runs the real launcher as the host would: a listening unix socket as fd 3, one end of a stream socketpair as fd 4,
// pipes as standard output and error, a folder of files as the deployment.

const { execFileSync, spawn } = require('child_process');
const fs = require('fs');
const http = require('http');
const net = require('net');
const os = require('os');
const path = require('path');

const LAUNCHER = path.join(__dirname, '..', 'launcher.cjs');

// Longest wait for anything in a test, in milliseconds: a failure, never a rhythm.
const DEADLINE_MS = 20_000;

class Sandbox {
  #child;
  #folder;
  #frames = [];
  #watchers = new Set();
  #lastId = 0;

  stdout = '';
  stderr = '';

  // Starts the launcher and waits until it accepts.
  static async start({ env = {}, flags = [] } = {}) {
    const sandbox = new Sandbox();
    await sandbox.#start(env, flags);
    sandbox.started = await sandbox.frame('server-started');
    return sandbox;
  }

  // Starts, writes `files` as the deployment, and sends `go` for the first of them (or `go.entry`).
  static async deploy(files, { env, flags, ...go } = {}) {
    const sandbox = await Sandbox.start({ env, flags });
    sandbox.write(files);
    sandbox.go({ entry: Object.keys(files)[0], ...go });
    return sandbox;
  }

  async #start(env, flags) {
    this.#folder = fs.mkdtempSync(path.join(os.tmpdir(), 'dockless-launcher-'));
    this.root = path.join(this.#folder, 'task');
    fs.mkdirSync(this.root);
    const bound = path.join(this.#folder, 'bound.sock');
    this.socketPath = path.join(this.#folder, 'http.sock');

    const listener = net.createServer();
    await new Promise((resolve) => listener.listen(bound, resolve));
    // Node removes the path it bound when it closes its end.
    fs.renameSync(bound, this.socketPath);
    const [stdout, stderr] = makePipes(this.#folder);
    this.#child = spawn(process.execPath, [...flags, LAUNCHER], {
      cwd: '/',
      env: { PATH: process.env.PATH, ...env },
      stdio: ['ignore', stdout.writer, stderr.writer, listener._handle.fd, 'pipe'],
    });
    listener.close();
    fs.closeSync(stdout.writer);
    fs.closeSync(stderr.writer);

    this.control = this.#child.stdio[4];
    stdout.reader.setEncoding('utf8').on('data', (text) => this.#note(() => (this.stdout += text)));
    stderr.reader.setEncoding('utf8').on('data', (text) => this.#note(() => (this.stderr += text)));
    // With everything the process has written: the pipes end when it is gone.
    this.exited = Promise.all([
      new Promise((resolve) => this.#child.on('exit', (code, signal) => resolve({ code, signal }))),
      new Promise((resolve) => stdout.reader.on('close', resolve)),
      new Promise((resolve) => stderr.reader.on('close', resolve)),
      new Promise((resolve) => this.control.on('close', resolve)),
    ]).then(([exit]) => exit);
    let text = '';
    this.control.setEncoding('utf8').on('data', (chunk) => {
      const parts = (text + chunk).split('\0');
      text = parts.pop();
      this.#note(() => this.#frames.push(...parts.map((part) => JSON.parse(part))));
    });
    this.control.on('error', () => {});
  }

  get pid() {
    return this.#child.pid;
  }

  write(files) {
    for (const [name, content] of Object.entries(files)) {
      const file = path.join(this.root, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, content);
    }
  }

  send(type, payload) {
    this.control.write(`${JSON.stringify({ type, payload })}\0`);
  }

  go(payload) {
    this.send('go', { root: this.root, ...payload });
  }

  // The next frame of a type: its payload. Frames of other types stay for later calls.
  async frame(type) {
    await this.until(() => this.#frames.some((frame) => frame.type === type), `a ${type} frame`);
    const index = this.#frames.findIndex((frame) => frame.type === type);
    return this.#frames.splice(index, 1)[0].payload;
  }

  // Frames that arrived and were not asked for yet.
  get unread() {
    return this.#frames;
  }

  async until(predicate, what = String(predicate)) {
    if (predicate()) return;
    await new Promise((resolve, reject) => {
      const watcher = () => {
        if (!predicate()) return;
        clearTimeout(timer);
        this.#watchers.delete(watcher);
        resolve();
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(watcher);
        reject(new Error(`no ${what} in time; stdout: ${this.stdout}\nstderr: ${this.stderr}`));
      }, DEADLINE_MS);
      this.#watchers.add(watcher);
    });
  }

  #note(change) {
    change();
    for (const watcher of [...this.#watchers]) watcher();
  }

  // Begins a request: `{ req, id }`. The caller writes the body and awaits `req`'s response.
  open(target = '/', { method = 'GET', headers = {}, agent } = {}) {
    this.#lastId += 1;
    const requestId = this.#lastId;
    const invocationId = `inv-${requestId}`;
    const req = http.request({
      socketPath: this.socketPath,
      path: target,
      method,
      agent,
      headers: {
        host: 'app.localhost',
        'x-dockless-internal-invocation-id': invocationId,
        'x-dockless-internal-request-id': String(requestId),
        'x-dockless-internal-deadline': String(Date.now() + DEADLINE_MS),
        ...headers,
      },
    });
    return { req, id: { invocationId, requestId } };
  }

  // A whole request: `{ status, statusText, headers, rawHeaders, body, id }`.
  fetch(target, { body, ...options } = {}) {
    const { req, id } = this.open(target, options);
    req.end(body);
    return responseTo(req).then(async (res) => ({
      status: res.statusCode,
      statusText: res.statusMessage,
      headers: res.headers,
      rawHeaders: res.rawHeaders,
      body: await textOf(res),
      id,
    }));
  }

  // `fetch` and the `end` frame that follows: the response with `end` added.
  async invoke(target, options) {
    const response = await this.fetch(target, options);
    response.end = await this.frame('end');
    return response;
  }

  async stop() {
    this.#child.kill('SIGKILL');
    this.control.destroy();
    await this.exited;
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }
}

// Real pipes: what Node calls a pipe is a socket pair, which holds more and blocks elsewhere.
function makePipes(folder) {
  const names = ['stdout', 'stderr'].map((name) => path.join(folder, name));
  execFileSync('mkfifo', names);
  return names.map((name) => {
    const reader = fs.openSync(name, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
    const writer = fs.openSync(name, fs.constants.O_WRONLY);
    return { writer, reader: new net.Socket({ fd: reader, readable: true, writable: false }) };
  });
}

function responseTo(req) {
  return new Promise((resolve, reject) => req.once('response', resolve).once('error', reject));
}

async function bytesOf(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function textOf(stream) {
  return (await bytesOf(stream)).toString();
}

// For tests: as `Sandbox.start` and `Sandbox.deploy`, stopped when the test ends.
async function start(t, options) {
  const sandbox = await Sandbox.start(options);
  t.after(() => sandbox.stop());
  return sandbox;
}

async function deploy(t, files, options) {
  const sandbox = await Sandbox.deploy(typeof files === 'string' ? { 'api/index.js': files } : files, options);
  t.after(() => sandbox.stop());
  return sandbox;
}

module.exports = { LAUNCHER, bytesOf, deploy, responseTo, start, textOf };
