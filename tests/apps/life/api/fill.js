// Fills /tmp until it is full, says how far it came, and empties it.
const fs = require('node:fs');

module.exports = (req, res) => {
  const piece = Buffer.alloc(1024 * 1024, 1);
  const file = fs.openSync('/tmp/fill', 'w');
  let bytes = 0;
  try {
    for (;;) bytes += fs.writeSync(file, piece);
  } catch (error) {
    res.json({ bytes, code: error.code });
  } finally {
    fs.closeSync(file);
    fs.rmSync('/tmp/fill');
  }
};
