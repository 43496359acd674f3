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

const { setTimeout } = globalThis;
const { exit } = process;

// How long promises given to `waitUntil` may outlive the response unless `go` says otherwise, in milliseconds.
const WAIT_UNTIL_MS = 30_000;

// How long a function that cannot be loaded waits for a request to answer, in milliseconds.
const FAILED_GRACE_MS = 100;

// How the stack of a syntax error begins if it tells the place: `/var/task/api/date.js:3` on a line of its own.
const SOURCE_PLACE = /^\S+:\d+\n/;

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
  #rehearsal = null;
  #phase = 'waiting';
  #handler = null;
  #loadFailure = null;
  #leaveFailed = null;
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
      this.#rehearsal = this.#rehearse(req, res);
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
    if (this.#phase === 'loading') {
      this.#onLoadFailure(thrown);
      return;
    }
    tell(describe(thrown));
    if (this.#phase === 'failed') return; // about to exit
    const victims = [...this.#inFlight];
    for (const invocation of victims) invocation.die(thrown);
    if (victims.length === 0) this.#control.send('unrecoverable-error', { exitCode: 1, message: firstLine(thrown) });
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
    if (this.#phase === 'failed' && this.#inFlight.size === 0) this.#leaveFailed();
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

  async #go({ entry, root, env, sourceMaps, waitUntilMs, ...options }) {
    this.#phase = 'loading';
    // A host in a hurry may not have waited for it, and both change the environment and the working directory.
    await this.#rehearsal;
    const startedAt = performance.now();
    this.#waitUntilMs = waitUntilMs;
    const capture = new ServerCapture();
    let handler;
    try {
      replaceEnvironment(env);
      process.chdir(root);
      if (sourceMaps) process.setSourceMapsEnabled(true);
      const file = path.resolve(root, entry);
      const exported = await loadEntry(file, root);
      handler = await chooseHandler(exported, { file, ...options }, capture);
    } catch (error) {
      if (this.#phase === 'loading') this.#onLoadFailure(error);
      return;
    } finally {
      capture.release();
    }
    if (this.#phase !== 'loading') return; // something was thrown meanwhile
    this.#handler = handler;
    this.#phase = 'ready';
    this.#control.send('handler-loaded', {
      loadDuration: performance.now() - startedAt,
      shape: this.#handler.shape,
    });
    this.#admitWaiting();
  }

  #onLoadFailure(error) {
    const hasPlace = !(error instanceof SyntaxError) || SOURCE_PLACE.test(error.stack);
    if (error instanceof LoadError)
      tell(error.cause === undefined ? error.message : `${describe(error.cause)}\n${error.message}`);
    else if (hasPlace) tell(describe(error));
    this.#phase = 'failed';
    this.#loadFailure = error;
    this.#leaveFailed = () => {
      const message = error instanceof LoadError ? clip(error.message) : firstLine(error);
      this.#control.send('unrecoverable-error', { exitCode: 1, message });
      if (hasPlace) this.#exit();
      this.#control.flush();
      // Where the syntax of an ES module is wrong is known to Node alone, and only told when it dies of it.
      process.removeAllListeners('uncaughtException');
      throw error;
    };
    this.#admitWaiting();
    // The request that was sent together with `go` may not have arrived yet, and has an answer coming, too.
    setTimeout(this.#leaveFailed, FAILED_GRACE_MS);
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
    sourceMaps = false,
  } = payload ?? {};
  if (typeof entry !== 'string' || typeof root !== 'string') throw new Error('a go without entry and root');
  if (env === null || typeof env !== 'object') throw new Error('a go whose env is no object');
  return { entry, root, env, helpers, awsHandler, queryStyle, waitUntilMs, sourceMaps };
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
