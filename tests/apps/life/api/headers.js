// What arrives here of a request, and headers that must not leave.
module.exports = (req, res) => {
  res.setHeader('x-dockless-internal-error', 'OUT_OF_MEMORY');
  res.setHeader('x-dockless-error', 'OUT_OF_MEMORY');
  res.json({ method: req.method, url: req.url, headers: req.headers });
};
