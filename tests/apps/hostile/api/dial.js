// Connects to a host and port; says how that ended.
const net = require('node:net');

module.exports = (req, res) => {
  const socket = net.connect({ host: req.query.host, port: Number(req.query.port), timeout: 5000 });
  const end = (outcome) => {
    socket.destroy();
    if (!res.headersSent) res.json({ outcome });
  };
  socket.on('connect', () => end('connected'));
  socket.on('timeout', () => end('timeout'));
  socket.on('error', (error) => end(error.code));
};
