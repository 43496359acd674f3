// Which instance this is, and how many requests it had.
const id = Math.random().toString(36).slice(2);
let count = 0;

module.exports = (req, res) => {
  count += 1;
  res.json({ id, count });
};
