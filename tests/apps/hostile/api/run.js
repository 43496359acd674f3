// Runs the program that the request names, as any tenant may, and says what it wrote.
const { spawnSync } = require('node:child_process');
const path = require('node:path');

module.exports = (req, res) => {
  const [program, ...args] = [].concat(req.query.arg);
  const done = spawnSync(path.join(process.cwd(), 'bin', program), args, { encoding: 'utf8', timeout: 20_000 });
  res.json({ status: done.status, signal: done.signal, stdout: done.stdout, stderr: done.stderr, error: done.error?.code });
};
