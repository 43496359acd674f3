// Takes a body and says how long it was.
module.exports = (req, res) => {
  let bytes = 0;
  req.on('data', (piece) => {
    bytes += piece.length;
  });
  req.on('end', () => res.json({ bytes }));
};
module.exports.config = { api: { bodyParser: false } };
