// /tmp is the one place a function may write to: 512 MB, in memory, gone with the instance.
const { readFile, writeFile } = require('node:fs/promises');
const { join } = require('node:path');

const file = join('/tmp', 'note.txt');

module.exports = async (req, res) => {
  const written = `written at ${new Date().toISOString()}`;
  const before = await readFile(file, 'utf8').catch(() => null);
  await writeFile(file, written);
  res.json({ before, now: await readFile(file, 'utf8') });
};
