// A server on every address of the sandbox's own loopback, for a neighbour to look for.
const net = require('node:net');

let server;

module.exports = (req, res) => {
  if (server !== undefined) {
    res.json({ port: server.address().port });
    return;
  }
  server = net.createServer((socket) => socket.end('neighbour'));
  server.listen(45_678, '0.0.0.0', () => res.json({ port: server.address().port }));
};
