'use strict';
// What an entrypoint may export, and how a request is brought to each: the first rule that fits decides.
//
//   shape      exports                                         called with
//   aws        the name the deployment gave                    (event, context, callback)
//   web        GET, HEAD, OPTIONS, POST, PUT, DELETE, PATCH    (Request, { waitUntil }) -> Response
//              or fetch
//   listener   a function                                      (req, res), with helpers unless it has `.listen`
//   server     an object with `.listen`, or nothing while      its `request` and `upgrade` events
//              an http.Server calls `listen`

const http = require('http');
const { callAwsHandler } = require('./aws.cjs');
const { RequestError, addHelpers, wantsBody } = require('./helpers.cjs');
const { LoadError } = require('./load.cjs');
const { forgetBody, readAhead } = require('./front.cjs');
const { callWebHandler, isWebHandler } = require('./web.cjs');

// How long a program that exports nothing may take to start its server, in milliseconds.
const CAPTURE_LIMIT_MS = 5000;

// Compiled TypeScript and bundlers wrap the default export, sometimes more than once.
const UNWRAP_LIMIT = 5;

// Exports that configure the build and say nothing about the shape.
const CONFIGURATION = new Set(['__esModule', 'config']);

// Gives `{ shape, serve(req, res, invocation, facts), server? }`. Throws a LoadError if nothing fits.
async function chooseHandler(exported, { file, awsHandler, helpers, queryStyle }, capture) {
  if (awsHandler !== null) return awsShape(exported, awsHandler, file);

  const entry = unwrap(exported);
  if (isObject(entry) && isWebHandler(entry)) return webShape(entry);
  if (typeof entry === 'function') {
    return helpers && typeof entry.listen !== 'function' ? helpedShape(entry, queryStyle) : listenerShape(entry);
  }
  if (entry instanceof http.Server) return serverShape(entry);
  if (capture.server !== null) return serverShape(capture.server);
  if (typeof entry?.listen === 'function') return listened(entry, capture, file);
  if (exportsNothing(entry)) return captured(capture, file);
  throw new LoadError(
    `invalid export in ${file}: expected a function (req, res), a server, or functions named after HTTP methods`,
  );
}

function unwrap(exported) {
  let entry = exported;
  for (let depth = 0; depth < UNWRAP_LIMIT && entry?.default; depth += 1) entry = entry.default;
  return entry;
}

function isObject(value) {
  return typeof value === 'function' || (typeof value === 'object' && value !== null);
}

function exportsNothing(entry) {
  return typeof entry === 'object' && entry !== null && Object.keys(entry).every((name) => CONFIGURATION.has(name));
}

// A framework's application (Koa, Fastify): its own `listen` makes the server we are after.
function listened(application, capture, file) {
  const failed = new Promise((resolve, reject) => {
    Promise.resolve(application.listen()).catch(reject);
  });
  return Promise.race([captured(capture, file), failed]);
}

async function captured(capture, file) {
  const server = await capture.wait(CAPTURE_LIMIT_MS);
  if (server !== null) return serverShape(server);
  throw new LoadError(
    `${file} exports no handler, and no http.Server called listen() within ${CAPTURE_LIMIT_MS / 1000} seconds\n` +
      'Export a function (req, res), or start a server while the file is loaded.',
  );
}

function awsShape(exported, name, file) {
  const handler = exported?.[name] ?? unwrap(exported)?.[name];
  if (typeof handler !== 'function') throw new LoadError(`${file} exports no function named "${name}"`);
  return {
    shape: 'aws',
    serve(req, res, invocation, facts) {
      readAhead(req, (chunks) => attempt(invocation, () => callAwsHandler(handler, req, res, chunks, facts)));
    },
  };
}

function webShape(entry) {
  return {
    shape: 'web',
    serve(req, res, invocation) {
      forgetBody(req);
      attempt(invocation, () => callWebHandler(entry, req, res, (promise) => invocation.waitUntil(promise)));
    },
  };
}

function listenerShape(listener) {
  return {
    shape: 'listener',
    serve(req, res, invocation) {
      forgetBody(req);
      attempt(invocation, () => listener(req, res));
    },
  };
}

function helpedShape(listener, era) {
  function call(req, res, invocation, chunks) {
    addHelpers(req, res, chunks, era);
    attempt(invocation, () => listener(req, res));
  }
  return {
    shape: 'listener',
    serve(req, res, invocation) {
      if (wantsBody(req)) {
        readAhead(req, (chunks) => call(req, res, invocation, chunks));
      } else {
        forgetBody(req);
        call(req, res, invocation, []);
      }
    },
  };
}

function serverShape(server) {
  return {
    shape: 'server',
    server,
    serve(req, res, invocation) {
      forgetBody(req);
      attempt(invocation, () => void server.emit('request', req, res));
    },
  };
}

// Runs user code and answers for it if it fails, now or later.
function attempt(invocation, run) {
  let returned;
  try {
    returned = run();
  } catch (error) {
    settleFailure(invocation, 'threw', error);
    return;
  }
  if (typeof returned?.then === 'function') {
    returned.then(undefined, (error) => settleFailure(invocation, 'rejected', error));
  }
}

function settleFailure(invocation, kind, error) {
  if (error instanceof RequestError) invocation.refuse(error.statusCode, error.message);
  else invocation.fail(kind, error);
}

module.exports = { chooseHandler };
