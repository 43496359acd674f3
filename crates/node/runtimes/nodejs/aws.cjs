'use strict';
// AWS-style handlers: `(event, context, callback)`, the request as an API Gateway proxy event.

const { parse: parseQuery } = require('querystring');

// The request's own framing: what is sent is framed anew.
const FRAMING_HEADERS = new Set(['connection', 'content-length', 'keep-alive', 'transfer-encoding']);

// Throws if the handler does, otherwise gives a promise that the response has been written.
//
// The answer comes by callback, by promise, or by the old context methods; the first one counts.
function callAwsHandler(handler, req, res, chunks, { invocationId, deadline }) {
  const answer = {};
  answer.given = new Promise((resolve, reject) => Object.assign(answer, { resolve, reject }));
  const callback = (error, value) => (error ? answer.reject(error) : answer.resolve(value));
  const context = {
    ...toContext(invocationId, deadline),
    done: callback,
    succeed: answer.resolve,
    fail: (error) => answer.reject(error ?? new Error('the handler called context.fail')),
  };
  const returned = handler(toEvent(req, Buffer.concat(chunks)), context, callback);
  if (typeof returned?.then === 'function') returned.then(answer.resolve, answer.reject);
  return answer.given.then((value) => sendAnswer(value, req, res));
}

function toEvent(req, body) {
  const target = req.url;
  const start = target.indexOf('?');
  const query = start === -1 ? {} : { ...parseQuery(target.slice(start + 1)) };
  return {
    resource: '/{proxy+}',
    path: target,
    httpMethod: req.method,
    body: body.toString('base64'),
    isBase64Encoded: true,
    queryStringParameters: Object.fromEntries(Object.entries(query).filter(([, value]) => typeof value === 'string')),
    multiValueQueryStringParameters: query,
    headers: Object.fromEntries(
      Object.entries(req.headersDistinct).map(([name, values]) => [name, join(name, values)]),
    ),
  };
}

function join(name, values) {
  return values.join(name === 'cookie' ? '; ' : ', ');
}

function toContext(invocationId, deadline) {
  const { env } = process;
  return {
    callbackWaitsForEmptyEventLoop: false,
    awsRequestId: invocationId,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME ?? '',
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION ?? '$LATEST',
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE ?? '',
    getRemainingTimeInMillis: () => (deadline === undefined ? Infinity : Math.max(0, deadline - Date.now())),
  };
}

function sendAnswer(answer, req, res) {
  if (answer === null || typeof answer !== 'object') {
    throw new TypeError('the handler answered no object with statusCode, headers and body');
  }
  const { statusCode = 200, headers = {}, multiValueHeaders = {}, body } = answer;
  res.statusCode = statusCode;
  for (const [name, value] of [...Object.entries(headers ?? {}), ...Object.entries(multiValueHeaders ?? {})]) {
    if (value === undefined || value === null || FRAMING_HEADERS.has(name.toLowerCase())) continue;
    res.setHeader(name, Array.isArray(value) ? value.map(String) : String(value));
  }
  const isBase64 = answer.isBase64Encoded === true || answer.encoding === 'base64';
  const text = typeof body === 'string' || body === undefined || body === null ? (body ?? '') : JSON.stringify(body);
  res.end(req.method === 'HEAD' ? undefined : Buffer.from(text, isBase64 ? 'base64' : 'utf8'));
}

module.exports = { callAwsHandler };
