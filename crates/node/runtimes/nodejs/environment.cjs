'use strict';
// The environment of the function: what the host started this process with, and what the deployment adds to it.

const given = { ...process.env };

// Makes `process.env` exactly that, whatever it was. It is changed in place, because replacing the object would leave
// the C environment as it was: time zone, child processes and native modules read that one.
function replaceEnvironment(added) {
  const wanted = { ...given, ...added };
  for (const name of Object.keys(process.env)) {
    if (!Object.hasOwn(wanted, name)) delete process.env[name];
  }
  for (const name of Object.keys(wanted)) {
    if (process.env[name] !== wanted[name]) process.env[name] = wanted[name];
  }
}

module.exports = { replaceEnvironment };
