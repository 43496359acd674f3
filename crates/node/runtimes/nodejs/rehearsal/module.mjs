export default function handler(req, res) {
  res.send(`${req.method} ${req.url}`);
}
