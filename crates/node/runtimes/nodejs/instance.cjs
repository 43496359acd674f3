'use strict';
// This process as the host sees it.
//
//   waiting ──go──► loading ─► ready (idle or busy) ...
//                      └─► failed ─► exit
//
// Requests may come at any time; those that come before the function is loaded wait, their bodies unread.

const path = require('path');
const { ServerCapture } = require('./capture.cjs');
const { replaceEnvironment } = require('./environment.cjs');
const { internalOf } = require('./front.cjs');
const { Invocation } = require('./invocation.cjs');
const { LoadError, loadEntry } = require('./load.cjs');
const { clip, describe, firstLine, tell } = require('./report.cjs');
const { chooseHandler } = require('./shapes.cjs');

const { setImmediate } = globalThis;
const { exit } = process;

// How long promises given to `waitUntil` may outlive the response unless `go` says otherwise, in milliseconds.
const WAIT_UNTIL_MS = 30_000;

// Ids of a request that came without: the host's word for "none".
const NO_INVOCATION = '0';
const NO_REQUEST = 0;

const REFUSED_UPGRADE = [
  'HTTP/1.1 501 Not Implemented',
  'x-dockless-internal-error: WEBSOCKET_IN_FUNCTION',
  'content-length: 0',
  'connection: close',
  '\r\n',
].join('\r\n');

class Instance {
  #control;
  #rehearse;
  #phase = 'waiting';
  #handler = null;
  #loadFailure = null;
  #waitUntilMs = WAIT_UNTIL_MS;
  // Calls to make once the function is loaded, in order of arrival.
  #waiting = [];
  #inFlight = new Set();

  constructor(control, rehearse) {
    this.#control = control;
    this.#rehearse = rehearse;
  }

  onFrame(frame) {
    if (frame.type === 'go') {
      if (this.#phase !== 'waiting') throw new Error('a second go');
      this.#go(checkedGo(frame.payload));
    } else if (frame.type === 'status') {
      this.#control.send('status', this.#status());
    }
  }

  onRequest(req, res) {
    const internal = internalOf(req);
    if (this.#phase === 'waiting' && internal.warmup === '1') {
      this.#rehearse(req, res);
      return;
    }
    const facts = factsOf(internal);
    const invocation = this.#begin(facts);
    invocation.follow(res);
    this.#whenLoaded(invocation, () => this.#handler.serve(req, res, invocation, facts));
  }

  // Node gives the connection away with an upgrade; what follows on it is not HTTP any more.
  onUpgrade(req, socket, head) {
    const invocation = this.#begin(factsOf(internalOf(req)));
    invocation.followSocket(socket);
    // Without a listener, a client that is already gone would be an uncaught exception.
    socket.on('error', () => {});
    this.#whenLoaded(invocation, () => {
      const server = this.#handler.server;
      if (server !== undefined && server.listenerCount('upgrade') > 0) server.emit('upgrade', req, socket, head);
      else socket.end(REFUSED_UPGRADE, () => socket.destroy());
    });
  }

  // Something was thrown, or a promise rejected, and nobody caught it: no state can be trusted any more.
  onUncaught(thrown) {
    tell(describe(thrown));
    const hasVictim = this.#phase === 'ready' && this.#inFlight.size > 0;
    for (const invocation of [...this.#inFlight]) invocation.die(thrown);
    if (!hasVictim) this.#control.send('unrecoverable-error', { exitCode: 1, message: firstLine(thrown) });
    this.#exit();
  }

  onGarbage(reason) {
    tell(`dockless: the host broke the control protocol: ${reason}`);
    this.#exit();
  }

  // For `waitUntil` outside of a handler's arguments. Requests come one at a time, so there is no doubt whose it is.
  currentContext() {
    const [invocation] = this.#inFlight;
    return invocation && { waitUntil: (promise) => invocation.waitUntil(promise) };
  }

  #begin(facts) {
    const invocation = new Invocation(facts, (ended, error) => this.#onEnd(ended, error));
    this.#inFlight.add(invocation);
    return invocation;
  }

  #onEnd(invocation, error) {
    this.#inFlight.delete(invocation);
    this.#control.send('end', { context: contextOf(invocation), error });
  }

  #whenLoaded(invocation, call) {
    if (this.#phase === 'ready') {
      invocation.boundWaiting(this.#waitUntilMs);
      call();
    } else if (this.#phase === 'failed') {
      invocation.answerFailure('uncaught', this.#loadFailure);
    } else {
      this.#waiting.push({ invocation, call });
    }
  }

  async #go({ entry, root, env, waitUntilMs, ...options }) {
    const startedAt = performance.now();
    this.#phase = 'loading';
    this.#waitUntilMs = waitUntilMs;
    const capture = new ServerCapture();
    try {
      replaceEnvironment(env);
      process.chdir(root);
      const file = path.resolve(root, entry);
      const exported = await loadEntry(file, root);
      this.#handler = await chooseHandler(exported, { file, ...options }, capture);
    } catch (error) {
      this.#onLoadFailure(error);
      return;
    } finally {
      capture.release();
    }
    this.#phase = 'ready';
    this.#control.send('handler-loaded', {
      loadDuration: performance.now() - startedAt,
      shape: this.#handler.shape,
    });
    this.#admitWaiting();
  }

  #onLoadFailure(error) {
    if (!(error instanceof LoadError)) tell(describe(error));
    else if (error.cause !== undefined) tell(describe(error.cause));
    if (error instanceof LoadError) tell(error.message);
    this.#phase = 'failed';
    this.#loadFailure = error;
    this.#admitWaiting();
    // The request sent together with `go` may still be in the socket: one turn of the event loop accepts its
    // connection, the next reads from it.
    setImmediate(() =>
      setImmediate(() => {
        const message = error instanceof LoadError ? clip(error.message) : firstLine(error);
        this.#control.send('unrecoverable-error', { exitCode: 1, message });
        this.#exit();
      }),
    );
  }

  #admitWaiting() {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { invocation, call } of waiting) {
      // Its client may have left in the meantime.
      if (!invocation.hasEnded) this.#whenLoaded(invocation, call);
    }
  }

  #status() {
    const [invocation] = this.#inFlight;
    const context = invocation ? contextOf(invocation) : { invocationId: null, requestId: null };
    const isBusy = invocation !== undefined || this.#phase === 'loading';
    const state = this.#phase === 'waiting' ? 'waiting' : isBusy ? 'busy' : 'idle';
    return { state, ...context };
  }

  #exit() {
    this.#control.flush();
    exit.call(process, 1);
  }
}

function checkedGo(payload) {
  const {
    entry,
    root,
    env = {},
    helpers = true,
    awsHandler = null,
    queryStyle = 'today',
    waitUntilMs = WAIT_UNTIL_MS,
  } = payload ?? {};
  if (typeof entry !== 'string' || typeof root !== 'string') throw new Error('a go without entry and root');
  if (env === null || typeof env !== 'object') throw new Error('a go whose env is no object');
  return { entry, root, env, helpers, awsHandler, queryStyle, waitUntilMs };
}

function factsOf(internal) {
  return {
    invocationId: internal['invocation-id'] ?? NO_INVOCATION,
    requestId: Number(internal['request-id'] ?? NO_REQUEST),
    deadline: internal.deadline === undefined ? undefined : Number(internal.deadline),
  };
}

function contextOf({ id: { invocationId, requestId } }) {
  return { invocationId, requestId };
}

module.exports = { Instance };
