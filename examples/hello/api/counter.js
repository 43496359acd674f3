// State in memory lives as long as the instance: frozen between requests, gone once it was idle for too long.
// A second request at the same moment gets a second instance, with a counter of its own.
let count = 0;

module.exports = (req, res) => {
  count += 1;
  res.json({ count });
};
