// Busy from the head of the request to the end of its body: the client decides how long.
const id = Math.random().toString(36).slice(2);

module.exports = (req, res) => {
  res.writeHead(200, { 'content-type': 'text/plain' });
  res.write(id);
  req.resume().on('end', () => res.end());
};
