let count = 0;

module.exports = (req, res) => {
  count += 1;
  res.json({ count });
};
