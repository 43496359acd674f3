// The part of the path in brackets arrives as a query parameter: /api/user/ada → { id: 'ada' }
module.exports = (req, res) => {
  res.json({ id: req.query.id, greeting: `Hello, ${req.query.id}!` });
};
