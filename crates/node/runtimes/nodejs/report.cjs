'use strict';
// What went wrong, told twice: in full to the user (standard error, hence the function's log), in one line to the host.

const { writeSync } = require('fs');
const { inspect } = require('util');

// Longest text put into a frame, in UTF-16 units. JSON may turn each into six bytes, and a frame may hold 64 KiB.
const MESSAGE_LIMIT = 8192;

// Writes to standard error without going through `process.stderr`, which user code may have replaced.
function tell(text) {
  const bytes = Buffer.from(`${text}\n`);
  let written = 0;
  while (written < bytes.length) {
    try {
      written += writeSync(2, bytes, written);
    } catch (error) {
      if (error.code === 'EAGAIN') pause(1);
      else if (error.code !== 'EINTR') return; // nobody reads our log any more: nobody to tell either
    }
  }
}

// The stack and properties of whatever was thrown; user code may throw things that refuse to be printed.
function describe(thrown) {
  try {
    return inspect(thrown);
  } catch {
    return 'a value that cannot be printed was thrown';
  }
}

function firstLine(thrown) {
  try {
    return clip(String(thrown).split('\n', 1)[0]);
  } catch {
    return 'a value that cannot be printed was thrown';
  }
}

function clip(text) {
  return text.length > MESSAGE_LIMIT ? `${text.slice(0, MESSAGE_LIMIT)}…` : text;
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

// Blocks this thread: only for writes that must be out before the process goes on.
function pause(ms) {
  Atomics.wait(sleeper, 0, 0, ms);
}

module.exports = { clip, describe, firstLine, pause, tell };
