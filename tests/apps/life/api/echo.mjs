// Both ways at once: every piece of the request is answered when it comes.
export default (req, res) => {
  res.writeHead(200, { 'content-type': 'application/octet-stream' });
  res.write('ready');
  req.on('data', (piece) => res.write(piece));
  req.on('end', () => res.end());
};
