// A child process that writes for as long as it may run: it must stop when the instance is frozen.
const { spawn } = require('node:child_process');
const { statSync } = require('node:fs');

const BEAT = "setInterval(() => require('node:fs').appendFileSync('/tmp/beats', '.'), 5)";
let child;

module.exports = (req, res) => {
  child ??= spawn(process.execPath, ['-e', BEAT], { stdio: 'inherit' });
  const beats = statSync('/tmp/beats', { throwIfNoEntry: false })?.size ?? 0;
  res.json({ beats });
};
