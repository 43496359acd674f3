// Uses what an ordinary handler uses, once.
module.exports = (req, res) => {
  res.status(200).json({ query: req.query, cookies: req.cookies, body: req.body, at: new Date().toString() });
};
