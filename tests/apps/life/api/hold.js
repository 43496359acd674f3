// Begins an answer and never ends it. What it promised is kept when somebody connects to a socket in /tmp.
const net = require('node:net');

const id = Math.random().toString(36).slice(2);
const context = globalThis[Symbol.for('@vercel/request-context')];

module.exports = (req, res) => {
  if (req.query.quick !== undefined) {
    res.json({ id });
    return;
  }
  const released = new Promise((resolve) => {
    const server = net.createServer((socket) => {
      socket.destroy();
      server.close(resolve);
    });
    server.listen('/tmp/gate', () => res.write(id));
  });
  context.get().waitUntil(released);
};
