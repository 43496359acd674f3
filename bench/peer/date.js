// The handler that is measured: the same file in Docker, as a bare process and as a function of the platform. It keeps
// to what all three give it, so the answer is spelt out instead of `res.send(new Date())`.
module.exports = (req, res) => {
  res.setHeader('content-type', 'application/json; charset=utf-8');
  res.end(JSON.stringify(new Date()));
};
