// Sends a signal to each process of the request; says how each ended.
module.exports = (req, res) => {
  const answer = {};
  for (const pid of [].concat(req.query.pid)) {
    try {
      process.kill(Number(pid), Number(req.query.signal));
      answer[pid] = 'sent';
    } catch (error) {
      answer[pid] = error.code;
    }
  }
  res.json(answer);
};
