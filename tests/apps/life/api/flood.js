// Far more than any buffer between here and the client holds: 256 MiB.
const { Readable, pipeline } = require('node:stream');

const piece = Buffer.alloc(64 * 1024, 'x');

module.exports = (req, res) => {
  const pieces = (function* flood() {
    for (let left = 4096; left > 0; left -= 1) yield piece;
  })();
  pipeline(Readable.from(pieces), res, () => {});
};
