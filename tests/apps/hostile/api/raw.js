// Answers with bytes that are no HTTP.
module.exports = (req, res) => {
  res.socket.end(Buffer.from(req.query.hex, 'hex'));
};
