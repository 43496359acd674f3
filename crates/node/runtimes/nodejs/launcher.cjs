'use strict';
// The program inside every Node.js function sandbox.
//
//            fd 3: listening unix socket, HTTP/1.1        fd 4: control channel, JSON frames
//   host ───────────────────────┬──────────────────────────────────┬───────────────────────
//                          front.cjs                          control.cjs
//                               └──────────► instance.cjs ◄────────┘
//                                     load.cjs, shapes.cjs: the function
//
// It starts before anybody knows whose function it will run, says `server-started`, is warmed up by a request, and
// frozen. Then a `go` frame names the function, and every tenth of a millisecond until its first answer counts: hence
// all that can be loaded or compiled before is.

const { Control } = require('./control.cjs');
const { serve } = require('./front.cjs');
const { Instance } = require('./instance.cjs');
const { rehearse } = require('./rehearsal.cjs');

const HTTP_FD = 3;
const CONTROL_FD = 4;

const control = new Control(CONTROL_FD);
const instance = new Instance(control, rehearse);

process.on('uncaughtException', (error) => instance.onUncaught(error));
process.on('unhandledRejection', (reason) => instance.onUncaught(reason));

// Logs have to be complete when the process is frozen or exits. Node writes to pipes without waiting, unless told.
for (const stream of [process.stdout, process.stderr]) stream._handle?.setBlocking?.(true);

Object.defineProperty(globalThis, Symbol.for('@vercel/request-context'), {
  configurable: true,
  writable: true,
  value: { get: () => instance.currentContext() },
});

// User code finds neither these modules in the module cache nor a way to them from `require.main`.
for (const file of Object.keys(require.cache)) delete require.cache[file];
module.children.length = 0;

serve(HTTP_FD, {
  onRequest: (req, res) => instance.onRequest(req, res),
  onUpgrade: (req, socket, head) => instance.onUpgrade(req, socket, head),
  onReady() {
    control.listen(
      (frame) => instance.onFrame(frame),
      (reason) => instance.onGarbage(reason),
    );
    control.send('server-started', { initDuration: performance.now(), runtime: process.version });
  },
});
