// Dies in the middle of its answer.
module.exports = (req, res) => {
  res.write('the first half');
  req.on('data', () => process.exit(4));
};
